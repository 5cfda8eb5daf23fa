"""The zero inflation of a mixture: delta NB + (1 - delta) ZINB is a ZINB, and this is its gate."""

from latome.backend import torch

__all__ = ["mixed_gate"]


def mixed_gate(gate, delta, minimum):
    """The logit of (1 - delta) pi with pi = minimum + (1 - minimum) sigmoid(gate): (..., m, g).

    Arguments
    ---------
    gate : (..., m, g), logit of the zero inflation of the second part.
    delta : (..., m, g) or (..., 1, g), share of the first part, in (0, 1).
    minimum : number in [0, 1).
    """
    if torch.is_grad_enabled() and (gate.requires_grad or delta.requires_grad):
        return _MixedGate.apply(gate, delta, minimum)
    return _evaluate(gate, delta, minimum)[0]


def _evaluate(gate, delta, minimum):
    """(logit, inflated share, the other share, and what the first grows by with the gate): (..., m, g) each."""
    opened, shut, spread = gate.sigmoid(), (-gate).sigmoid_(), (1 - delta) * (1 - minimum)
    inflated = torch.addcmul((1 - delta) * minimum, spread, opened).clamp_min_(torch.finfo(gate.dtype).tiny)
    plain = torch.addcmul(delta, spread, shut)                          # 1 - inflated, without the cancellation
    return (inflated / plain).log_(), inflated, plain, opened.mul_(shut) * spread


class _MixedGate(torch.autograd.Function):
    """One node: a dozen of arrays of cells x genes are not kept for the way back, and not passed over again."""

    @staticmethod
    def forward(ctx, gate, delta, minimum):
        value, inflated, plain, growth = _evaluate(gate, delta, minimum)
        ctx.save_for_backward(growth.div_(inflated.mul_(plain)), plain, delta)
        return value

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, upstream):
        slope, plain, delta = ctx.saved_tensors
        of_gate = upstream * slope if ctx.needs_input_grad[0] else None
        of_delta = (upstream / plain).sum_to_size(delta.shape).div_(delta - 1) if ctx.needs_input_grad[1] else None
        return of_gate, of_delta, None
