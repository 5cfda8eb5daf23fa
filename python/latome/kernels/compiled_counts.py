"""Likelihoods of counts by the compiled kernels; the equations stand in `counts`, the work in csrc/counts.h."""

import ctypes

from latome.backend import torch
from latome.kernels.native import bind

__all__ = ["ALONE", "address", "evaluate_compiled", "is_compiled"]

_counts = bind("latome_counts", "ppn")

KINDS = {"poisson": 0, "nb": 1, "zinb": 2}
ALONE = 1 << 15                                        # elements that one thread handles as fast as two


def is_compiled(*tensors):
    """Whether the compiled kernels take these: float32 on the processor (None does not matter)."""
    return _counts is not None and all(
        one is None or (one.dtype == torch.float32 and one.device.type == "cpu") for one in tensors)


def address(*tensors):
    """An array of the addresses of tensors, null for None: what the kernels take."""
    return (ctypes.c_void_p * len(tensors))(*(None if one is None else one.data_ptr() for one in tensors))


def evaluate_compiled(counts, kind, location, log_library, log_theta, gate, *, gradient, overwrite=False,
                      theta_rows=None, theta_sum=False, sums=False, bias=(None, None)):
    """What makes an `Evaluated`, as `counts.evaluate` has it; None where not asked.

    theta is (m, g), or (g,) with `theta_sum`, which needs a log_theta (g,).
    """
    m, g = location.shape

    def result(*shape, wanted=True, over=None):
        """Where a gradient goes: over an input that is given up, or anew."""
        if not (gradient and wanted):
            return None
        return over if over is not None and overwrite else torch.empty(shape)

    theta_form = 0 if log_theta is None or log_theta.dim() == 1 else 1 if theta_rows is not None else 2
    location, log_library, log_theta, gate, theta_rows = (
        one if one is None else one.contiguous()
        for one in (location, log_library, log_theta, gate, theta_rows))
    value = torch.empty(m)
    pull, library = result(m, g, over=location), result(m, 1, wanted=log_library is not None)
    theta = result(*((g,) if theta_sum else (m, g)), wanted=log_theta is not None)
    gate_grad = result(m, g, wanted=gate is not None, over=gate)
    summed = result(g, wanted=sums), result(g, wanted=sums and gate is not None)
    entries = [one.contiguous() for one in (counts.indptr.long(), counts.indices.long(), counts.values.float())]
    addresses = address(*entries, location, log_library, log_theta, theta_rows, gate, value, pull, library,
                        None if theta_sum else theta, gate_grad, theta if theta_sum else None, *summed, *bias)
    sizes = (ctypes.c_int64 * 5)(m, g, KINDS[kind], gradient, theta_form)
    _counts(sizes, addresses, 1 if m * g < ALONE else torch.get_num_threads())
    return value, pull, library, theta, gate_grad, *summed
