"""Hidden layers and the heads over them in one node of the graph: linear, covariate tables, batch norm, ReLU, dropout.

    y   = W x + b + C continuous + sum_j table_j[category_j]                               (m, h)
    out = dropout(relu(scale (y - mean) / sqrt(variance + eps) + shift))                   Ioffe and Szegedy, 2015

The compiled kernels do all but the dense products, and take a sparse minibatch as it is. A unit that dropout or ReLU
has silenced is zero in `out`, so nothing else is kept to tell which; a random number of a unit is a hash of the
layer's seed and the unit's place, the same on any number of threads. A node of the graph costs as much as a small
product: hence one for a whole network.
"""

import ctypes
from typing import NamedTuple

from latome.backend import torch
from latome.kernels.narrow import head_gradient, head_output
from latome.kernels.native import addresses, bind
from latome.kernels.sparse import SparseCounts

__all__ = ["Layer", "Norm", "compiled", "network", "sparse_linear"]

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
    count : () int64 buffer, the minibatches seen; counted up when `training`.
    momentum, eps : of the running moments, and of the denominator.
    training : normalise by the minibatch, not by the running moments.
    """

    scale: object
    shift: object
    running_mean: object
    running_variance: object
    count: object
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


class Layer(NamedTuple):
    """A hidden layer of h units over k inputs.

    Arguments
    ---------
    weight, bias : (h, k) and (h,).
    continuous, continuous_weight : (m, d) and (h, d), or None.
    categories, columns, tables : (m, c) int64 codes, and for some of its columns a table (categories, h) each.
    norm : `Norm`, or None.
    dropout : probability of dropping a unit; 0 for none.
    """

    weight: object
    bias: object
    continuous: object = None
    continuous_weight: object = None
    categories: object = None
    columns: tuple = ()
    tables: tuple = ()
    norm: object = None
    dropout: float = 0.0

    def tensors(self):
        """All that take gradients."""
        scale, shift = self.norm[:2] if self.norm else (None, None)
        return self.weight, self.bias, self.continuous, self.continuous_weight, scale, shift, *self.tables

    def numbers(self):
        """Momentum, eps and the share of units kept, for the kernels."""
        momentum, eps = (self.norm.momentum, self.norm.eps) if self.norm else (0, 0)
        return (ctypes.c_float * 3)(momentum, eps, 1 - self.dropout)

    def sizes(self, m, h, seed=0):
        """What else the kernels count by."""
        kind = 0 if self.norm is None else 1 if self.norm.training else 2
        stride = self.categories.stride(0) if self.columns else 0
        return (ctypes.c_int64 * 6)(m, h, len(self.columns), stride, kind, seed)

    def codes(self):
        """Addresses of the columns' first codes."""
        if not self.columns:
            return []
        start, step = self.categories.data_ptr(), self.categories.stride(1) * 8
        return [start + column * step for column in self.columns]


def network(x, layers, heads=()):
    """Hidden layers one after the other, and heads over the last, by the compiled kernels; see `compiled`.

    Arguments
    ---------
    x : (m, k), or SparseCounts (m, k), which takes no gradient.
    layers : `Layer`s, at least one.
    heads : `Head`s.

    Returns (m, h), or where there are heads a tuple of their outputs.
    """
    if isinstance(x, SparseCounts) and x.density > DENSE_FROM:
        x = x.dense()
    counts, x = (x, None) if isinstance(x, SparseCounts) else (None, x)
    tensors = [tensor for part in (*layers, *heads) for tensor in part.tensors()]
    return _Network.apply(counts, layers, heads, x, *tensors)


def _array(addresses):
    return (ctypes.c_void_p * len(addresses))(*addresses)


def _threads(elements):
    return 1 if elements < ALONE else torch.get_num_threads()


class _Network(torch.autograd.Function):
    """The layers, the heads and their gradients."""

    @staticmethod
    def forward(ctx, counts, layers, heads, x, *tensors):
        kept = []
        for i, layer in enumerate(layers):
            kept += _forward(layer, None if i else counts, x)
            x = kept[-1]
        found = [head_output(x, head) for head in heads]
        kept += [part for head, (_, grown) in zip(heads, found, strict=True) for part in (head.weight, grown)]
        ctx.save_for_backward(*kept)
        ctx.counts, ctx.layers, ctx.n_heads = counts, layers, len(heads)
        return tuple(out for out, _ in found) if heads else x

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, *upstream):
        layers, kept, wanted, gradients = ctx.layers, ctx.saved_tensors, ctx.needs_input_grad[3:], []
        end, pull = len(layers) * KEPT, upstream[0]
        if ctx.n_heads:
            out = kept[end - 1]
            pull = torch.zeros_like(out)
            of_heads = kept[end::2], kept[end + 1::2]
            for above, weight, grown in zip(upstream, *of_heads, strict=True):
                gradients += head_gradient(above, out, weight, grown, pull)
        for i in reversed(range(len(layers))):
            parts, last = kept[i * KEPT:(i + 1) * KEPT], len(wanted) - len(gradients)
            first = last - len(layers[i].tensors())
            pull, *found = _backward(layers[i], None if i else ctx.counts, parts, pull.contiguous(),
                                     (i > 0 or wanted[0], *wanted[first:last]))
            gradients = found + gradients
        return None, None, None, pull, *gradients


KEPT = 8                                               # tensors that the gradient of a layer needs


def _forward(layer, counts, x):
    """What the gradient needs; the last of it is the layer's output (m, h)."""
    y = _linear(counts, x, layer.weight, layer.bias)                    # (m, h)
    if layer.continuous is not None:
        y.addmm_(layer.continuous, layer.continuous_weight.t())
    m, h = y.shape
    scale, shift, *running = layer.norm[:5] if layer.norm else (None,) * 5
    out, inverse_sd = torch.empty_like(y), torch.empty(h) if layer.norm else None
    tables = [table.contiguous() for table in layer.tables]
    arrays = _array(addresses(y, y, out, scale, shift, *running, inverse_sd, *tables) + layer.codes())
    seed = int(torch.randint(2**62, ())) if layer.dropout else 0
    _block(layer.sizes(m, h, seed), layer.numbers(), arrays, _threads(m * h))
    return x, layer.weight, layer.continuous, layer.continuous_weight, scale, y, inverse_sd, out     # y: normalised


def _backward(layer, counts, kept, upstream, wanted):
    """Gradients of x and of the layer's tensors; None for what is not wanted, as far as that saves anything."""
    x, weight, continuous, continuous_weight, scale, hat, inverse_sd, out = kept
    (m, h), pull = out.shape, torch.empty_like(out)
    of_bias, of_scale, of_shift = torch.empty(3, h).unbind()
    of_tables = [torch.zeros(table.shape) for table in layer.tables]
    arrays = _array(addresses(upstream, hat, out, pull, scale, inverse_sd, of_bias, of_scale, of_shift, *of_tables)
                    + layer.codes())
    _block_gradient(layer.sizes(m, h), layer.numbers(), arrays, _threads(m * h))
    of_x = _input_gradient(pull, weight) if wanted[0] else None
    of_weight = _weight_gradient(counts, x, pull) if wanted[1] else None
    of_continuous = pull @ continuous_weight if wanted[3] else None
    of_continuous_weight = pull.t() @ continuous if wanted[4] else None
    norms = (of_scale, of_shift) if layer.norm else (None, None)
    return of_x, of_weight, of_bias, of_continuous, of_continuous_weight, *norms, *of_tables


def _linear(counts, x, weight, bias):
    """(m, h): W x + b."""
    h = weight.shape[0]
    if counts is None and _is_small(x, h):
        (m, k), turned = x.shape, weight.t().contiguous()               # (k, h): as it lies, no copy
        x, out = x.contiguous(), torch.empty(m, h).copy_(bias)
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
