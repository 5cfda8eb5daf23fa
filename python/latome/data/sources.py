"""Where counts come from: the rows of an AnnData's matrix, checked once, copied never unless they must be."""

import difflib
import zlib

import numpy as np
import scipy.sparse as sp

from latome.data.hdf5 import entries_of
from latome.data.lazy import StoredMatrix
from latome.data.on_disk import DenseRows, DiskCounts, SparseRows, dense_rows
from latome.data.values import CHUNK, check_values, entry_blocks, native, note_present, row_sums, tidied
from latome.data.windows import Window
from latome.errors import FieldError

__all__ = ["CountSource", "closest", "count_matrix", "counts_by_gene", "layer_names", "mark_of", "open_counts",
           "read_h5ad"]

LOOKED_AT = 1 << 20                                    # entries by which a changed matrix is told


def read_h5ad(path, backed=None):
    """Read an .h5ad file, as an AnnData; `backed = "r"` leaves X in the file (its layers are read)."""
    import anndata  # here: reading files is not everyone's road in

    return anndata.read_h5ad(path, backed=backed)


def closest(name, candidates):
    """A sentence that names what the user may have meant, or what there is."""
    candidates = [str(c) for c in candidates]
    close = difflib.get_close_matches(str(name), candidates, n=3)
    if close:
        return "Did you mean " + " or ".join(f"'{c}'" for c in close) + "?"
    if not candidates:
        return "There is none."
    shown = ", ".join(f"'{c}'" for c in candidates[:12])
    return f"There is {shown}{' ...' if len(candidates) > 12 else ''}."


def open_counts(adata, layer=None):
    """The counts of `layer` (None: X): a `DiskCounts` where they are in a file, else a `CountSource`.

    Raises FieldError where there are none, or where they cannot be read.
    """
    name = "X" if layer is None else f"layer '{layer}'"
    matrix, rows, columns = stored_matrix(adata, layer)
    if in_memory(matrix):
        return CountSource(rows_of_matrix(matrix), name, _mark(matrix))
    return DiskCounts(rows_in_file(matrix, name), name, rows, columns, _mark(matrix), getattr(matrix, "tally", None))


def stored_matrix(adata, layer=None):
    """(matrix, rows, columns): what holds the counts, and which part of it `adata` is; None for all."""
    if layer is not None and layer not in adata.layers:
        raise FieldError("layer", problem=f"The data have no layer '{layer}'.", hint=closest(layer, layer_names(adata)))
    part = None, None
    if adata.is_view and not in_memory(held_by(getattr(adata, "_adata_ref", None), layer)):
        adata, *part = view_of_file(adata)             # through the view, anndata would read the part
    matrix = held_by(adata, layer)
    if matrix is None:
        raise FieldError("layer", problem="The data have no X.", hint="Name the layer that holds raw counts.")
    return matrix, *part


def layer_names(adata):
    """Names of the layers of an AnnData. From 0.13 on anndata counts X among them, under the name None."""
    return [name for name in adata.layers if name is not None]


def held_by(adata, layer):
    """The matrix of `layer` (None: X) of an AnnData, or None."""
    return None if adata is None else adata.X if layer is None else adata.layers[layer]


def view_of_file(view):
    """(AnnData that holds the matrix, rows, columns) of a view of it."""
    parent = getattr(view, "_adata_ref", None)
    places = [getattr(view, name, None) for name in ("_oidx", "_vidx")]
    if parent is None or any(place is None for place in places):
        raise FieldError("x", problem="The data are a view of an AnnData that is backed by a file.",
                         hint="Load that part: adata = adata.to_memory().")
    return parent, *(np.arange(size)[place] for size, place in zip(parent.shape, places, strict=True))


def rows_in_file(matrix, name):
    """The `SparseRows` or `DenseRows` of a matrix in a file."""
    if isinstance(matrix, StoredMatrix) and matrix.rows is not None:
        return matrix.rows
    form = getattr(matrix, "format", None)
    if form == "csr" and not isinstance(matrix, StoredMatrix):
        group = matrix.group
        return SparseRows(entries_of(group["data"]), entries_of(group["indices"]), group["indptr"], matrix.shape[1])
    if form in ("csr", "csc"):
        raise FieldError("x", problem=f"{name} lies in its file gene by gene (CSC); cells cannot be read from it.",
                         hint="Write it cell by cell once, which takes little memory: latome.data.prepare_store(path, "
                              "folder), then latome.data.open_store(folder). Or load it: adata = adata.to_memory().")
    if type(matrix).__module__.startswith(("h5py", "zarr")) and len(matrix.shape) == 2:
        return DenseRows(matrix)
    raise FieldError("x", problem=f"Counts of type {type(matrix).__name__} cannot be read.",
                     hint="Give a scipy sparse matrix, a numpy array, or an AnnData read with backed='r'.")


def counts_by_gene(adata, layer=None):
    """(data, indices, indptr, shape) of counts that lie in a file gene by gene, else None."""
    matrix, rows, _ = stored_matrix(adata, layer)
    if isinstance(matrix, StoredMatrix):
        found = matrix.by_gene
    elif not in_memory(matrix) and getattr(matrix, "format", None) == "csc":
        found = *(entries_of(matrix.group[name]) for name in ("data", "indices")), matrix.group["indptr"], matrix.shape
    else:
        return None
    if found is not None and rows is not None:
        raise FieldError("x", problem="The data are a part of counts that lie in their file gene by gene (CSC).",
                         hint="Write a store of all of them, and take the part of that.")
    return found


def in_memory(matrix):
    """Whether a matrix is an array, sparse or dense, and not a promise of one."""
    return isinstance(matrix, np.ndarray) or sp.issparse(matrix)


def count_matrix(adata, layer=None):
    """The matrix of `layer` (None: X) as CSR of cells x genes, in memory; a tidy CSR is handed through as it is."""
    matrix, *_ = stored_matrix(adata, layer)
    if not in_memory(matrix):
        raise FieldError("x", problem="The counts are in a file.", hint="Load them first: adata.to_memory().")
    return rows_of_matrix(matrix)


def refuse_damaged(matrix):
    """A FieldError where an entry of a sparse matrix stands outside of it: compiled code would read other memory."""
    if matrix.format not in ("csr", "csc"):            # other forms are checked as they are turned into rows
        return
    try:
        matrix.check_format(full_check=True)
    except ValueError as error:
        raise FieldError("x", problem=f"The sparse matrix of counts is damaged: {error}.",
                         hint="Make it anew, or read its file again.") from None


def rows_of_matrix(matrix):
    """CSR of an array, sparse or dense; a tidy CSR is handed through as it is."""
    if sp.issparse(matrix):
        refuse_damaged(matrix)
        csr = matrix.tocsr()
        if native(csr.data) is not csr.data:
            csr = sp.csr_matrix((native(csr.data), csr.indices, csr.indptr), shape=csr.shape)
    elif matrix.dtype.kind in "biuf":
        csr = sparse_of(np.asarray(matrix))
    else:
        raise FieldError("x", problem=f"The matrix holds values of type {matrix.dtype}, not numbers.",
                         hint="Give raw counts, of a number type.")
    if csr.indptr.dtype != csr.indices.dtype and csr.nnz <= np.iinfo(np.int32).max:         # or each part that is taken
        parts = csr.data, csr.indices.astype(np.int32, copy=False), csr.indptr.astype(np.int32)      # copies the larger
        csr = sp.csr_matrix(parts, shape=csr.shape)
    return csr if csr.has_canonical_format else tidied(csr)


def sparse_of(values):
    """CSR of a dense matrix (n, g), filled block by block: no temporary of its size."""
    n, g = values.shape
    rows = max(1, CHUNK // max(1, g))
    blocks = [slice(start, start + rows) for start in range(0, n, rows)]
    filled = np.concatenate([[0], *(np.count_nonzero(values[block] != 0, axis=1) for block in blocks)])
    indptr = np.cumsum(filled, dtype=np.int64)
    data, indices = native(np.empty(indptr[-1], values.dtype)), np.empty(indptr[-1], np.int32)
    for block in blocks:
        part = dense_rows(values[block])
        here = slice(indptr[block.start], indptr[min(n, block.stop)])
        data[here], indices[here] = part.data, part.indices
    return sp.csr_matrix((data, indices, indptr), shape=(n, g))


def mark_of(adata, layer=None):
    """What tells whether the counts have changed: equal to the `mark` of their source as long as they have not.

    Every entry counts in small data, and about a million of them in large; of counts in a file, their number.
    """
    return _mark(stored_matrix(adata, layer)[0])


def _mark(matrix):
    looked_at = []
    if sp.issparse(matrix):
        looked_at = [values[::max(1, len(values) // LOOKED_AT)] for values in (matrix.data, matrix.indices)]
    elif in_memory(matrix):
        step = max(1, int(np.sqrt(matrix.size / LOOKED_AT)))
        looked_at = [np.asarray(matrix)[::step, ::step]]
    return *matrix.shape, *(zlib.crc32(np.ascontiguousarray(values)) for values in looked_at)


class CountSource:
    """Counts of n cells and g genes in compressed sparse rows.

    Arguments
    ---------
    csr : scipy CSR (n, g) of any number type; read-only arrays are fine, nothing is written.
    name : what the user calls it ("X", "layer 'counts'"), for messages.
    mark : of the matrix it was made from; see `mark_of`.
    """

    window = None                                      # cells to read at a time: none is read
    readable = True

    def __init__(self, csr, name="X", mark=None):
        self.csr, self.name, self.mark = csr, name, mark
        self.shape = csr.shape
        self.filled = csr.nnz / max(1, csr.shape[0])

    def check(self, allow_noninteger=False):
        """Refuse what cannot be counts; see `check_values`."""
        values = self.csr.data
        for start in range(0, values.shape[0], CHUNK):
            check_values(values[start:start + CHUNK], self.name, allow_noninteger)

    def totals(self):
        """(n,) float64: the sum of each cell's counts."""
        return np.concatenate([np.zeros(0), *(row_sums(part) for _, part in self.blocks())])

    def detected(self):
        """(g,) bool: genes with at least one count."""
        present = np.zeros(self.shape[1], dtype=bool)
        for start in range(0, self.csr.nnz, CHUNK):
            stop = start + CHUNK
            note_present(present, self.csr.indices[start:stop], self.csr.data[start:stop])
        return present

    def genes(self, columns):
        """The same cells with the genes at `columns` (g',), in that order; all of them in place cost nothing."""
        if len(columns) == self.shape[1] and (np.asarray(columns) == np.arange(self.shape[1])).all():
            return self
        part = self.csr[:, columns]
        part.sort_indices()
        return CountSource(part, self.name, self.mark)

    def hold(self, rows):
        """A `Window` of rows (m,) in any order; nothing is copied yet."""
        return Window(self.csr, np.asarray(rows), tidy=True)

    def take(self, rows):
        """CSR (len(rows), g) of float32 counts without explicit zeros; a copy that may be kept."""
        return self.hold(rows).cells()

    def blocks(self):
        """Yields (start, CSR (m, g) of the cells from there on), all cells in their order, as views."""
        indptr = self.csr.indptr
        for start, stop in entry_blocks(indptr):
            here = slice(indptr[start], indptr[stop])
            part = self.csr.data[here], self.csr.indices[here], indptr[start:stop + 1] - indptr[start]
            yield start, sp.csr_matrix(part, shape=(stop - start, self.shape[1]))

    def shuffled(self, rows, generator):
        """The rows (n',) in an order drawn from `generator`."""
        return generator.permutation(rows)
