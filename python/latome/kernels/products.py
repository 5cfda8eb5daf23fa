"""Dense products of few rows and many columns, shared out better than their library does it."""

from latome.backend import torch
from latome.kernels.native import bind, torch_symbol

__all__ = ["product"]

_product = bind("latome_product", "piiipppn")
_gemm = torch_symbol("sgemm_") if _product is not None and torch_symbol("GOMP_parallel") else None

FEW = 256                                              # rows; of more, the library shares them out well itself
LARGE = 1 << 22                                        # multiplications from which several threads pay


def product(x, weight):
    """x W', (m, g).

    Arguments
    ---------
    x : (m, h).
    weight : (g, h).

    torch's own sgemm_ does it either way; here each thread calls it for a range of columns, which needs an OpenMP that
    both know, so that none of the calls begins threads of its own.
    """
    (m, h), g, threads = x.shape, len(weight), torch.get_num_threads()
    plain = x.dtype == weight.dtype == torch.float32 and x.device.type == "cpu" and x.is_contiguous()
    if _gemm is None or not plain or threads == 1 or m > FEW or m * g * h < LARGE or not weight.is_contiguous():
        return x @ weight.t()
    out = torch.empty(m, g)
    _product(_gemm, m, g, h, x.data_ptr(), weight.data_ptr(), out.data_ptr(), threads)
    return out
