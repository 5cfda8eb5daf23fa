"""A draw of normal latents and their divergence from the standard normal, in one node of the graph.

    z  = mean + sqrt(variance) noise
    KL = 1/2 sum(variance - 1 - log variance + mean^2)

Training asks for both of the same latents: by torch's operations they are a dozen small ones, each way.
"""

from latome.backend import torch
from latome.kernels.native import addresses, bind

__all__ = ["drawn_with_divergence"]

_draw = bind("latome_draw", "iippppp")
_draw_gradient = bind("latome_draw_gradient", "iippppppp")


def drawn_with_divergence(mean, variance, noise):
    """z (m, k) and the divergence (m,); or None where the compiled kernels do not take these, or no gradient is asked.

    Arguments
    ---------
    mean, variance, noise : (m, k).
    """
    recorded = torch.is_grad_enabled() and (mean.requires_grad or variance.requires_grad)
    if _draw is None or not recorded or mean.dim() != 2 or not mean.shape == variance.shape == noise.shape:
        return None
    if any(one.dtype != torch.float32 or one.device.type != "cpu" for one in (mean, variance)):
        return None
    return _Draw.apply(mean, variance, noise)


class _Draw(torch.autograd.Function):
    """The kernels and their gradient."""

    @staticmethod
    def forward(ctx, *given):
        given = [one.contiguous() for one in given]
        m, k = given[0].shape
        z, divergence = torch.empty(m, k), torch.empty(m)
        _draw(m, k, *addresses(*given, z, divergence))
        ctx.save_for_backward(*given)
        return z, divergence

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, by_z, by_divergence):
        given = ctx.saved_tensors
        of_mean, of_variance = torch.empty(2, *by_z.shape).unbind()
        upstream = by_z.contiguous(), by_divergence.contiguous()
        _draw_gradient(*by_z.shape, *addresses(*given, *upstream, of_mean, of_variance))
        return of_mean, of_variance, None
