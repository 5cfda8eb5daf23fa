"""Log-likelihoods of what is there or not (x > 0), value and gradient in one pass over a sparse minibatch.

For cell n and region g, with a logit l and, where there are any, factors between 0 and 1 of the cell and the region:

    p              = q sigmoid(l),   q = q_n q_g
    log p(present) = log q - softplus(-l)
    log p(absent)  = log(1 - p),     1 - p = (1 - q) + q sigmoid(-l)

Every region is first treated as absent, in closed form; the entries of the minibatch then change that.
"""

import ctypes
from functools import partial

from latome.backend import torch
from latome.kernels.compiled_counts import ALONE, address, is_compiled
from latome.kernels.native import bind
from latome.kernels.node import log_prob_node

__all__ = ["bernoulli_log_prob"]

_bernoulli = bind("latome_bernoulli", "ppn")


def bernoulli_log_prob(counts, *, logits, log_cell=None, log_region=None):
    """Log-probability of which regions each cell has counts in, summed over regions.

    Arguments
    ---------
    counts : SparseCounts of m cells and g regions without explicit zeros; only where they are matters.
    logits : (m, g).
    log_cell, log_region : (m, 1) and (g,), logarithms of the factors of a cell and a region, at most zero; or None.

    Returns (m,), in nats.
    """
    return log_prob_node(partial(_evaluate, counts), (logits, log_cell, log_region))


def _evaluate(counts, logits, log_cell, log_region, *, gradient):
    """(value (m,), derivatives (m, g), (m, 1) and (m, g) in the arguments; None where there is none or none asked)."""
    if is_compiled(logits, log_cell, log_region) and _bernoulli is not None:
        return _by_kernel(counts, logits, log_cell, log_region, gradient)
    at, log_sigmoid = counts.positions, torch.nn.functional.logsigmoid
    closed = (-logits).sigmoid()                                        # (m, g)
    if log_cell is None and log_region is None:
        present, absent, odds = log_sigmoid(logits), log_sigmoid(-logits), None
        pull = -logits.sigmoid()
    else:
        log_q = sum(one for one in (log_cell, log_region) if one is not None).expand_as(logits)
        p, rest = log_q.exp() * logits.sigmoid(), -log_q.expm1() + log_q.exp() * closed
        rest = rest.clamp_min(torch.finfo(rest.dtype).tiny)
        present, absent = log_q + log_sigmoid(logits), torch.where(p < 0.5, (-p).log1p(), rest.log())
        odds = p / rest
        pull = -odds * closed
    changes = (present - absent).view(-1).index_select(0, at)
    value = absent.sum(1) + counts.row_sums(changes)
    if not gradient:
        return value, None, None, None
    pull.view(-1).index_copy_(0, at, closed.view(-1).index_select(0, at))
    if odds is None:
        return value, pull, None, None
    slope = odds.neg_()
    slope.view(-1).index_fill_(0, at, 1.0)
    of_cell = None if log_cell is None else slope.sum(1, keepdim=True)
    return value, pull, of_cell, None if log_region is None else slope


def _by_kernel(counts, logits, log_cell, log_region, gradient):
    m, g = logits.shape
    value, pull = torch.empty(m), torch.empty(m, g) if gradient else None
    cell = torch.empty(m, 1) if gradient and log_cell is not None else None
    region = torch.empty(m, g) if gradient and log_region is not None else None
    given = [None if one is None else one.detach().contiguous()
             for one in (counts.indptr.long(), counts.indices.long(), logits, log_cell, log_region)]
    sizes = (ctypes.c_int64 * 3)(m, g, gradient)
    _bernoulli(sizes, address(*given, value, pull, cell, region), 1 if m * g < ALONE else torch.get_num_threads())
    return value, pull, cell, region
