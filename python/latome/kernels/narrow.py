"""Linear layers with few outputs, such as the heads of an encoder, outside any graph.

They multiply 128 x 128 by 128 x 10: a product that several threads take longer to share out than to do.
"""

from typing import NamedTuple

from latome.backend import torch
from latome.kernels.native import addresses, bind

__all__ = ["Head", "head_gradient", "head_output"]

_product = bind("latome_narrow", "iiipppp")
_gradient = bind("latome_narrow_gradient", "iiipppppp")

NARROW = 64                                            # outputs
SMALL = 1 << 20                                        # multiplications of a layer, at most


class Head(NamedTuple):
    """A linear head of k outputs over h inputs, y = x W' + b; or exp(y) + floor.

    Arguments
    ---------
    weight, bias : (k, h) and (k,), float32.
    floor : number, or None for y itself.
    """

    weight: object
    bias: object
    floor: float | None = None

    def tensors(self):
        """All that take gradients."""
        return self.weight, self.bias


def _fits(x, weight):
    return weight.shape[0] <= NARROW and x.numel() * weight.shape[0] <= SMALL and weight.is_contiguous()


def head_output(x, head):
    """The output (m, k) for x (m, h), and its exponential part, or None."""
    weight, bias, floor = head
    if _fits(x, weight):
        (m, h), k = x.shape, weight.shape[0]
        out = torch.empty(m, k)
        _product(m, h, k, *addresses(x, weight, bias, out))
    else:
        out = torch.addmm(bias, x, weight.t())
    return (out, None) if floor is None else (out.exp_() + floor, out)


def head_gradient(pull, x, weight, grown, of_x):
    """Gradients of weight and bias from that of the output, (m, k); that of x is added to `of_x`, where there is one.

    Arguments
    ---------
    pull, x, weight : (m, k), (m, h) and (k, h).
    grown : (m, k), the exponential part of the output, or None.
    of_x : (m, h), or None.
    """
    pull = pull.contiguous() if grown is None else pull * grown
    if not _fits(x, weight):
        if of_x is not None:
            of_x.addmm_(pull, weight)
        return pull.t() @ x, pull.sum(0)
    (m, h), k = x.shape, weight.shape[0]
    of_weight, of_bias = torch.empty_like(weight), torch.empty(k)
    _gradient(m, h, k, *addresses(pull, x, weight, of_x, of_weight, of_bias))
    return of_weight, of_bias
