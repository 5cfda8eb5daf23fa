"""Minibatches of cells: rows are gathered in blocks, and each minibatch is a view of its block."""

import numpy as np

from latome.backend import torch
from latome.data.windows import ahead, grouped
from latome.kernels.sparse import SparseCounts

__all__ = ["Minibatches", "covariates_of", "minibatch_bounds"]

GATHERED = 1 << 18                                     # counts gathered at once: they stay in the processor's cache
SMALLEST = 3                                           # batch normalisation needs more than one cell


def minibatch_bounds(n, size):
    """[(start, stop), ...] of n cells in minibatches; a last one of one or two joins the one before."""
    if n == 0:
        return []
    stops = [*range(size, n, size), n]
    if len(stops) > 1 and n - stops[-2] < SMALLEST:
        del stops[-2]
    return list(zip([0, *stops], stops, strict=False))


def _columns(data):
    """{name: tensor of all cells} of everything but the counts."""
    columns = {"total": data.totals, "batch": data.codes["batch"], "labels": data.codes["labels"],
               "categories": data.categories, "continuous": data.continuous, **data.arrays}
    if data.size_factor is not None:
        columns["size_factor"] = data.size_factor
    for name, (mean, variance) in data.stored.items():
        columns |= {f"stored_{name}_mean": mean, f"stored_{name}_variance": variance}
    return {name: torch.from_numpy(values) for name, values in columns.items()}


def covariates_of(data, rows, device="cpu"):
    """What a minibatch of these rows (m,) holds beside its counts: enough to decode latents."""
    index = torch.from_numpy(np.array(rows, dtype=np.int64))
    return {name: values[index].to(device) for name, values in _columns(data).items()} | {"index": index.to(device)}


class Minibatches:
    """Cells of a dataset in minibatches, each a dict:

    "x" SparseCounts (m, g) · "total" (m,) float32, library size · "batch", "labels" (m,) int64 ·
    "categories" (m, 1 + c) int64 · "continuous" (m, d) float32 · "index" (m,) int64, rows of the dataset ·
    "size_factor" (m,) where there are any · matrices by name, (m, p) · of minified data the stored posterior,
    "stored_z_mean" and "stored_z_variance" (m, k).

    Arguments
    ---------
    data : a `Dataset`.
    rows : (n,) rows of it, in order.
    size : cells a minibatch.
    device : where the tensors go.
    """

    def __init__(self, data, rows, size, device="cpu"):
        self.data = data
        self.rows = np.asarray(rows, dtype=np.int64)
        self.bounds = minibatch_bounds(len(self.rows), size)
        self.device = device
        self.columns = _columns(data)
        self.group = max(size, int(GATHERED / max(1, data.source.filled)))

    def __len__(self):
        return len(self.bounds)

    def __iter__(self):
        return self.shuffled(self.rows)

    def shuffled(self, rows):
        """Minibatches over `rows`, a permutation of this object's rows."""
        source = self.data.source
        windows = [self.bounds] if source.window is None else list(grouped(self.bounds, source.window))
        for bounds, window in ahead(lambda bounds: (bounds, source.hold(rows[bounds[0][0]:bounds[-1][1]])), windows):
            for group in grouped(bounds, self.group):
                yield from self._block(rows, window, group, bounds[0][0])
            del window                                 # before the next one but one is read

    def _block(self, rows, window, bounds, start):
        """The minibatches `bounds`, gathered at once from a window that begins at `start`."""
        first, last = bounds[0][0], bounds[-1][1]
        index = torch.from_numpy(rows[first:last].copy())
        part = window.cells(first - start, last - start)
        block = {name: values[index].to(self.device) for name, values in self.columns.items()}
        block["index"] = index.to(self.device)
        indptr, indices = (torch.from_numpy(of.astype(np.int64)).to(self.device) for of in (part.indptr, part.indices))
        values = torch.from_numpy(part.data).to(self.device)
        for a, b in np.array(bounds) - first:
            begin, end = int(part.indptr[a]), int(part.indptr[b])
            counts = SparseCounts(indptr[a:b + 1] - begin, indices[begin:end], values[begin:end], part.shape[1])
            yield {"x": counts, **{name: of[a:b] for name, of in block.items()}}
