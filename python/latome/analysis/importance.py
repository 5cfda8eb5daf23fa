"""Importance weights: draws of latents from the cells' posteriors themselves, not from what the encoder makes of them.

Draws z_s of the encoder's q(z | x_b), b in a set of cells, are weighted by

    w_s ~ [mean over anchors a of p(z_s) p(x_a | z_s) / p(x_a)] / [mean over cells b of q(z_s | x_b)]

so that they stand for the mean of the cells' posteriors p(z | x_a). Each likelihood is that of the anchor under its own
covariates and library size; anchors with the same covariates share what a draw decodes to.
"""

import math
import warnings
from dataclasses import dataclass

import numpy as np

from latome.analysis.draws import encoded
from latome.analysis.likelihood import marginal_likelihood
from latome.analysis.pairwise import log_likelihoods
from latome.analysis.sweep import ELEMENTS, asking
from latome.backend import torch
from latome.data.minibatches import Minibatches
from latome.protocol.settings import Settings, setting

__all__ = ["ImportanceOptions", "effective_size", "importance_weights", "weighted_draws"]

VALUES = 32                                            # numbers that a pair of a draw and a cell takes for a moment
OF_THE_CELL = ("x", "total", "size_factor", "index")   # what cells with the same covariates may differ in


@dataclass(frozen=True)
class ImportanceOptions(Settings):
    """Options of importance weights."""

    max_cells: int = setting(1024, "Cells that draws come from and are weighted by; of more, so many drawn at random "
                                   "stand for all.", ge=1)
    truncation: bool = setting(False, "Cut weights off at their mean times the square root of their number: less "
                                      "variance, some bias (Ionides, 2008).")
    n_mc_samples: int = setting(500, "Draws for the marginal likelihood of each cell.", ge=1)
    n_mc_samples_per_pass: int | None = setting(None, "Of these, how many are decoded together; None for as many as "
                                                      "fit into some megabytes.", ge=1)


def weighted_draws(module, data, rows, n_draws, options, size, progress=None):
    """(rows (s,), latents {name: (s, k)}): s = n_draws draws from a pool, with replacement, by importance weights.

    The pool holds n_draws // n + 1 draws of each of the n cells, or of `options.max_cells` of them.
    Warns when the weights leave next to nothing of the pool. `size` cells make a minibatch of the encoder.
    """
    anchors = _some(rows, options.max_cells)
    posterior = encoded(module, data, anchors, size)
    each = n_draws // len(anchors) + 1
    normal = {name: q.rsample_normal((each,)).flatten(0, 1) for name, q in posterior.items()}           # (s', k)
    weights = importance_weights(module, data, anchors, posterior, normal, options, progress)
    _warn_of_few(weights)
    picks = torch.multinomial(torch.from_numpy(weights), n_draws, replacement=True)
    latents = {name: q.transform(normal[name][picks]) for name, q in posterior.items()}
    return np.tile(anchors, each)[picks.numpy()], latents


def importance_weights(module, data, anchors, posterior, normal, options, progress=None):
    """(s,) float64 weights that sum to one, of draws made in equal number from the posterior of each anchor.

    p(x_a) is the larger of two estimates, of which either may miss where x_a is likely: the marginal likelihood by
    draws from the anchor's own posterior, and the mean over this pool. So no anchor counts for more than it is due, and
    a draw for no more than the anchors that it explains. Memory holds (s, a) float32.

    Arguments
    ---------
    anchors : (a,) rows of the data, cells with counts.
    posterior : {name: distribution over (a, k)}, of the same cells.
    normal : {name: (s, k)} draws of its normal variables.
    options : `ImportanceOptions`.
    progress : function of (steps done, steps in all), called between steps.
    """
    evidence = marginal_likelihood(module, data, indices=anchors, n_mc_samples=options.n_mc_samples,
                                   n_mc_samples_per_pass=options.n_mc_samples_per_pass, return_mean=False)
    ratios = _log_joint(module, data, anchors, posterior, normal, torch.from_numpy(evidence), progress)
    ratios -= _log_proposal(posterior, normal).unsqueeze(1)             # (s, a)
    ratios -= (ratios.logsumexp(0) - math.log(len(ratios))).clamp_min(0)
    log_weights = ratios.double().logsumexp(1)
    weights = (log_weights - log_weights.max()).exp()
    weights = weights / weights.sum()
    if options.truncation:
        weights = weights.clamp_max(len(weights) ** -0.5)
        weights = weights / weights.sum()
    return weights.numpy()


def effective_size(weights):
    """How many equal weights say as much as these (s,), which sum to one: 1 / sum w^2."""
    return 1 / float(np.square(weights).sum())


def _warn_of_few(weights):
    effective = effective_size(weights)
    if effective < min(len(weights), max(10, len(weights) / 100)):
        warnings.warn(f"Importance weights: the pool of {len(weights):,} draws counts as {effective:.1f} draws of the "
                      "posterior, too few to say much. Draw more (n_samples_overall), set `truncation`, or weight them "
                      "uniformly.", stacklevel=3)


def _some(rows, n):
    """At most n of the rows, in their order."""
    if len(rows) <= n:
        return rows
    return rows[torch.randperm(len(rows))[:n].sort().values.numpy()]


def _log_proposal(posterior, normal):
    """(s,) float64: log of the mean over cells of q(z | x)."""
    total = []
    q = {name: type(one)(one.mean.double(), one.variance.double()) for name, one in posterior.items()}
    n_draws, elements = len(next(iter(normal.values()))), sum(one.mean.numel() for one in q.values())
    for tile in _tiles(n_draws, elements):
        density = sum(one.log_prob(normal[name][tile].double().unsqueeze(1)) for name, one in q.items())    # (s', a)
        total.append(density.logsumexp(1) - math.log(density.shape[1]))
    return torch.cat(total)


def _tiles(n, elements):
    """Slices of n draws such that each holds few enough of their elements."""
    size = max(1, min(1024, ELEMENTS // elements))
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


def _log_joint(module, data, anchors, posterior, normal, evidence, progress):
    """(s, a) float32: log p(z) p(x_a | z) / p(x_a)."""
    cells = next(iter(Minibatches(data, anchors, len(anchors))))
    n_draws = len(next(iter(normal.values())))
    with asking(module):
        library = _log_library(module, cells, posterior)
    groups = _alike(cells, library is None)
    steps = [(group, tile) for group in groups for tile in _tiles(n_draws, max(data.n_genes, VALUES * len(group)))]
    found = torch.empty(n_draws, len(anchors))
    for done, (group, tile) in enumerate(steps, 1):
        with asking(module):
            shift = torch.zeros(len(group)) if library is None else library[group] - library[group[0]]
            drawn = {name: z[tile] for name, z in normal.items()}
            given = {name: value[group[:1]].expand(tile.stop - tile.start, *value.shape[1:])
                     for name, value in cells.items() if name != "x"}
            generated = module.generative({name: q.transform(drawn[name]) for name, q in posterior.items()}, given)
            prior = sum(generated.prior[name].log_prob(z).double() for name, z in drawn.items())            # (s',)
            likelihood = log_likelihoods(generated.likelihood["x"], cells["x"], group, shift)               # (s', a')
            found[tile, group] = (likelihood + prior.unsqueeze(1) - evidence[group]).float()
        if progress is not None:
            progress(done, len(steps))
    return found


def _log_library(module, cells, posterior):
    """(a,): the part of each cell's log library size that is its own and no latent; None where there is none."""
    nowhere = {name: q.transform(torch.zeros_like(q.mean)) for name, q in posterior.items()}
    library = module.generative(nowhere, cells).likelihood["x"].log_library
    return None if library is None else library.expand(len(cells["index"]), 1).squeeze(1)


def _alike(cells, by_size):
    """[places (a',)] of cells with the same covariates; where `by_size`, also with the same library size."""
    ignored = [name for name in OF_THE_CELL if not (by_size and name in ("total", "size_factor"))]
    columns = [value.reshape(len(value), value[0].numel()).double() for name, value in cells.items()
               if name not in ignored and not name.startswith("stored_")]
    _, group = torch.unique(torch.cat(columns, 1), dim=0, return_inverse=True)
    return [(group == i).nonzero().squeeze(1) for i in range(int(group.max()) + 1)]
