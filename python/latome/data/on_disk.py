"""Counts that stay in a file: blocks of rows are read when they are asked for, and nothing else is."""

import numpy as np
import scipy.sparse as sp

from latome.data.entries import damaged, in_threads, is_hdf5, runs_of
from latome.data.hdf5 import direct_entries
from latome.data.values import check_values, entry_blocks, native, note_present, row_sums
from latome.data.windows import Window
from latome.errors import FieldError

__all__ = ["DenseRows", "DiskCounts", "SparseRows", "dense_rows"]

WINDOW = 4096, 32768                                   # cells read and shuffled among each other: at least, at most
COUNTS = 1 << 21                                       # of such a window, in between
RUN = 16                                               # cells in a row that stay together in a shuffle, at least
RUNS = 128                                             # such runs in a window, at least: from all over the file
GAP = 1 << 12                                          # values of a dense matrix cheaper to read than to skip
NEAR = 1 << 8                                          # entries between rows that are kept with them, at most
LOOKED_AT = 64                                         # cells by which a dense matrix is judged
BLOCK = 1 << 20                                        # values of a dense matrix looked at by one thread at a time


class SparseRows:
    """Rows of a sparse matrix in a file.

    Arguments
    ---------
    data, indices : (nnz,) entries of the file, such as `entries_of` a dataset makes.
    indptr : (n + 1,) where each row begins and ends; read into memory.
    n_genes : number of columns.

    `offsets` (n + 1,) int64 are the entries before each row, `chunk` the entries that the file keeps together, and
    `filled` the counts of a cell.
    """

    def __init__(self, data, indices, indptr, n_genes):
        self.data, self.indices = data, indices
        self.offsets = np.asarray(indptr[:], dtype=np.int64)           # (n + 1,) beyond 2^31 entries too
        self.shape = (len(self.offsets) - 1, n_genes)
        self.chunk = max(data.chunk, indices.chunk)
        self.filled = self.offsets[-1] / max(1, self.shape[0])

    def __bool__(self):
        return bool(self.data) and bool(self.indices)

    @property
    def dtype(self):
        return self.data.dtype

    def read(self, rows):
        """(CSR (r, g), places): rows of the file that hold `rows` (m,), increasing, and where each stands in it."""
        runs = np.array(runs_of(self.offsets[rows], self.offsets[rows + 1], NEAR), dtype=np.int64).reshape(-1, 2)
        starts, stops = rows[runs[:, 0]], rows[runs[:, 1] - 1] + 1
        shift = starts - (np.cumsum(stops - starts) - (stops - starts))          # of rows of the file against ours
        held = np.repeat(shift, stops - starts)
        held += np.arange(len(held))
        indptr = np.concatenate([[0], np.cumsum(self.offsets[held + 1] - self.offsets[held])])
        begins, ends = self.offsets[starts], self.offsets[stops]
        indices = self.indices.read(begins, ends)
        if len(indices) and not 0 <= indices.min() <= indices.max() < self.shape[1]:
            raise damaged("of the counts", f"an entry is of gene {indices.max()} of {self.shape[1]}")
        if indices.dtype.itemsize < 4:
            indices = indices.astype(np.int32)
        csr = sp.csr_matrix((native(self.data.read(begins, ends)), indices, indptr), shape=(len(held), self.shape[1]))
        return csr, rows - np.repeat(shift, runs[:, 1] - runs[:, 0])


class DenseRows:
    """Rows of a dense matrix in a file.

    Arguments
    ---------
    values : (n, g) dataset of the file; it is only ever sliced.

    `offsets`, `chunk` and `filled` as of `SparseRows`; zeros are entries too, and the first cells speak for all.
    """

    def __init__(self, values):
        self.values, self.direct = values, direct_entries(values)
        self.shape = tuple(values.shape)
        self.offsets = np.arange(self.shape[0] + 1, dtype=np.int64) * self.shape[1]
        self.chunk = (getattr(values, "chunks", None) or (1,))[0] * self.shape[1]
        first = values[:LOOKED_AT]
        self.filled = np.count_nonzero(first) / max(1, len(first))

    def __bool__(self):
        return not is_hdf5(self.values) or bool(self.values)

    @property
    def dtype(self):
        return self.values.dtype

    def read(self, rows):
        """(CSR (m, g) of `rows` (m,), increasing, their places in it)."""
        if self.direct:
            n = max(1, BLOCK // max(1, self.shape[1]))
            blocks = [rows[start:start + n] for start in range(0, len(rows), n)]
        else:                                          # of what the file keeps together, all is read anyway
            runs = runs_of(self.offsets[rows], self.offsets[rows + 1], max(GAP, self.chunk))
            blocks = [rows[first:last] for first, last in runs]
        parts = in_threads(lambda block: dense_rows(self._values(block)), blocks)
        csr = sp.vstack(parts, format="csr") if parts else sp.csr_matrix((0, self.shape[1]))
        return csr, np.arange(len(rows))

    def _values(self, rows):
        """(m, g) of `rows` (m,), increasing."""
        if not self.direct:
            return self.values[slice(rows[0], rows[-1] + 1)][rows - rows[0]]
        runs = np.array(runs_of(rows, rows + 1, 0))
        begins, ends = self.offsets[rows[runs[:, 0]]], self.offsets[rows[runs[:, 1] - 1] + 1]
        return self.direct.read(begins, ends).reshape(-1, self.shape[1])


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
    known : (totals (n,), genes detected (g,), whether all are whole) of the whole file, where that is known.
    """

    def __init__(self, store, name="X", rows=None, columns=None, mark=None, known=None):
        self.store, self.name, self.mark = store, name, mark
        self.rows = None if rows is None else np.asarray(rows, dtype=np.int64)
        self.columns = columns
        size = [len(kept) if kept is not None else whole
                for kept, whole in zip((rows, columns), store.shape, strict=True)]
        self.shape = tuple(size)
        self.filled = store.filled * self.shape[1] / max(1, store.shape[1])
        self.window = int(np.clip(COUNTS / max(1, store.filled), *WINDOW))
        entries = max(1, store.offsets[-1] / max(1, store.shape[0]))   # of a cell
        run = np.clip(store.chunk / entries, RUN, max(RUN, self.window / RUNS))
        self._run = int(run * entries)                                 # entries that are read together
        self._tally = None                                             # of the only pass
        if known is not None and rows is None and columns is None:
            self._tally = Tally(*self.shape)
            self._tally.totals, self._tally.detected = known[:2]
            self._tally.fraction = np.zeros(0 if known[2] else 1) + 0.5

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
        return self.hold(rows).cells()

    def blocks(self):
        """Yields (start, CSR (m, g) of the cells from there on), all cells in their order."""
        rows = np.arange(self.shape[0]) if self.rows is None else self.rows
        sizes = self.store.offsets[rows + 1] - self.store.offsets[rows]
        for start, stop in entry_blocks(np.concatenate([[0], np.cumsum(sizes)])):
            yield start, self.hold(np.arange(start, stop)).stored()

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

    def hold(self, rows):
        """A `Window` of rows (m,) in any order: what is read of the file for them, and no other row."""
        if not self.readable:
            raise FieldError("x", problem=f"The file that holds {self.name} was closed.",
                             hint="Open it again (anndata.read_h5ad(path, backed='r')) and keep it open while the "
                                  "model uses it.")
        rows = np.asarray(rows, dtype=np.int64)
        if self.rows is not None:
            rows = self.rows[rows]
        sorted_rows, back = np.unique(rows, return_inverse=True)
        csr, places = self.store.read(sorted_rows)
        places = places[back.ravel()]
        in_place = len(places) == csr.shape[0] and (places == np.arange(len(places))).all()
        return Window(csr, None if in_place else places, self.columns)


def dense_rows(values):
    """CSR (m, g) of a dense block."""
    n, g = values.shape
    places = np.flatnonzero(values != 0)                               # far faster of one dimension than of two
    indptr = np.searchsorted(places, np.arange(n + 1) * g)
    indices = places - np.repeat(np.arange(n) * g, np.diff(indptr))
    return sp.csr_matrix((native(values.reshape(-1)[places]), indices.astype(np.int32), indptr), shape=values.shape)
