"""Samples of expression: one pool of draws for each part of the cells, shared by all comparisons.

Every cell is encoded once. A draw is a random cell of the part and a draw of its posterior; it is decoded under the
cell's own batch, or under each of the batches asked for in equal shares. A set of cells that consists of several parts,
such as "the rest", takes draws from their pools in proportion to their sizes, so nothing is decoded for it.
Draws are kept as latents; expression is decoded from them for as many genes at a time as memory allows, gene by gene
in memory, so that what is asked of a gene's draws reads them one after the other.
"""

from dataclasses import dataclass

import numpy as np

from latome.analysis.decoding import decode, expression_into, moved
from latome.analysis.differential.partition import allot, partition
from latome.analysis.draws import draw_at, encoded
from latome.analysis.expression import normalized_expression
from latome.analysis.sweep import asking, cells_at_once
from latome.backend import torch
from latome.data.minibatches import covariates_of
from latome.kernels.heap import AmpleHeap

__all__ = ["CellSet", "Pools", "Selection", "draw_pools", "weighted_pools"]

LEAST = 2                                              # draws under each batch
ENTRIES = 1 << 28                                      # of all pools at a time: 1 GB


@dataclass(frozen=True, eq=False)
class CellSet:
    """Cells of one side of a comparison, and how they are decoded.

    Arguments
    ---------
    rows : (m,) int64 rows of the data.
    codes : codes of the batches to decode under; (None,) for each cell's own.
    """

    rows: np.ndarray
    codes: tuple


@dataclass(frozen=True)
class Selection:
    """The samples of a set, gathered from pools: `n_blocks` blocks of equal size, one a batch.

    Arguments
    ---------
    picks : (pool, draws, size) of each part: its first draws of each block of the pool, whose blocks have that size.
    n, n_blocks : samples in all, and blocks they form.
    """

    picks: list
    n: int
    n_blocks: int

    @property
    def exchangeable(self):
        """Whether the order of the samples is random: one part, one block."""
        return len(self.picks) == 1 and self.n_blocks == 1

    def gather(self, arrays, genes):
        """(g', n) samples of a slice of the genes, from the decoded pools [(g, s)]; not to be written into."""
        if len(self.picks) == 1 and self.picks[0][1] == self.picks[0][2]:
            return arrays[self.picks[0][0]][genes]
        parts = [arrays[pool][genes, block * size:block * size + count]
                 for block in range(self.n_blocks) for pool, count, size in self.picks]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


@dataclass(frozen=True)
class Pools:
    """Pools of samples, decoded for some genes at a time.

    Arguments
    ---------
    fill : functions of a slice of the genes, one a pool, that return its samples (g', s) float32.
    sizes : draws in each pool.
    selections : a `Selection` for each set.
    n_genes : g.
    """

    fill: list
    sizes: list
    selections: list
    n_genes: int

    def tiles(self):
        """[slices of the genes] such that all pools of one tile fit into memory."""
        width = min(self.n_genes, max(1, ENTRIES // sum(self.sizes)))
        return [slice(start, min(start + width, self.n_genes)) for start in range(0, self.n_genes, width)]


def draw_pools(module, data, sets, n_samples, batch_size=None):
    """`Pools` with about `n_samples` draws for each `CellSet`; cells are drawn with replacement."""
    rng, size = np.random.default_rng(int(torch.randint(2**62, (1,)))), cells_at_once(data, batch_size)
    selections, drawn = [None] * len(sets), []                          # drawn: (rows (s,), codes) of each pool
    for codes in dict.fromkeys(one.codes for one in sets):
        mine = [i for i, one in enumerate(sets) if one.codes == codes]
        parts = partition(data.n_cells, [sets[i].rows for i in mine])
        each = max(LEAST, n_samples // len(codes))                      # draws under each batch
        counts = [allot(parts.sizes[of_set], each) for of_set in parts.members]
        most = np.zeros(len(parts.sizes), dtype=np.int64)
        for of_set, count in zip(parts.members, counts, strict=True):
            most[of_set] = np.maximum(most[of_set], count)
        for i, of_set, count in zip(mine, parts.members, counts, strict=True):
            selections[i] = _select(of_set + len(drawn), count, most[of_set], len(codes))
        drawn += [(rng.choice(parts.rows(part), size=len(codes) * n), codes) for part, n in enumerate(most)]
    used = np.unique(np.concatenate([rows for rows, _ in drawn]))
    posterior = encoded(module, data, used, batch_size)
    fill = [_Decoder(module, data, rows, codes, draw_at(posterior, np.searchsorted(used, rows)), size)
            for rows, codes in drawn]
    return Pools(fill, [len(rows) for rows, _ in drawn], selections, data.n_genes)


def weighted_pools(module, data, sets, n_samples, importance=None, batch_size=None):
    """`Pools` whose samples are drawn by importance weights; all genes of all sets are held in memory."""
    names, fill, sizes, selections = data.registry.batch_categories, [], [], []
    for pool, one in enumerate(sets):
        each = max(LEAST, n_samples // len(one.codes))
        samples = np.concatenate([normalized_expression(
            module, data, transform_batch=None if code is None else names[code], n_samples_overall=each,
            weights="importance", importance=importance, indices=one.rows, batch_size=batch_size)
            for code in one.codes])
        fill.append(lambda genes, samples=samples: np.ascontiguousarray(samples[:, genes].T))
        sizes.append(len(samples))
        selections.append(_select([pool], [each], [each], len(one.codes)))
    return Pools(fill, sizes, selections, data.n_genes)


def _select(pools, counts, sizes, n_blocks):
    """A `Selection` of the first `counts` draws of each pool's blocks, whose sizes are `sizes`."""
    picks = [tuple(map(int, pick)) for pick in zip(pools, counts, sizes, strict=True) if pick[1]]
    return Selection(picks, n_blocks * int(np.sum(counts)), n_blocks)


@dataclass(frozen=True)
class _Decoder:
    """Decodes the draws of one pool, block by block, each block under its batch."""

    module: torch.nn.Module
    data: object
    rows: np.ndarray
    codes: tuple
    latents: dict
    size: int

    def __call__(self, genes):
        """(g', s) float32 expression fractions of a slice of the genes."""
        samples, block = (np.empty(shape, dtype=np.float32) for shape in (              # numpy's: in huge pages
            (genes.stop - genes.start, len(self.rows)), (min(self.size, len(self.rows)), self.data.n_genes)))
        columns = covariates_of(self.data, self.rows)
        with asking(self.module), AmpleHeap():
            for code, start, stop in self._minibatches():
                cells = moved({name: values[start:stop] for name, values in columns.items()}, code)
                latents = {name: z[start:stop] for name, z in self.latents.items()}
                decoded = torch.from_numpy(block[:stop - start])
                expression_into(decoded, decode(self.module, latents, cells))
                torch.from_numpy(samples)[:, start:stop] = decoded[:, genes].t()
        return samples

    def _minibatches(self):
        """(code, start, stop) of draws that are decoded together."""
        block = len(self.rows) // len(self.codes)
        for i, code in enumerate(self.codes):
            for start in range(i * block, (i + 1) * block, self.size):
                yield code, start, min(start + self.size, (i + 1) * block)
