"""Importance weights: draws of latents from the cells' posteriors themselves, not from what the encoder makes of them.

Draws z_s of the encoder's q(z | x_b), b in a set of cells, are weighted by

    w_s ~ [mean over anchors a of p(z_s) p(x_a | z_s) / p(x_a)] / [mean over cells b of q(z_s | x_b)]

so that they stand for the mean of the cells' posteriors p(z | x_a). Each likelihood is that of the anchor under its own
covariates and library size; anchors with the same covariates share what a draw decodes to.
"""

import warnings
from dataclasses import dataclass

import numpy as np

from latome.analysis.draws import asking, encoded
from latome.analysis.likelihood import marginal_likelihood
from latome.analysis.sweep import ELEMENTS
from latome.backend import torch
from latome.data.minibatches import Minibatches
from latome.kernels.sparse import SparseCounts
from latome.protocol.settings import Settings, setting

__all__ = ["ImportanceOptions", "effective_size", "importance_weights", "weighted_draws"]

TOLERANCE = 0.01                                       # nats: what interpolating a log-likelihood may change
NODES = 8                                              # intervals of the coarsest interpolation
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
    target = _log_target(module, data, anchors, posterior, normal, torch.from_numpy(evidence), progress)
    log_weights = target - _log_proposal(posterior, normal)
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
    """(s,) float64: log of the sum over cells of q(z | x)."""
    total = []
    q = {name: type(one)(one.mean.double(), one.variance.double()) for name, one in posterior.items()}
    n_draws, elements = len(next(iter(normal.values()))), sum(one.mean.numel() for one in q.values())
    for tile in _tiles(n_draws, elements):
        density = sum(one.log_prob(normal[name][tile].double().unsqueeze(1)) for name, one in q.items())    # (s', a)
        total.append(density.logsumexp(1))
    return torch.cat(total)


def _tiles(n, elements):
    """Slices of n draws such that each holds few enough of their elements."""
    size = max(1, min(1024, ELEMENTS // elements))
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


def _log_target(module, data, anchors, posterior, normal, evidence, progress):
    """(s,) float64: log of the sum over anchors of p(z) p(x_a | z) / p(x_a)."""
    cells = next(iter(Minibatches(data, anchors, len(anchors))))
    n_draws = len(next(iter(normal.values())))
    total = torch.full((n_draws,), -torch.inf, dtype=torch.float64)
    with asking(module):
        library = _log_library(module, cells, posterior)
        groups = _alike(cells, library is None)
        tiles = _tiles(n_draws, data.n_genes)
        steps = [(group, tile) for group in groups for tile in tiles]
    for done, (group, tile) in enumerate(steps, 1):
        with asking(module):
            shift = torch.zeros(len(group)) if library is None else library[group] - library[group[0]]
            drawn = {name: z[tile] for name, z in normal.items()}
            given = {name: value[group[:1]].expand(tile.stop - tile.start, *value.shape[1:])
                     for name, value in cells.items() if name != "x"}
            generated = module.generative({name: q.transform(drawn[name]) for name, q in posterior.items()}, given)
            joint = log_likelihoods(generated.likelihood["x"], cells["x"], group, shift)                    # (s', a')
            prior = sum(generated.prior[name].log_prob(z).double() for name, z in drawn.items())            # (s',)
            found = (joint - evidence[group]).logsumexp(1) + prior
            total[tile] = torch.logaddexp(total[tile], found)
        if progress is not None:
            progress(done, len(steps))
    return total


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


def log_likelihoods(counts, x, members, shift):
    """(s, a) float64: log p(x_a | z_s) of some cells a, given the distributions (s, g) that the draws decode to.

    A cell's likelihood is that of all genes silent, a smooth function of its library size alone, which is interpolated,
    and what its expressed genes change.

    Arguments
    ---------
    counts : distributions over (s, g), under the library size of the first cell where that is the cell's own.
    x : SparseCounts of cells; `members` (a,) are the places of those asked about.
    shift : (a,) log library size of each of them, less that of the first.
    """
    log_rate = counts.rate.log()                                        # (s, g)
    n_draws, every = len(log_rate), slice(None)

    def silent(by):
        return counts.of_genes(every, log_rate + by).log_prob(_same((), (), n_draws, x.n_genes)).double()

    found = interpolated(silent, shift)                                 # (s, a)
    for i, member in enumerate(members.tolist()):
        entries = slice(int(x.indptr[member]), int(x.indptr[member + 1]))
        genes, values = x.indices[entries], x.values[entries]
        there = counts.of_genes(genes, log_rate.index_select(1, genes) + shift[i])
        change = there.log_prob(_same(values, torch.arange(len(genes)), n_draws, len(genes))) \
            - there.log_prob(_same((), (), n_draws, len(genes)))
        found[:, i] += change
    return found


def _same(values, genes, n_cells, n_genes):
    """SparseCounts of cells that are all alike."""
    values, genes = torch.as_tensor(values, dtype=torch.float32), torch.as_tensor(genes, dtype=torch.int64)
    return SparseCounts(torch.arange(n_cells + 1) * len(values), genes.repeat(n_cells), values.repeat(n_cells), n_genes)


def interpolated(function, at):
    """(s, a): a smooth function(float) -> (s,) at the points (a,), from its values at few Chebyshev nodes.

    The nodes are doubled until the polynomial foretells what the new ones say within `TOLERANCE`; few points are
    asked themselves.
    """
    points, place = torch.unique(at.double(), return_inverse=True)
    low, high = float(points[0]), float(points[-1])

    def values_at(angles):
        return torch.stack([function(low + (high - low) * (1 + float(c)) / 2) for c in angles.cos()], 1)

    n = NODES
    values = None
    while 2 * n + 1 < len(points):
        angles = torch.arange(n + 1, dtype=torch.float64) * torch.pi / n
        values = values_at(angles) if values is None else values
        between = (angles[:-1] + angles[1:]) / 2
        new = values_at(between)
        error = (_polynomial(values, between.cos()) - new).abs().max()
        values = torch.stack([values, torch.cat([new, new[:, :1]], 1)], 2).flatten(1)[:, :-1]      # interleaved
        n *= 2
        if error < TOLERANCE:
            return _polynomial(values, (2 * (points - low) / (high - low) - 1))[:, place]
    return torch.stack([function(float(point)) for point in points], 1)[:, place]


def _polynomial(values, at):
    """(s, a): the polynomial through values (s, n + 1) at cos(pi j / n), at points (a,) of [-1, 1] (barycentric)."""
    n = values.shape[1] - 1
    nodes = (torch.arange(n + 1, dtype=torch.float64) * torch.pi / n).cos()
    weights = torch.ones(n + 1, dtype=torch.float64)
    weights[1::2] = -1
    weights[[0, -1]] /= 2
    apart = at.unsqueeze(1) - nodes                                     # (a, n + 1)
    exact = apart == 0
    terms = weights / torch.where(exact, 1.0, apart)
    terms = torch.where(exact.any(1, keepdim=True), exact.double(), terms)
    return values @ (terms / terms.sum(1, keepdim=True)).T
