"""The dense products of an output layer, x W' and its two gradients, shared out better than their library does it.

Of few rows and many columns. torch's own sgemm_ does the work either way; here each thread calls it for a part of the
result, which needs an OpenMP that both know, so that none of the calls begins threads of its own.
"""

from latome.backend import torch
from latome.kernels.native import bind, torch_symbol

__all__ = ["input_product", "product", "weight_product"]

_product = bind("latome_product", "npiiipppn")
_gemm = torch_symbol("sgemm_") if _product is not None and torch_symbol("GOMP_parallel") else None

FEW = 512                                              # rows; of more, the library shares them out well itself
LARGE = 1 << 22                                        # multiplications from which several threads pay
FORWARD, INPUT, WEIGHT = range(3)                      # kinds of products, as latome_product counts them


def product(x, weight):
    """x W', (m, g), of x (m, h) and W (g, h)."""
    if _pays(x, weight, len(weight)):
        return _shared(FORWARD, x, weight, len(x), *weight.shape, (len(x), len(weight)))
    return x @ weight.t()


def input_product(pull, weight):
    """P W, (m, h), of P (m, g) and W (g, h)."""
    if _pays(pull, weight, weight.shape[1]):
        return _shared(INPUT, pull, weight, len(pull), *weight.shape, (len(pull), weight.shape[1]))
    return pull @ weight


def weight_product(pull, x):
    """P' x, (g, h), of P (m, g) and x (m, h)."""
    if _pays(pull, x, x.shape[1]):
        return _shared(WEIGHT, pull, x, *pull.shape, x.shape[1], (pull.shape[1], x.shape[1]))
    return pull.t() @ x


def _pays(a, b, width):
    """Whether sharing a product out ourselves pays: a (m, k), and as many multiplications as elements times `width`."""
    if _gemm is None or torch.get_num_threads() == 1 or len(a) > FEW or a.numel() * width < LARGE:
        return False
    plain = a.dtype == b.dtype == torch.float32 and a.device.type == "cpu"
    return plain and a.is_contiguous() and b.is_contiguous()


def _shared(kind, a, b, m, g, h, shape):
    out = torch.empty(shape)
    _product(kind, _gemm, m, g, h, a.data_ptr(), b.data_ptr(), out.data_ptr(), torch.get_num_threads())
    return out
