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

import os
from functools import partial
from typing import NamedTuple

from latome.backend import torch
from latome.kernels.compiled_counts import evaluate_compiled, is_compiled
from latome.kernels.count_operations import EPS, evaluate_by_operations, nb_at_positive, nb_at_zero
from latome.kernels.node import log_prob_node, summed_by_row

if os.environ.get("LATOME_TRITON") == "1":
    from latome.kernels.triton_counts import evaluate_by_triton
else:
    evaluate_by_triton = None

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
    location_sum, gate_sum : (g,), those by location and gate summed over cells, where the back end gives them.
    """

    value: object
    location: object
    library: object
    theta: object
    gate: object
    location_sum: object = None
    gate_sum: object = None


def evaluate(counts, kind, location, log_library, log_theta, gate, *, gradient, overwrite=False, theta_rows=None,
             theta_sum=False, sums=False, bias=(None, None)):
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
    sums : give those in location and gate summed over cells too, if the back end has them at hand.
    bias : (g,) each or None, first added to `location` and `gate`, in place: only with `overwrite`.

    Returns `Evaluated`. An index outside log_theta raises IndexError.
    """
    if theta_rows is not None and not bool(((theta_rows >= 0) & (theta_rows < len(log_theta))).all()):
        raise IndexError(f"theta_rows must name one of the {len(log_theta)} rows of log_theta for each cell")
    shared = log_theta is not None and log_theta.dim() == 1
    given = {"gradient": gradient, "theta_rows": theta_rows}
    if is_compiled(location, log_library, log_theta, gate):
        found = Evaluated(*evaluate_compiled(counts, kind, location, log_library, log_theta, gate, overwrite=overwrite,
                                             theta_sum=theta_sum and shared, sums=sums, bias=bias, **given))
        if shared:
            return found
    else:
        for values, one in zip((location, gate), bias, strict=True):
            if one is not None:
                values.add_(one)
        on_gpu = evaluate_by_triton is not None and location.is_cuda and location.dtype == torch.float32
        back_end = evaluate_by_triton if on_gpu else evaluate_by_operations
        found = Evaluated(*back_end(counts, kind, location, log_library, log_theta, gate, **given))
    if theta_sum and found.theta is not None:
        found = found._replace(theta=_summed(found.theta, log_theta, theta_rows))
    return found


def _summed(theta, log_theta, theta_rows):
    """Derivatives (m, g) by each cell's log_theta, summed over the cells that share one: the shape of log_theta."""
    if log_theta.dim() == 1:
        return theta.sum(0)
    return theta if theta_rows is None else summed_by_row(theta, theta_rows, log_theta.shape)


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
    rows = {} if theta_rows is None else {2: theta_rows}
    return log_prob_node(partial(_evaluate, counts, kind, theta_rows), (location, library, log_theta, gate), rows)


def _evaluate(counts, kind, theta_rows, *arguments, gradient):
    return evaluate(counts, kind, *arguments, gradient=gradient, theta_rows=theta_rows)[:5]
