"""Rows of numbers in ascending order."""

import numpy as np

from latome.kernels.native import bind

__all__ = ["sorted_rows"]

_sort_rows = bind("latome_sort_rows", "iippn")

LONG = 512                                             # numbers from which sorting by digits pays


def sorted_rows(values, threads=1):
    """(m, n): each row of `values` (m, n) in ascending order, NaN last; `values` may be used up.

    float32 rows of some length are sorted by the compiled kernel, all others by numpy.
    """
    m, n = values.shape
    plain = values.dtype == np.float32 and values.flags.c_contiguous and values.flags.writeable
    if _sort_rows is None or not plain or not LONG <= n < 2**32:
        return np.sort(values, axis=1)
    found = np.empty_like(values)
    _sort_rows(m, n, values.ctypes.data, found.ctypes.data, threads)
    return found
