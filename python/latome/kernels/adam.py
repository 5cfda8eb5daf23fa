"""One step of Adam over many parameters in one call, their gradients taken from wherever they lie.

Kingma and Ba (2015), with the L2 penalty added to the gradient, or (AdamW) taken off the weights. The state is that
of `FlatAdam` over the flat vector of all parameters, so the two may take turns.
"""

import ctypes

from latome.backend import torch
from latome.kernels.flat_adam import FlatAdam
from latome.kernels.native import bind

__all__ = ["CompiledAdam", "can_step"]

_adam = bind("latome_adam", "ipppppppn")


def can_step(optimizer, parameters):
    """Whether the compiled step does what this optimiser does for these parameters."""
    if _adam is None or type(optimizer) is not FlatAdam:
        return False
    return all(p.dtype == torch.float32 and p.device.type == "cpu" for p in parameters)


class CompiledAdam:
    """Adam over parameters that are views of one flat vector, wherever in it.

    Arguments
    ---------
    optimizer : FlatAdam of the flat vector; its settings and its memory are used.
    parameters : list of float32 tensors.
    """

    def __init__(self, optimizer, parameters):
        self.optimizer, self.parameters = optimizer, parameters
        (flat,) = optimizer.param_groups[0]["params"]
        integers, begin = ctypes.c_int64 * len(parameters), flat.data_ptr()
        self.starts = integers(*((p.data_ptr() - begin) // p.element_size() for p in parameters))
        self.sizes = integers(*(p.numel() for p in parameters))
        self.pointers = ctypes.c_void_p * len(parameters)
        self.layouts = [p.stride() for p in parameters]

    def step(self):
        """Take a step with the parameters' gradients; one that has none counts as zero."""
        group, state = self.optimizer.param_groups[0], self.optimizer.memory()
        state["step"] += 1
        n = float(state["step"])
        beta1, beta2 = group["betas"]
        rate, decay = float(group["lr"]), group["weight_decay"]
        decoupled = self.optimizer.decoupled
        numbers = (ctypes.c_float * 8)(
            rate / (1 - beta1**n), 1 - beta1, beta2, 1 - beta2, group["eps"], 0.0 if decoupled else decay,
            1 - rate * decay if decoupled else 1.0, (1 - beta2**n) ** -0.5)
        kept = [_laid_out(p, layout) for p, layout in zip(self.parameters, self.layouts, strict=True)]
        gradients = self.pointers(*(None if gradient is None else gradient.data_ptr() for gradient in kept))
        weights = self.pointers(*(p.data_ptr() for p in self.parameters))
        _adam(len(kept), weights, gradients, self.starts, self.sizes, state["exp_avg"].data_ptr(),
              state["exp_avg_sq"].data_ptr(), numbers, torch.get_num_threads())


def _laid_out(p, layout):
    """The gradient of a parameter, its elements in the same order; or None."""
    gradient = p.grad
    if gradient is None or gradient.stride() == layout:
        return gradient
    return torch.empty_like(p).copy_(gradient)
