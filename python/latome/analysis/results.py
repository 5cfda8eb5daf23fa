"""Results that fit into memory, and what to do about those that do not."""

import numpy as np
import scipy.sparse as sp

from latome.errors import QueryError

__all__ = ["LARGEST_RESULT", "SparseRows", "refuse_large"]

LARGEST_RESULT = 8_000_000_000                         # bytes: a larger dense result is refused


def refuse_large(what, ways_out, **sizes):
    """A QueryError where float32 numbers of these sizes ({name: number}) take more than `LARGEST_RESULT` bytes."""
    n_bytes = 4 * int(np.prod([float(size) for size in sizes.values()]))
    if n_bytes > LARGEST_RESULT:
        shape = " x ".join(f"{size:,} {name}" for name, size in sizes.items())
        raise QueryError(None, problem=f"{what} would take {n_bytes / 1e9:.1f} GB of memory ({shape}); beyond "
                         f"{LARGEST_RESULT / 1e9:g} GB it is refused.", hint=ways_out)


class SparseRows:
    """A CSR matrix (n, g) float32 that grows by blocks of dense rows; zeros are not kept.

    Arguments
    ---------
    n_columns : g.
    ways_out : what to do when the matrix grows beyond `LARGEST_RESULT` bytes, in words.
    """

    def __init__(self, n_columns, ways_out):
        self.n_columns, self.ways_out = n_columns, ways_out
        self.values, self.indices, self.lengths = [], [], []
        self.n_bytes = 0

    def add(self, block):
        """Add the rows of a dense (m, g) array below those already there. Raises QueryError beyond the size."""
        part = sp.csr_matrix(block)
        self.values.append(part.data.astype(np.float32, copy=False))
        self.indices.append(part.indices)
        self.lengths.append(np.diff(part.indptr))
        self.n_bytes += part.data.nbytes + part.indices.nbytes
        if self.n_bytes > LARGEST_RESULT:
            raise QueryError(None, problem=f"The sparse matrix grows beyond {LARGEST_RESULT / 1e9:g} GB.",
                             hint=self.ways_out)

    def matrix(self):
        """The matrix; the parts are given up, so this can be asked once."""
        lengths = np.concatenate(self.lengths)
        indptr = np.zeros(len(lengths) + 1, dtype=np.int64)
        np.cumsum(lengths, out=indptr[1:])
        values, self.values = np.concatenate(self.values), None         # one kind of part at a time
        indices, self.indices = np.concatenate(self.indices), None
        return sp.csr_matrix((values, indices, indptr), shape=(len(lengths), self.n_columns))
