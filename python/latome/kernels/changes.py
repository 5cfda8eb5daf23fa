"""Log fold changes between paired samples, their shares beyond a threshold and their summary, in one pass.

    change = log2((first + c) / (second + c)),    summary of log2((first + c') / (second + c'))
"""

import ctypes

import numpy as np

from latome.backend import torch
from latome.kernels.native import bind

__all__ = ["compiled_changes"]

_changes = bind("latome_changes", "ppppn")

COLUMNS = ("up", "down", "first", "second", "mean", "sd", "median", "min", "max")


def compiled_changes(first, second, *, shift, small_shift, threshold, widths=()):
    """What the compiled kernel finds of g genes, or None where it does not take these arrays.

    Arguments
    ---------
    first, second : (g, n) float32, n samples of each gene side by side.
    shift, small_shift : c and c', positive.
    threshold : a change counts as up at it or above, as down below its negative.
    widths : steps between the ends of an interval among n sorted samples, each from 0 to n - 1.

    Returns {name: (g,) float64}: "up" and "down", shares of the samples; "first" and "second", the means of both;
    "mean", "sd", "median", "min" and "max" of the summary; and ("low", width), ("high", width), its shortest interval.
    """
    g, n = first.shape
    if _changes is None or not 0 < n < 2**32 or not all(_rows(one) for one in (first, second)):
        return None
    sizes = (ctypes.c_int64 * (5 + len(widths)))(
        g, n, first.strides[0] // 4, second.strides[0] // 4, len(widths), *widths)
    numbers = (ctypes.c_float * 3)(shift, small_shift, threshold)
    scratch, found = np.empty((g, 2, n), dtype=np.float32), np.empty((g, len(COLUMNS) + 2 * len(widths)))
    arrays = (ctypes.c_void_p * 3)(first.ctypes.data, second.ctypes.data, scratch.ctypes.data)
    _changes(sizes, numbers, arrays, found.ctypes.data, torch.get_num_threads())
    names = [*COLUMNS, *((end, width) for width in widths for end in ("low", "high"))]
    return dict(zip(names, found.T, strict=True))


def _rows(values):
    return values.dtype == np.float32 and values.strides[1] == 4 and values.strides[0] % 4 == 0
