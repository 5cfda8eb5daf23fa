"""What the counts themselves say of sets of cells: means, normalised means, shares of cells that express a gene."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from latome.analysis.differential.partition import partition

__all__ = ["CountStatistics", "count_statistics"]

BLOCK = 4096                                           # cells read at a time
PER = 1e4                                              # normalised counts are for a library of this size


@dataclass(frozen=True)
class CountStatistics:
    """Statistics of one set of cells, (g,) float64 each.

    Arguments
    ---------
    mean : of the counts.
    normalized : mean of counts x 10,000 / library size of the cell.
    detected : share of the cells with a count.
    """

    mean: np.ndarray
    normalized: np.ndarray
    detected: np.ndarray


def count_statistics(data, sets):
    """[`CountStatistics`] of sets of rows (m,), in one pass over the counts of the cells they hold.

    The library sizes are those of the data as they are now: nothing is kept from an earlier call.
    """
    parts = partition(data.n_cells, sets)
    sums = np.zeros((3, len(parts.sizes), data.n_genes))
    used = np.flatnonzero(parts.label >= 0)
    for start in range(0, len(used), BLOCK):
        rows = used[start:start + BLOCK]
        counts = data.source.take(rows).astype(np.float64)                                    # (m, g)
        seen = sp.csr_matrix((np.ones_like(counts.data), counts.indices, counts.indptr), shape=counts.shape)
        part, cell = parts.label[rows], np.arange(len(rows))
        scale = PER / data.totals[rows].astype(np.float64)
        for total, weight, values in zip(sums, [np.ones(len(rows)), scale, np.ones(len(rows))],
                                         [counts, counts, seen], strict=True):
            total += (sp.csr_matrix((weight, (part, cell)), shape=(len(total), len(rows))) @ values).toarray()
    return [CountStatistics(*(sums[:, parts_of].sum(1) / parts.sizes[parts_of].sum())) for parts_of in parts.members]
