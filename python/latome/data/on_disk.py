"""Counts that stay in a file: blocks of rows are read when they are asked for, and nothing else is."""

import numpy as np
import scipy.sparse as sp

from latome.data.values import CHUNK, check_values, entry_blocks, native, note_present, row_sums, tidied
from latome.errors import FieldError

__all__ = ["DenseRows", "DiskCounts", "SparseRows"]

GAP = 1 << 12                                          # entries cheaper to read and drop than to skip
WINDOW = 4096, 32768                                   # cells read and shuffled among each other: at least, at most
COUNTS = 1 << 22                                       # of such a window, in between
RUN = 16                                               # cells in a row that stay together in a shuffle, at least
LOOKED_AT = 64                                         # cells by which a dense matrix is judged
RUNS = 128                                             # such runs in a window, at least: from all over the file


class SparseRows:
    """Rows of a sparse matrix in a file.

    Arguments
    ---------
    data, indices : (nnz,) datasets of the file; they are only ever sliced.
    indptr : (n + 1,) where each row begins and ends; read into memory.
    n_genes : number of columns.

    `offsets` (n + 1,) int64 are the entries before each row, `chunk` the entries that the file keeps together, and
    `filled` the counts of a cell.
    """

    def __init__(self, data, indices, indptr, n_genes):
        self.data, self.indices = data, indices
        self.offsets = np.asarray(indptr[:], dtype=np.int64)           # (n + 1,) beyond 2^31 entries too
        self.shape = (len(self.offsets) - 1, n_genes)
        self.chunk = max(chunk_of(values)[0] for values in (data, indices))
        self.filled = self.offsets[-1] / max(1, self.shape[0])

    def __bool__(self):
        return bool(self.data)

    def read(self, rows, runs):
        """CSR (m, g) of `rows` (m,), increasing, in `runs` [(first, last + 1) of `rows`, ...]."""
        begins, ends = self.offsets[rows], self.offsets[rows + 1]
        indptr = np.concatenate([[0], np.cumsum(ends - begins)])       # (m + 1,)
        data = np.empty(indptr[-1], dtype=self.data.dtype)
        indices = np.empty(indptr[-1], dtype=np.int64 if self.shape[1] > np.iinfo(np.int32).max else np.int32)
        for first, last in runs:
            file, here = slice(begins[first], ends[last - 1]), slice(indptr[first], indptr[last])
            wanted = within(begins[first:last] - begins[first], ends[first:last] - begins[first])
            data[here] = self.data[file][wanted]
            indices[here] = self.indices[file][wanted]
        return sp.csr_matrix((native(data), indices, indptr), shape=(len(rows), self.shape[1]))


class DenseRows:
    """Rows of a dense matrix in a file.

    Arguments
    ---------
    values : (n, g) dataset of the file; it is only ever sliced.

    `offsets`, `chunk` and `filled` as of `SparseRows`; zeros are entries too, and the first cells speak for all.
    """

    def __init__(self, values):
        self.values = values
        self.shape = tuple(values.shape)
        self.offsets = np.arange(self.shape[0] + 1, dtype=np.int64) * self.shape[1]
        self.chunk = chunk_of(values)[0] * self.shape[1]
        first = values[:LOOKED_AT]
        self.filled = np.count_nonzero(first) / max(1, len(first))

    def __bool__(self):
        return bool(self.values)

    def read(self, rows, runs):
        """CSR (m, g) of `rows` (m,), increasing, in `runs` [(first, last + 1) of `rows`, ...]."""
        parts = []
        for first, last in runs:
            values = self.values[slice(rows[first], rows[last - 1] + 1)]
            parts.append(dense_rows(values[rows[first:last] - rows[first]]))
        return sp.vstack(parts, format="csr") if parts else sp.csr_matrix((0, self.shape[1]))


class Tally:
    """What one pass over the counts tells of each cell and each gene.

    Arguments
    ---------
    n_cells, n_genes : size of the matrix.
    """

    def __init__(self, n_cells, n_genes):
        self.totals = np.zeros(n_cells, dtype=np.float64)              # (n,)
        self.detected = np.zeros(n_genes, dtype=bool)                  # (g,)
        self.fraction = np.zeros(0)                                    # the first value that is not whole, if any

    def add(self, start, part):
        """Take in `part`, a CSR (m, g) of the cells from `start` on."""
        self.totals[start:start + part.shape[0]] = row_sums(part)
        note_present(self.detected, part.indices, part.data)
        if part.data.dtype.kind == "f" and not self.fraction.size:
            self.fraction = part.data[part.data != np.rint(part.data)][:1]


class DiskCounts:
    """Counts of n cells and g genes in a file; a `CountSource` whose counts are read block by block.

    Arguments
    ---------
    store : `SparseRows` or `DenseRows`.
    name : what the user calls it ("X", "layer 'counts'"), for messages.
    rows, columns : (n,), (g,) those of the file to use, in this order; None for all.
    mark : of the matrix it was made from; see `sources.mark_of`.
    """

    def __init__(self, store, name="X", rows=None, columns=None, mark=None):
        self.store, self.name, self.mark = store, name, mark
        self.rows = None if rows is None else np.asarray(rows, dtype=np.int64)
        self.columns = columns
        size = [len(kept) if kept is not None else whole
                for kept, whole in zip((rows, columns), store.shape, strict=True)]
        self.shape = tuple(size)
        self.window = int(np.clip(COUNTS / max(1, store.filled), *WINDOW))
        entries = max(1, store.offsets[-1] / max(1, store.shape[0]))   # of a cell
        run = np.clip(store.chunk / entries, RUN, max(RUN, self.window / RUNS))
        self._run = int(run * entries)                                 # entries that are read together
        self._tally = None                                             # of the only pass

    @property
    def readable(self):
        """Whether the file is still open."""
        return bool(self.store)

    def check(self, allow_noninteger=False):
        """Refuse what cannot be counts; see `check_values`. The file is read once, whatever is asked how often."""
        check_values(self._pass().fraction, self.name, allow_noninteger)

    def totals(self):
        """(n,) float64: the sum of each cell's counts."""
        return self._pass().totals

    def detected(self):
        """(g,) bool: genes with at least one count."""
        return self._pass().detected

    def genes(self, columns):
        """The same cells with the genes at `columns` (g',), in that order."""
        columns = np.asarray(columns, dtype=np.int64)
        if len(columns) == self.shape[1] and (columns == np.arange(self.shape[1])).all():
            return self
        columns = columns if self.columns is None else self.columns[columns]
        return DiskCounts(self.store, self.name, self.rows, columns, self.mark)

    def take(self, rows):
        """CSR (len(rows), g) of float32 counts without explicit zeros, rows in any order."""
        part = self._read(rows)
        part = sp.csr_matrix((part.data.astype(np.float32, copy=False), part.indices, part.indptr), shape=part.shape)
        part.eliminate_zeros()
        return part

    def blocks(self):
        """Yields (start, CSR (m, g) of the cells from there on), all cells in their order."""
        rows = np.arange(self.shape[0]) if self.rows is None else self.rows
        sizes = self.store.offsets[rows + 1] - self.store.offsets[rows]
        for start, stop in entry_blocks(np.concatenate([[0], np.cumsum(sizes)])):
            yield start, self._read(np.arange(start, stop))

    def shuffled(self, rows, generator):
        """The rows (n',) in an order drawn from `generator` that a file can be read in.

        Runs of neighbours, such as lie in one chunk of the file, are shuffled; then the cells within each window.
        """
        places = self.store.offsets[rows if self.rows is None else self.rows[rows]]
        order = np.argsort(places, kind="stable")
        cuts = np.flatnonzero(np.diff(places[order] // self._run)) + 1
        runs = np.split(np.asarray(rows)[order], cuts)
        order = np.concatenate([runs[i] for i in generator.permutation(len(runs))])
        for start in range(0, len(order), self.window):
            generator.shuffle(order[start:start + self.window])
        return order

    def _pass(self):
        """The `Tally` of all counts, checked on the way."""
        if self._tally is None:
            tally = Tally(*self.shape)
            for start, part in self.blocks():
                check_values(part.data, self.name, allow_noninteger=True)
                tally.add(start, part)
            self._tally = tally
        return self._tally

    def _read(self, rows):
        """CSR (m, g) of these rows, of the file's type."""
        if not self.readable:
            raise FieldError("x", problem=f"The file that holds {self.name} was closed.",
                             hint="Open it again (anndata.read_h5ad(path, backed='r')) and keep it open while the "
                                  "model uses it.")
        rows = np.asarray(rows, dtype=np.int64)
        if self.rows is not None:
            rows = self.rows[rows]
        sorted_rows, back = np.unique(rows, return_inverse=True)
        runs = runs_of(self.store.offsets[sorted_rows], self.store.offsets[sorted_rows + 1],
                       max(GAP, self.store.chunk))     # of what the file keeps together, all is read anyway
        part = self.store.read(sorted_rows, runs)
        if self.columns is not None:
            part = part[:, self.columns]
        if not part.has_canonical_format:
            part = tidied(part)
        in_place = len(back) == len(sorted_rows) and (back == np.arange(len(back))).all()
        return part if in_place else part[back]


def runs_of(begins, ends, gap):
    """[(first, last + 1), ...]: which of the ranges [begins, ends) (m,) of a file to read at once.

    Neighbours join where less than `gap` lies between them, and as long as a run stays within a chunk of memory.
    """
    apart = np.flatnonzero(begins[1:] - ends[:-1] > gap) + 1
    runs = []
    for first, last in zip([0, *apart], [*apart, len(begins)], strict=True):
        while first < last:
            fit = np.searchsorted(ends[first:last], begins[first] + CHUNK, side="right")
            runs.append((first, first + max(1, int(fit))))
            first = runs[-1][1]
    return runs


def within(begins, ends):
    """A slice, or places (nnz,), of the ranges [begins, ends) (m,) one after the other."""
    if (begins[1:] == ends[:-1]).all():
        return slice(None)
    lengths = ends - begins
    shift = np.repeat(begins - np.concatenate([[0], np.cumsum(lengths)[:-1]]), lengths)
    return shift + np.arange(len(shift))


def dense_rows(values):
    """CSR (m, g) of a dense block."""
    n, g = values.shape
    filled = values != 0
    indptr = np.concatenate([[0], np.cumsum(np.count_nonzero(filled, axis=1))])
    places = np.flatnonzero(filled)                                    # far faster of one dimension than of two
    indices = places - np.repeat(np.arange(n) * g, np.diff(indptr))
    return sp.csr_matrix((native(values.reshape(-1)[places]), indices.astype(np.int32), indptr), shape=values.shape)


def chunk_of(values):
    """The shape in which a dataset lies in its file, (1, ...) where that is row by row."""
    return getattr(values, "chunks", None) or (1,)
