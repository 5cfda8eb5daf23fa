"""A linear layer that also takes covariates: one table for each categorical one."""

import math

from latome.backend import torch
from latome.kernels.layers import sparse_linear
from latome.kernels.sparse import SparseCounts

__all__ = ["CovariateLinear"]


class CovariateLinear(torch.nn.Module):
    """y = W x + b + sum_j table_j[category_j] + C continuous.

    The same function as a linear layer over [x, continuous, one-hot_1, one-hot_2, ...], without the
    one-hot columns: a new category is a new row of its own table. A covariate with a single category
    has no table. The weight (n_out, n_in) lies in memory column by column: a sparse x reads whole columns of it.

    Arguments
    ---------
    n_in, n_out : widths of x and y.
    category_sizes : number of categories of each categorical covariate.
    n_continuous : number of continuous covariates.
    bias : whether there is a b.
    """

    def __init__(self, n_in, n_out, category_sizes=(), n_continuous=0, *, bias=True):
        super().__init__()
        widths = [size if size > 1 else 0 for size in category_sizes]
        bound = 1 / math.sqrt(n_in + n_continuous + sum(widths))       # Kaiming uniform with a = sqrt(5)

        def uniform(*shape):
            return torch.nn.Parameter(torch.empty(*shape).uniform_(-bound, bound))

        self.weight = torch.nn.Parameter(uniform(n_out, n_in).detach().t().contiguous().t())
        self.bias = uniform(n_out) if bias else None
        self.tables = torch.nn.ParameterList([uniform(width, n_out) for width in widths if width])
        self.columns = [j for j, width in enumerate(widths) if width]   # which covariate each table serves
        self.continuous = uniform(n_out, n_continuous) if n_continuous else None

    def forward(self, x, categories=None, continuous=None):
        """(..., m, n_out) from x (..., m, n_in), or SparseCounts, categories (m, c) int64 and continuous (m, d)."""
        if isinstance(x, SparseCounts):
            y = sparse_linear(x, self.weight, self.bias)
        else:
            y = torch.nn.functional.linear(x, self.weight, self.bias)
        for column, table in zip(self.columns, self.tables, strict=True):
            y = y + torch.nn.functional.embedding(categories[:, column], table)
        if self.continuous is not None:
            y = y + torch.nn.functional.linear(continuous, self.continuous)
        return y
