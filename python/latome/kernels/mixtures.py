"""Log-likelihoods of counts that come from a background or from a foreground, value and gradient in one pass.

For cell n and protein g, with two means of one inverse dispersion theta, and the logit c of the background (`mixing`):

    log p(x) = log[sigmoid(c) NB(x; background, theta) + sigmoid(-c) NB(x; foreground, theta)]
             = logsumexp(log NB_1, log NB_2 - c) - softplus(-c)

with NB as in `counts`. Everything is in float64 on the way: two log-probabilities of large counts are compared.
"""

import ctypes
from functools import partial

from latome.backend import torch
from latome.kernels.compiled_counts import address, is_compiled
from latome.kernels.count_operations import EPS, nb_at_zero
from latome.kernels.gammas import wide_gamma_ratios
from latome.kernels.native import bind
from latome.kernels.node import log_prob_node
from latome.kernels.sparse import SparseCounts

__all__ = ["mixture_log_prob"]

_mixture = bind("latome_mixture", "ppn")


def mixture_log_prob(counts, *, log_background, log_foreground, log_theta, mixing, theta_rows=None, mask=None):
    """Log-probability of each cell's counts, summed over proteins.

    Arguments
    ---------
    counts : SparseCounts or dense (m, g).
    log_background, log_foreground : (m, g), logarithms of the two means.
    log_theta : (g,), (b, g) with `theta_rows`, or (m, g): logarithm of the inverse dispersion of both.
    mixing : (m, g), logit of the background.
    theta_rows : (m,) int64, each cell's row of log_theta.
    mask : (m, g), weights of the terms, 0 where a protein was not measured; None for all.

    Returns (m,), in nats.
    """
    x = counts.dense() if isinstance(counts, SparseCounts) else counts
    evaluate = partial(_evaluate, x, theta_rows, mask)
    rows = {} if theta_rows is None else {2: theta_rows}
    return log_prob_node(evaluate, (log_background, log_foreground, log_theta, mixing), rows)


def _evaluate(x, rows, mask, background, foreground, log_theta, mixing, *, gradient):
    """(value (m,), derivatives (m, g) in the last four arguments; None where not asked)."""
    if is_compiled(background, foreground, log_theta, mixing) and _mixture is not None:
        return _by_kernel(x, rows, mask, background, foreground, log_theta, mixing, gradient)
    back, fore, log_theta, mixing = (one.double() for one in (background, foreground, log_theta, mixing))
    theta = (log_theta if rows is None else log_theta[rows]).exp().expand_as(back)
    x, softplus = x.double(), torch.nn.functional.softplus
    gammas, gamma_slope = wide_gamma_ratios(x, theta)
    first, second = _component(x, back.exp(), theta), _component(x, fore.exp(), theta)
    log_p = torch.logaddexp(first[0], second[0] - mixing) + gammas - torch.lgamma(x + 1) - softplus(-mixing)
    mask = torch.ones_like(log_p) if mask is None else mask.double()
    value = (mask * log_p).sum(1).to(background.dtype)
    if not gradient:
        return value, None, None, None, None
    share = (first[0] - second[0] + mixing).sigmoid()                   # how likely the background made the count
    rest = (second[0] - first[0] - mixing).sigmoid()
    slopes = (share * first[1], rest * second[1], share * first[2] + rest * second[2] + theta * gamma_slope,
              (-mixing).sigmoid() - rest)
    return value, *((mask * slope).to(background.dtype) for slope in slopes)


def _component(x, mu, theta):
    """log NB(x) but for its gamma functions, its slope in log mu and in log theta: (m, g) each."""
    at_zero, ratio = nb_at_zero(mu, theta)
    total, odds = theta + mu + EPS, mu / (theta + mu + EPS)
    log_p = at_zero + x * ((mu + EPS).log() - total.log())
    return log_p, theta * odds * (x / (mu + EPS) - 1), theta * (odds * theta / (theta + EPS) - ratio - x / total)


def _by_kernel(x, rows, mask, background, foreground, log_theta, mixing, gradient):
    m, g = background.shape
    form = 0 if log_theta.dim() == 1 else 1 if rows is not None else 2
    value, slopes = torch.empty(m), [torch.empty(m, g) if gradient else None for _ in range(4)]
    mask = None if mask is None else mask.float()
    given = [None if one is None else one.detach().contiguous()
             for one in (x.float(), background, foreground, log_theta, rows, mixing, mask)]
    sizes = (ctypes.c_int64 * 4)(m, g, gradient, form)
    _mixture(sizes, address(*given, value, *slopes), torch.get_num_threads())
    return value, *slopes
