"""Linear layers with few outputs over the same input, in one node of the graph.

The heads of an encoder multiply 128 x 128 by 128 x 10: a product that several threads take longer to share out than
to do.
"""

from latome.backend import torch
from latome.kernels.native import addresses, bind

__all__ = ["narrow_linears"]

_product = bind("latome_narrow", "iiipppp")
_gradient = bind("latome_narrow_gradient", "iiipppppp")

NARROW = 64                                            # outputs
SMALL = 1 << 20                                        # multiplications of a layer, at most


def narrow_linears(x, *layers):
    """[x W' + b for each layer]: (..., m, k) each.

    Arguments
    ---------
    x : (..., m, h).
    layers : `torch.nn.Linear`s of h inputs.
    """
    if not all(_fits(x, layer.weight) for layer in layers):
        return [torch.nn.functional.linear(x, layer.weight, layer.bias) for layer in layers]
    return _NarrowLinears.apply(x, *(part for layer in layers for part in (layer.weight, layer.bias)))


def _fits(x, weight):
    plain = x.dtype == weight.dtype == torch.float32 and x.device.type == "cpu" and x.dim() == 2
    return plain and _product is not None and weight.shape[0] <= NARROW and x.numel() * weight.shape[0] <= SMALL


class _NarrowLinears(torch.autograd.Function):
    """The compiled layers and their gradients."""

    @staticmethod
    def forward(ctx, x, *parameters):
        x = x.contiguous()
        weights = [weight.contiguous() for weight in parameters[::2]]
        ctx.save_for_backward(x, *weights)
        (m, h), found = x.shape, []
        for weight, bias in zip(weights, parameters[1::2], strict=True):
            found.append(torch.empty(m, len(weight)))
            _product(m, h, len(weight), *addresses(x, weight, bias, found[-1]))
        return tuple(found)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, *upstream):
        x, *weights = ctx.saved_tensors
        (m, h), wanted = x.shape, ctx.needs_input_grad
        of_x, gradients = torch.zeros_like(x) if wanted[0] else None, []
        for i, (pull, weight) in enumerate(zip(upstream, weights, strict=True)):
            pull = pull.contiguous()
            of_weight = torch.empty_like(weight) if wanted[1 + 2 * i] else None
            of_bias = torch.empty(len(weight)) if wanted[2 + 2 * i] else None
            _gradient(m, h, len(weight), *addresses(pull, x, weight, of_x, of_weight, of_bias))
            gradients += [of_weight, of_bias]
        return of_x, *gradients
