"""Where counts come from: the rows of an AnnData's matrix, checked once, copied never unless they must be."""

import difflib

import numpy as np
import scipy.sparse as sp

from latome.errors import FieldError

__all__ = ["CountSource", "closest", "count_matrix", "read_h5ad"]

CHUNK = 1 << 22                                        # entries checked at a time: no large temporary
LARGEST = 1e30                                         # a sum of such counts is still finite in float32


def read_h5ad(path):
    """Read an .h5ad file into memory, as an AnnData."""
    import anndata  # here: reading files is not everyone's road in

    return anndata.read_h5ad(path)


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


def count_matrix(adata, layer=None):
    """The matrix of `layer` (None: X) as CSR of cells x genes; a CSR is handed through without a copy."""
    if layer is not None and layer not in adata.layers:
        raise FieldError("layer", problem=f"The data have no layer '{layer}'.", hint=closest(layer, adata.layers))
    matrix = adata.X if layer is None else adata.layers[layer]
    if matrix is None:
        raise FieldError("layer", problem="The data have no X.", hint="Name the layer that holds raw counts.")
    if getattr(adata, "isbacked", False):
        raise FieldError("x", problem="The data are backed by a file.", hint="Load them first: adata.to_memory().")
    if sp.issparse(matrix):
        csr = matrix.tocsr()
    elif isinstance(matrix, np.ndarray) and matrix.dtype.kind in "biufc":
        csr = sp.csr_matrix(matrix)
    elif isinstance(matrix, np.ndarray):
        raise FieldError("x", problem=f"The matrix holds values of type {matrix.dtype}, not numbers.",
                         hint="Give raw counts, of a number type.")
    else:
        raise FieldError("x", problem=f"Counts of type {type(matrix).__name__} cannot be read.",
                         hint="Give a scipy sparse matrix or a numpy array.")
    if not csr.has_canonical_format:
        csr = csr.astype(np.result_type(csr.dtype, np.float32))         # a copy; uint8 would overflow in the sum
        csr.sum_duplicates()
    return csr


class CountSource:
    """Counts of n cells and g genes in compressed sparse rows.

    Arguments
    ---------
    csr : scipy CSR (n, g) of any number type; read-only arrays are fine, nothing is written.
    name : what the user calls it ("X", "layer 'counts'"), for messages.
    """

    def __init__(self, csr, name="X"):
        self.csr = csr
        self.name = name
        self.shape = csr.shape

    def check(self, allow_noninteger=False):
        """Refuse what cannot be counts: NaN, infinite, negative, and fractions unless allowed."""
        values = self.csr.data
        for start in range(0, values.shape[0], CHUNK):
            part = values[start:start + CHUNK]
            if part.dtype.kind not in "iufb":
                raise FieldError("x", problem=f"{self.name} holds values of type {part.dtype}, not numbers.",
                                 hint="Give raw counts.")
            self._check_part(part, allow_noninteger)

    def _check_part(self, part, allow_noninteger):
        if part.dtype.kind == "f" and not (part <= LARGEST).all():
            raise FieldError("x", problem=f"{self.name} holds missing or infinite values, or some beyond {LARGEST:g}.",
                             hint="Give raw counts; remove or replace the missing ones.")
        if part.dtype.kind != "b" and (part < 0).any():
            raise FieldError("x", problem=f"{self.name} holds negative values, so it does not hold counts.",
                             hint="Scaled data or residuals were probably given; name the layer of raw counts.")
        if part.dtype.kind == "f" and not allow_noninteger and (part != np.rint(part)).any():
            raise FieldError("x", problem=f"{self.name} holds values that are not whole numbers.",
                             hint="Normalised data were probably given; name the layer of raw counts, or set "
                                  "allow_noninteger for counts corrected for ambient RNA.")

    def totals(self):
        """(n,) float64: the sum of each cell's counts."""
        return np.asarray(self.csr.sum(axis=1, dtype=np.float64)).ravel()

    def detected(self):
        """(g,) bool: genes with at least one count."""
        present = np.zeros(self.shape[1], dtype=bool)
        for start in range(0, self.csr.nnz, CHUNK):
            stop = start + CHUNK
            present[self.csr.indices[start:stop][self.csr.data[start:stop] != 0]] = True
        return present

    def genes(self, columns):
        """The same cells with the genes at `columns` (g',), in that order; all of them in place cost nothing."""
        if len(columns) == self.shape[1] and (np.asarray(columns) == np.arange(self.shape[1])).all():
            return self
        part = self.csr[:, columns]
        part.sort_indices()
        return CountSource(part, self.name)

    def take(self, rows):
        """CSR (len(rows), g) of float32 counts without explicit zeros; a copy that may be kept."""
        part = self.csr[rows]
        part = sp.csr_matrix((part.data.astype(np.float32), part.indices, part.indptr), shape=part.shape)
        if part.data.shape[0] and not part.data.all():
            part.eliminate_zeros()
        return part
