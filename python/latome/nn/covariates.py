"""A linear layer that also takes covariates: one table for each categorical one."""

import math

from latome.backend import torch

__all__ = ["CovariateLinear"]


class CovariateLinear(torch.nn.Module):
    """y = W x + b + sum_j table_j[category_j] + C continuous.

    The same function as a linear layer over [x, continuous, one-hot_1, one-hot_2, ...], without the
    one-hot columns: a new category is a new row of its own table. A covariate with a single category
    has no table.

    Arguments
    ---------
    n_in, n_out : widths of x and y.
    category_sizes : number of categories of each categorical covariate.
    n_continuous : number of continuous covariates.
    """

    def __init__(self, n_in, n_out, category_sizes=(), n_continuous=0):
        super().__init__()
        widths = [size if size > 1 else 0 for size in category_sizes]
        bound = 1 / math.sqrt(n_in + n_continuous + sum(widths))       # Kaiming uniform with a = sqrt(5)

        def uniform(*shape):
            return torch.nn.Parameter(torch.empty(*shape).uniform_(-bound, bound))

        self.weight = uniform(n_out, n_in)
        self.bias = uniform(n_out)
        self.tables = torch.nn.ParameterList([uniform(width, n_out) for width in widths if width])
        self.columns = [j for j, width in enumerate(widths) if width]   # which covariate each table serves
        self.continuous = uniform(n_out, n_continuous) if n_continuous else None

    def forward(self, x, categories=None, continuous=None):
        """(..., m, n_out) from x (..., m, n_in), categories (m, c) int64 and continuous (m, d)."""
        y = torch.nn.functional.linear(x, self.weight, self.bias)
        for column, table in zip(self.columns, self.tables, strict=True):
            y = y + torch.nn.functional.embedding(categories[:, column], table)
        if self.continuous is not None:
            y = y + torch.nn.functional.linear(continuous, self.continuous)
        return y
