"""One node of the graph for a whole likelihood, whose derivatives are computed beside its value."""

from latome.backend import torch

__all__ = ["log_prob_node", "summed_by_row"]


def log_prob_node(evaluate, arguments, rows=None):
    """(m,): log-probabilities of cells, differentiable where any of the arguments is.

    Arguments
    ---------
    evaluate : function(*arguments, gradient=bool) -> (value (m,), each cell's own derivative in each argument...), the
        derivatives of cells (m, g), or (m, 1), and None where there is none.
    arguments : tensors (m, g), (m, 1) or (g,), or None; or (b, g), of which cells have rows:
    rows : {place among the arguments: (m,) int64}.
    """
    if torch.is_grad_enabled() and any(one is not None and one.requires_grad for one in arguments):
        return _LogProb.apply(evaluate, rows or {}, *arguments)
    return evaluate(*arguments, gradient=False)[0]


def summed_by_row(values, rows, shape):
    """Values (m, g) of cells, summed over those of the same row: `shape` (b, g)."""
    return torch.zeros(shape, dtype=values.dtype, device=values.device).index_add_(0, rows, values)


class _LogProb(torch.autograd.Function):

    @staticmethod
    def forward(ctx, evaluate, rows, *arguments):
        value, *derivatives = evaluate(*arguments, gradient=True)
        ctx.rows, ctx.shapes = rows, tuple(None if one is None else one.shape for one in arguments)
        ctx.save_for_backward(*derivatives)
        return value

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, upstream):
        weight, found = upstream.unsqueeze(1), []                       # (m, 1)
        for place, (derivative, shape) in enumerate(zip(ctx.saved_tensors, ctx.shapes, strict=True)):
            if not ctx.needs_input_grad[place + 2]:
                found.append(None)
            elif len(shape) == 1:
                found.append(upstream @ derivative)
            elif place in ctx.rows:
                found.append(summed_by_row(weight * derivative, ctx.rows[place], shape))
            else:
                found.append(weight * derivative)
        return None, None, *found
