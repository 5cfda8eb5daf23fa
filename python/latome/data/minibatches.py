"""Minibatches of cells: rows are gathered in blocks, and each minibatch is a view of its block."""

import numpy as np

from latome.backend import torch
from latome.kernels.sparse import SparseCounts

__all__ = ["Minibatches", "minibatch_bounds"]

BLOCK = 4096                                           # cells gathered at a time
SMALLEST = 3                                           # batch normalisation needs more than one cell


def minibatch_bounds(n, size):
    """[(start, stop), ...] of n cells in minibatches; a last one of one or two joins the one before."""
    if n == 0:
        return []
    stops = [*range(size, n, size), n]
    if len(stops) > 1 and n - stops[-2] < SMALLEST:
        del stops[-2]
    return list(zip([0, *stops], stops, strict=False))


class Minibatches:
    """Cells of a dataset in minibatches, each a dict:

    "x" SparseCounts (m, g) · "batch", "labels" (m,) int64 · "categories" (m, 1 + c) int64 ·
    "continuous" (m, d) float32 · "index" (m,) int64, rows of the dataset · matrices by name, (m, p).

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
        self.columns = {
            "batch": torch.from_numpy(data.codes["batch"]),
            "labels": torch.from_numpy(data.codes["labels"]),
            "categories": torch.from_numpy(data.categories),
            "continuous": torch.from_numpy(data.continuous),
            **{name: torch.from_numpy(values) for name, values in data.arrays.items()},
        }

    def __len__(self):
        return len(self.bounds)

    def __iter__(self):
        return self.shuffled(self.rows)

    def shuffled(self, rows):
        """Minibatches over `rows`, a permutation of this object's rows."""
        group = []
        for bound in self.bounds:
            group.append(bound)
            if bound[1] - group[0][0] >= BLOCK:
                yield from self._block(rows, group)
                group = []
        if group:
            yield from self._block(rows, group)

    def _block(self, rows, bounds):
        first, last = bounds[0][0], bounds[-1][1]
        index = torch.from_numpy(rows[first:last].copy())
        part = self.data.source.take(rows[first:last])
        counts = SparseCounts(
            torch.from_numpy(part.indptr.astype(np.int64)), torch.from_numpy(part.indices.astype(np.int64)),
            torch.from_numpy(part.data), part.shape[1],
        ).to(self.device)
        block = {name: values[index].to(self.device) for name, values in self.columns.items()}
        block["index"] = index.to(self.device)
        for start, stop in bounds:
            a, b = start - first, stop - first
            yield {"x": counts.cells(a, b), **{name: values[a:b] for name, values in block.items()}}
