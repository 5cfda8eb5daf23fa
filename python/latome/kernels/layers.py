"""A hidden layer in one node of the graph: linear, covariate tables, batch norm, ReLU and dropout.

    y   = W x + b + C continuous + sum_j table_j[category_j]                               (m, h)
    out = dropout(relu(scale (y - mean) / sqrt(variance + eps) + shift))                   Ioffe and Szegedy, 2015

The compiled kernels do all but the dense products, and take a sparse minibatch as it is. A unit that dropout or ReLU
has silenced is zero in `out`, so nothing else is kept to tell which; a random number of a unit is a hash of the
layer's seed and the unit's place, the same on any number of threads.
"""

import ctypes
from typing import NamedTuple

from latome.backend import torch
from latome.kernels.native import addresses, bind
from latome.kernels.sparse import SparseCounts

__all__ = ["Norm", "compiled", "hidden_layer", "sparse_linear"]

_product = bind("latome_sparse_product", "iiippppppn")
_product_gradient = bind("latome_sparse_gradient", "iiipppppn")
_block = bind("latome_block", "pppn")
_block_gradient = bind("latome_block_gradient", "pppn")
_narrow = bind("latome_narrow", "iiipppp")
_narrow_gradient = bind("latome_narrow_gradient", "iiipppppp")

DENSE_FROM = 0.3                                       # share of non-zeros at which a dense product is as fast
ALONE = 1 << 16                                        # elements that one thread handles faster than two
FEW = 64                                               # inputs, of a product that is faster without sharing it out
SMALL = 1 << 20                                        # multiplications of such a product, at most


class Norm(NamedTuple):
    """Batch norm of a layer.

    Arguments
    ---------
    scale, shift : (h,) parameters.
    running_mean, running_variance : (h,) buffers; written to when `training`.
    momentum, eps : of the running moments, and of the denominator.
    training : normalise by the minibatch, not by the running moments.
    """

    scale: object
    shift: object
    running_mean: object
    running_variance: object
    momentum: float
    eps: float
    training: bool


def compiled(x, weight):
    """Whether the compiled layer takes this input: float32 on the processor, rows of features."""
    if _block is None or weight.dtype != torch.float32 or weight.device.type != "cpu":
        return False
    return isinstance(x, SparseCounts) or (x.dim() == 2 and x.dtype == torch.float32)


def sparse_linear(counts, weight, bias):
    """W x + b of a sparse minibatch, by torch's operations.

    Arguments
    ---------
    counts : SparseCounts (m, g).
    weight, bias : (h, g) and (h,); fastest where `weight.t()` is contiguous.

    Returns (m, h).
    """
    if counts.density > DENSE_FROM:
        return torch.nn.functional.linear(counts.dense(), weight, bias)
    rows = torch.nn.functional.embedding_bag(
        counts.indices, weight.t(), counts.indptr, mode="sum", per_sample_weights=counts.values.to(weight.dtype),
        include_last_offset=True)
    return rows + bias


def hidden_layer(x, weight, bias, *, continuous=None, continuous_weight=None, categories=None, columns=(), tables=(),
                 norm=None, dropout=0.0):
    """One hidden layer, (m, h), by the compiled kernels; see `compiled`.

    Arguments
    ---------
    x : (m, k), or SparseCounts (m, k), which takes no gradient.
    weight, bias : (h, k) and (h,).
    continuous, continuous_weight : (m, d) and (h, d), or None.
    categories, columns, tables : (m, c) int64 codes, and for some of its columns a table (categories, h) each.
    norm : `Norm`, or None.
    dropout : probability of dropping a unit; 0 for none.
    """
    if isinstance(x, SparseCounts) and x.density > DENSE_FROM:
        x = x.dense()
    sparse = isinstance(x, SparseCounts)
    seed = int(torch.randint(2**62, ())) if dropout else 0
    plan = _Plan(x if sparse else None, categories, columns, norm, 1 - dropout, seed)
    scale, shift = (norm.scale, norm.shift) if norm else (None, None)
    return _HiddenLayer.apply(plan, None if sparse else x, weight, bias, continuous, continuous_weight, scale, shift,
                              *tables)


class _Plan(NamedTuple):
    """What a layer needs beside tensors that take gradients."""

    counts: object
    categories: object
    columns: list
    norm: object
    keep: float
    seed: int

    def numbers(self):
        norm = self.norm
        return (ctypes.c_float * 3)(norm.momentum if norm else 0, norm.eps if norm else 0, self.keep)

    def sizes(self, m, h):
        kind = 0 if self.norm is None else 1 if self.norm.training else 2
        stride = self.categories.stride(0) if self.columns else 0
        return (ctypes.c_int64 * 6)(m, h, len(self.columns), stride, kind, self.seed)

    def codes(self):
        """Addresses of the columns' first codes."""
        if not self.columns:
            return []
        start, step = self.categories.data_ptr(), self.categories.stride(1) * 8
        return [start + column * step for column in self.columns]


def _array(addresses):
    return (ctypes.c_void_p * len(addresses))(*addresses)


def _threads(elements):
    return 1 if elements < ALONE else torch.get_num_threads()


class _HiddenLayer(torch.autograd.Function):
    """The compiled layer and its gradient."""

    @staticmethod
    def forward(ctx, plan, x, weight, bias, continuous, continuous_weight, scale, shift, *tables):
        y = _linear(plan.counts, x, weight, bias)                       # (m, h)
        if continuous is not None:
            y.addmm_(continuous, continuous_weight.t())
        m, h = y.shape
        norm, out = plan.norm, torch.empty_like(y)
        inverse_sd = torch.empty_like(bias) if norm else None
        running = (norm.running_mean, norm.running_variance) if norm else (None, None)
        tables = [table.contiguous() for table in tables]
        arrays = _array(addresses(y, y, out, scale, shift, *running, inverse_sd, *tables) + plan.codes())
        _block(plan.sizes(m, h), plan.numbers(), arrays, _threads(m * h))
        ctx.plan, ctx.rows = plan, [len(table) for table in tables]
        ctx.save_for_backward(x, weight, continuous, continuous_weight, scale, y, out, inverse_sd)    # y: normalised
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, upstream):
        plan, (x, weight, continuous, continuous_weight, scale, hat, out, inverse_sd) = ctx.plan, ctx.saved_tensors
        m, h = out.shape
        upstream, pull = upstream.contiguous(), torch.empty_like(out)
        of_bias, of_scale, of_shift = torch.empty(3, h).unbind()
        of_tables = [torch.zeros(rows, h) for rows in ctx.rows]
        arrays = _array(addresses(upstream, hat, out, pull, scale, inverse_sd, of_bias, of_scale, of_shift, *of_tables)
                        + plan.codes())
        _block_gradient(plan.sizes(m, h), plan.numbers(), arrays, _threads(m * h))
        wanted = ctx.needs_input_grad
        of_x = _input_gradient(pull, weight) if wanted[1] else None
        of_weight = _weight_gradient(plan.counts, x, pull) if wanted[2] else None
        of_continuous = pull @ continuous_weight if wanted[4] else None
        of_continuous_weight = pull.t() @ continuous if wanted[5] else None
        norms = (of_scale, of_shift) if plan.norm else (None, None)
        return None, of_x, of_weight, of_bias, of_continuous, of_continuous_weight, *norms, *of_tables


def _linear(counts, x, weight, bias):
    """(m, h): W x + b."""
    h = weight.shape[0]
    if counts is None and _is_small(x, h):
        (m, k), turned = x.shape, weight.t().contiguous()               # (k, h): as it lies, no copy
        x, out = x.contiguous(), bias.repeat(m, 1)                      # a copy, also of one row
        _narrow_gradient(m, h, k, *addresses(x, None, turned, out, None, None))      # out += x W'
        return out
    if counts is None:
        return torch.addmm(bias, x, weight.t())
    m, g = counts.shape
    turned, out = weight.t().contiguous(), torch.empty(m, h)            # (g, h): as it lies, no copy
    _product(m, g, h, *addresses(counts.indptr, counts.indices, counts.values, turned, bias, out),
             torch.get_num_threads())
    return out


def _is_small(x, h):
    return x.shape[1] <= FEW and x.numel() * h <= SMALL


def _input_gradient(pull, weight):
    """(m, k): pull W."""
    (m, h), k = pull.shape, weight.shape[1]
    if k > FEW or pull.numel() * k > SMALL:
        return pull @ weight
    turned, nothing, out = weight.t().contiguous(), torch.zeros(k), torch.empty(m, k)
    _narrow(m, h, k, *addresses(pull, turned, nothing, out))
    return out


def _weight_gradient(counts, x, pull):
    """(h, k), of the layout of the weight."""
    h = pull.shape[1]
    if counts is None and _is_small(x, h):
        (m, k), x = x.shape, x.contiguous()
        out = torch.empty(k, h)
        _narrow_gradient(m, h, k, *addresses(x, pull, None, None, out, None))        # out = x' pull
        return out.t()
    if counts is None:
        return (x.t() @ pull).t()
    m, g = counts.shape
    out = torch.empty(g, h)
    _product_gradient(m, g, h, *addresses(counts.indptr, counts.indices, counts.values, pull, out),
                      torch.get_num_threads())
    return out.t()
