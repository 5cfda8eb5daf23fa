"""Cells that are always together: overlapping sets of cells as unions of disjoint parts."""

from dataclasses import dataclass

import numpy as np

__all__ = ["Partition", "allot", "partition"]


@dataclass(frozen=True)
class Partition:
    """Disjoint parts of n cells, fine enough to make up each of several sets.

    Arguments
    ---------
    label : (n,) int64 part of each cell, -1 where it is in no set.
    sizes : (p,) cells in each part.
    members : for each set, the parts (q,) that it is made of, in ascending order.
    """

    label: np.ndarray
    sizes: np.ndarray
    members: list

    def rows(self, part):
        """(m,) rows of a part, in ascending order."""
        return np.flatnonzero(self.label == part)


def partition(n, sets):
    """The coarsest `Partition` of n cells for sets of rows: two cells share a part when the same sets hold them."""
    label = np.zeros(n, dtype=np.int64)                # 0: in no set yet
    for rows in sets:
        code = 2 * label
        code[rows] += 1
        present = np.bincount(code) > 0
        present[0] = True
        label = (np.cumsum(present) - 1)[code]
    sizes = np.bincount(label, minlength=1)[1:]
    return Partition(label - 1, sizes, [np.unique(label[rows]) - 1 for rows in sets])


def allot(sizes, n):
    """(p,) int64: n draws shared among parts in proportion to their sizes (p,), each within one of its share."""
    share = n * np.asarray(sizes, dtype=np.float64) / np.sum(sizes)
    counts = np.floor(share).astype(np.int64)
    most = np.argsort(counts - share, kind="stable")[: n - counts.sum()]
    counts[most] += 1
    return counts
