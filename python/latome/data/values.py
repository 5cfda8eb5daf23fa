"""What counts may be: finite, not negative, whole unless allowed."""

import numpy as np

from latome.errors import FieldError

__all__ = ["CHUNK", "check_values", "entry_blocks", "native", "note_present", "row_sums", "tidied"]

CHUNK = 1 << 20                                        # entries looked at in a time: no large temporary
LARGEST = 1e30                                         # a sum of such counts is still finite in float32


def check_values(values, name, allow_noninteger=False):
    """Refuse what cannot be counts: NaN, infinite, negative, and fractions unless allowed.

    Arguments
    ---------
    values : (nnz,) of any type.
    name : what the user calls the matrix ("X", "layer 'counts'").
    allow_noninteger : accept fractions.

    Raises FieldError.
    """
    kind = values.dtype.kind
    if kind not in "iufb":
        raise FieldError("x", problem=f"{name} holds values of type {values.dtype}, not numbers.",
                         hint="Give raw counts.")
    if kind == "f" and not (values <= LARGEST).all():
        raise FieldError("x", problem=f"{name} holds missing or infinite values, or some beyond {LARGEST:g}.",
                         hint="Give raw counts; remove or replace the missing ones.")
    if kind in "if" and (values < 0).any():
        raise FieldError("x", problem=f"{name} holds negative values, so it does not hold counts.",
                         hint="Scaled data or residuals were probably given; name the layer of raw counts.")
    if kind == "f" and not allow_noninteger and (values != np.rint(values)).any():
        raise FieldError("x", problem=f"{name} holds values that are not whole numbers.",
                         hint="Normalised data were probably given; name the layer of raw counts, or set "
                              "allow_noninteger for counts corrected for ambient RNA.")


def native(values):
    """The same values in a type that scipy's sparse matrices can hold; most are handed through."""
    if values.dtype.kind == "f" and values.dtype.itemsize < 4:
        return values.astype(np.float32)
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def entry_blocks(offsets):
    """[(start, stop), ...]: rows in blocks of about a chunk of entries; row i holds offsets[i + 1] - offsets[i]."""
    places = (np.asarray(offsets, dtype=np.int64) - offsets[0]) // CHUNK
    cuts = np.flatnonzero(np.diff(places[:-1])) + 1
    return list(zip([0, *cuts.tolist()], [*cuts.tolist(), len(offsets) - 1], strict=True))


def tidied(csr):
    """A copy with genes in order, one entry each."""
    csr = csr.astype(np.result_type(csr.dtype, np.float32))            # uint8 would overflow in the sum
    csr.sum_duplicates()
    return csr


def row_sums(csr):
    """(n,) float64: the sums of the rows of a CSR."""
    return np.asarray(csr.sum(axis=1, dtype=np.float64)).ravel()


def note_present(present, indices, values):
    """Set `present` (g,) at the genes `indices` (nnz,) whose `values` are not zero."""
    filled = values != 0
    present[indices if filled.all() else indices[filled]] = True
