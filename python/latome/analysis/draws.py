"""Draws of the latents, and what they decode to: tile by tile, so that memory holds one block beside the result."""

import numpy as np

from latome.analysis.decoding import decode, moved
from latome.analysis.sweep import ELEMENTS, asking, sweep
from latome.backend import torch
from latome.data.minibatches import Minibatches
from latome.kernels.heap import AmpleHeap

__all__ = ["decodings", "draw_at", "encoded", "pooled_draws", "tiles"]


def decodings(module, data, *, rows, size, codes=(None,), n_samples=1, draw="sample"):
    """Distributions of the counts that draws decode to, tile by tile; what they are asked is computed then.

    Each cell is encoded once, and each draw of its latents is decoded under every batch of `codes`.

    Arguments
    ---------
    rows, size : (n,) rows of the data, and how many make a minibatch.
    codes : codes of the batches to decode under; None for a cell's own.
    n_samples, draw : draws of each cell, and what a draw is: "sample" of its posterior, or its "mean".

    Yields (cells, samples, counts): two slices, of the n cells and of the samples, and the distributions over
    (s', m, g), one for each of `codes`. All samples of a minibatch come before the next one.
    """
    stop = 0
    with AmpleHeap():                                  # of all tiles: giving memory back after each costs their time
        for cells in Minibatches(data, rows, size):
            start, stop = stop, stop + len(cells["index"])
            with asking(module):
                posterior = module.posterior(cells)
            at_once = max(1, ELEMENTS // ((stop - start) * data.n_genes))
            for first in range(0, n_samples, at_once):
                last = min(first + at_once, n_samples)
                with asking(module):
                    latents = {name: _draw(q, (last - first,), draw) for name, q in posterior.items()}
                    counts = [decode(module, latents, moved(cells, code)) for code in codes]
                yield slice(start, stop), slice(first, last), counts


def tiles(module, data, ask, **given):
    """What `ask(counts) -> {name: (s', m, ...)}` says of `decodings` with the same arguments, the mean over batches.

    Yields (cells, samples, answer), the last {name: tensor}.
    """
    for cells, samples, counts in decodings(module, data, **given):
        with asking(module):
            answer = _mean_of([ask(one) for one in counts])
        yield cells, samples, answer


def _mean_of(answers):
    if len(answers) == 1:
        return answers[0]
    return {name: sum(answer[name] for answer in answers) / len(answers) for name in answers[0]}


def _draw(q, shape, draw):
    """(*shape, m, k)"""
    return q.rsample(shape) if draw == "sample" else q.transform(q.mean).expand(*shape, *q.mean.shape)


def encoded(module, data, rows, size=None):
    """{name: distribution over (n, k)}: the posteriors of rows (n,), `size` in a minibatch."""
    families = {}

    def query(cells):
        posterior = module.posterior(cells)
        families.update({name: type(q) for name, q in posterior.items()})
        return {(name, moment): value for name, q in posterior.items()
                for moment, value in (("mean", q.mean), ("variance", q.variance.expand_as(q.mean)))}

    found = sweep(module, data, query, indices=rows, batch_size=size, elements=ELEMENTS)
    return {name: family(torch.from_numpy(found[name, "mean"]), torch.from_numpy(found[name, "variance"]))
            for name, family in families.items()}


def draw_at(posterior, places, draw="sample"):
    """{name: (s, k)}: one draw for each of `places` (s,) among the cells of a posterior."""
    places = torch.as_tensor(places)
    return {name: _draw(type(q)(q.mean[places], q.variance[places]), (), draw) for name, q in posterior.items()}


def pooled_draws(module, data, rows, n_draws, size, draw="sample"):
    """(rows (s,), latents {name: (s, k)}): s = n_draws draws with replacement from a pool of all cells' draws.

    The pool holds n_draws // n + 1 draws of each of the n cells; only those that are picked are made.
    """
    n = len(rows)
    picks = torch.randint(n * (n_draws // n + 1), (n_draws,)).numpy()
    members, member = np.unique(picks, return_inverse=True)             # a member of the pool is drawn once
    cells, place = np.unique(members % n, return_inverse=True)
    latents = draw_at(encoded(module, data, rows[cells], size), place, draw)
    return rows[picks % n], {name: z[torch.from_numpy(member)] for name, z in latents.items()}
