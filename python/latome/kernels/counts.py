"""Log-likelihoods of counts over a sparse minibatch, value and gradient in one pass.

For cell n and gene g, with mean mu, inverse dispersion theta and zero-inflation logit c (`gate`):

    NB       log p(x) = A + x [log(mu + eps) - log(theta + mu + eps)]
                          + lgamma(x + theta) - lgamma(theta) - lgamma(x + 1)
             A        = -theta log(1 + mu / (theta + eps))            the log-probability of zero
    ZINB     log p(0) = softplus(A - c) - softplus(-c)
             log p(x) = NB - softplus(c)                              x > 0
    Poisson  log p(x) = x log(mu) - mu - lgamma(x + 1)

Every gene is first treated as a zero, in closed form; the entries of the minibatch then add what a
positive count changes, so lgamma and digamma are taken at positive counts only. The gradient is analytic
and is computed beside the value, or not at all where none is asked for: `backward` only multiplies. Means come either
from logits, mu = exp(log_library) softmax(logits), or from their logarithm.
"""

from typing import NamedTuple

from latome.backend import torch
from latome.kernels.compiled_counts import evaluate_compiled, is_compiled
from latome.kernels.count_operations import EPS, evaluate_by_operations, nb_at_positive, nb_at_zero

__all__ = ["EPS", "Evaluated", "count_log_prob", "evaluate", "nb_at_positive", "nb_at_zero"]


class Evaluated(NamedTuple):
    """Log-probabilities of cells, and how they change: each cell's own derivative in each argument, None if not asked.

    Arguments
    ---------
    value : (m,), in nats.
    location : (m, g), by the logits or the logarithm of the mean.
    library : (m, 1), by log_library; None without one.
    theta : (m, g), by the log_theta of the cell; or its sum over cells, of the shape of log_theta.
    gate : (m, g), by the gate.
    """

    value: object
    location: object
    library: object
    theta: object
    gate: object


def evaluate(counts, kind, location, log_library, log_theta, gate, *, gradient, overwrite=False, theta_rows=None,
             theta_sum=False):
    """Log-probability of each cell's counts and, if asked, its derivatives; outside any graph.

    Arguments
    ---------
    counts : SparseCounts of m cells and g genes without explicit zeros.
    kind : "nb", "zinb" or "poisson".
    location, log_library : (m, g) and (m, 1), logits and log library size; or the logarithm of the mean and None.
    log_theta : (g,), (b, g) with `theta_rows`, or (m, g): logarithm of the inverse dispersion; None for "poisson".
    gate : (m, g), zero-inflation logit, for "zinb"; None for others.
    gradient : whether derivatives are wanted; without them it takes about two thirds of the time.
    overwrite : the derivatives may take the place of `location` and `gate`.
    theta_rows : (m,) int64, each cell's row of log_theta.
    theta_sum : sum the derivatives in log_theta over cells; nothing for an (m, g) one.

    Returns `Evaluated`. An index outside log_theta raises IndexError.
    """
    if theta_rows is not None and not bool(((theta_rows >= 0) & (theta_rows < len(log_theta))).all()):
        raise IndexError(f"theta_rows must name one of the {len(log_theta)} rows of log_theta for each cell")
    shared = log_theta is not None and log_theta.dim() == 1
    given = {"gradient": gradient, "theta_rows": theta_rows}
    if is_compiled(location, log_library, log_theta, gate):
        found = Evaluated(*evaluate_compiled(counts, kind, location, log_library, log_theta, gate, overwrite=overwrite,
                                             theta_sum=theta_sum and shared, **given))
        if shared:
            return found
    else:
        found = Evaluated(*evaluate_by_operations(counts, kind, location, log_library, log_theta, gate, **given))
    if theta_sum and found.theta is not None:
        found = found._replace(theta=_summed(found.theta, log_theta, theta_rows))
    return found


def _summed(theta, log_theta, theta_rows):
    """Derivatives (m, g) by each cell's log_theta, summed over the cells that share one: the shape of log_theta."""
    if log_theta.dim() == 1:
        return theta.sum(0)
    if theta_rows is None:
        return theta
    return torch.zeros(log_theta.shape, dtype=theta.dtype, device=theta.device).index_add_(0, theta_rows, theta)


def count_log_prob(counts, *, kind, logits=None, log_library=None, log_mean=None, log_theta=None, theta_rows=None,
                   gate=None):
    """Log-probability of each cell's counts, summed over genes.

    Arguments
    ---------
    counts : SparseCounts of m cells and g genes without explicit zeros.
    kind : "nb", "zinb" or "poisson".
    logits, log_library : (m, g) and (m, 1): the mean is exp(log_library) softmax(logits); or
    log_mean : (m, g), the logarithm of the mean.
    log_theta : (g,), (b, g) with `theta_rows`, or (m, g): logarithm of the inverse dispersion; not for "poisson".
    theta_rows : (m,) int64, each cell's row of log_theta.
    gate : (m, g), zero-inflation logit; for "zinb" only.

    Returns (m,), in nats.
    """
    location, library = (logits, log_library) if log_mean is None else (log_mean, None)
    arguments = (location, library, log_theta, gate)
    if torch.is_grad_enabled() and any(one is not None and one.requires_grad for one in arguments):
        return _CountLogProb.apply(counts, kind, theta_rows, *arguments)
    return evaluate(counts, kind, *arguments, gradient=False, theta_rows=theta_rows).value


class _CountLogProb(torch.autograd.Function):
    """One node of the graph for the whole likelihood."""

    @staticmethod
    def forward(ctx, counts, kind, theta_rows, location, library, log_theta, gate):
        found = evaluate(counts, kind, location, library, log_theta, gate, gradient=True, theta_rows=theta_rows)
        ctx.save_for_backward(found.location, found.library, found.theta, found.gate, log_theta, theta_rows)
        return found.value

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, upstream):
        location, library, theta, gate, log_theta, theta_rows = ctx.saved_tensors
        weight = upstream.unsqueeze(1)                                  # (m, 1)
        wanted = ctx.needs_input_grad[3:]
        if wanted[2]:
            shared = log_theta.dim() == 1
            theta = upstream @ theta if shared else _summed(weight * theta, log_theta, theta_rows)
        return (None, None, None, weight * location if wanted[0] else None, weight * library if wanted[1] else None,
                theta if wanted[2] else None, weight * gate if wanted[3] else None)
