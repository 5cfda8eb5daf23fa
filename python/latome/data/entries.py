"""The entries of a long array in a file, read by ranges."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from latome.backend import torch
from latome.errors import FieldError

__all__ = ["RawEntries", "Slices", "damaged", "fill", "in_threads", "is_hdf5", "runs_of"]

GAP = 1 << 12                                          # entries cheaper to read and drop than to skip
CHUNK = 1 << 22                                        # entries read at once, at most
READERS = 4                                            # threads that decode, at most
PAGES = 1 << 15                                        # bytes of a raw file worth a trip to the disk
PORTIONS = 4                                           # of work for each of them


class Slices:
    """Entries of anything that can be sliced.

    Arguments
    ---------
    values : (N,) dataset of HDF5 or zarr, or an array; it is only ever sliced.

    `chunk` is the number of entries that the file keeps together.
    """

    def __init__(self, values):
        self.values, self.dtype, self.chunk = values, values.dtype, (getattr(values, "chunks", None) or (1,))[0]

    def __bool__(self):
        return not is_hdf5(self.values) or bool(self.values)

    def read(self, begins, ends):
        """The entries of the ranges [begins, ends) (m,), increasing, one after the other."""
        offsets = np.concatenate([[0], np.cumsum(ends - begins)])
        found = np.empty(offsets[-1], self.dtype)
        for first, last in runs_of(begins, ends, max(GAP, self.chunk)):          # of a chunk, all is read anyway
            part = self.values[slice(begins[first], ends[last - 1])]
            wanted = within(begins[first:last] - begins[first], ends[first:last] - begins[first])
            found[offsets[first]:offsets[last]] = part[wanted]
        return found


class RawEntries:
    """Entries of a file that holds nothing else.

    Arguments
    ---------
    path : the file.
    dtype : of the entries.
    """

    def __init__(self, path, dtype):
        self.path, self.dtype = path, np.dtype(dtype)
        self.chunk = PAGES // self.dtype.itemsize

    def __bool__(self):
        return os.path.exists(self.path)

    def read(self, begins, ends):
        """The entries of the ranges [begins, ends) (m,), increasing, one after the other."""
        lengths = ends - begins
        found = np.empty(int(lengths.sum()), self.dtype)
        bytes_of, at = memoryview(found.view(np.uint8)), 0
        with open(self.path, "rb", buffering=0) as stream:             # nothing is kept open, so nothing to close
            for begin, length in zip((begins * self.dtype.itemsize).tolist(), (lengths * self.dtype.itemsize).tolist(),
                                     strict=True):
                stream.seek(begin)
                if fill(stream.readinto, bytes_of[at:at + length]) < length:
                    raise damaged(self.path, "it ends too early")
                at += length
        return found


def fill(read, view):
    """Fill a memoryview by `read(rest of it)`, which says how many bytes came; returns how many there were."""
    filled = 0
    while filled < len(view):
        came = read(view[filled:])
        if not came:
            break
        filled += came
    return filled


def damaged(path, what):
    """The error of a file that does not hold what it says."""
    return FieldError("x", problem=f"The file {path} is damaged: {what}.", hint="Copy it again from its source.")


def is_hdf5(values):
    """Whether this is a dataset of h5py."""
    return type(values).__module__.startswith("h5py")


def in_threads(work, items):
    """[work(item), ...], in as many threads as torch uses, up to some."""
    n = min(READERS, torch.get_num_threads(), len(items) // 2)
    if n < 2:
        return [work(item) for item in items]
    size = -(-len(items) // (n * PORTIONS))
    portions = [items[start:start + size] for start in range(0, len(items), size)]
    with ThreadPoolExecutor(n) as threads:             # none stays behind: a fork of the process is safe
        found = threads.map(lambda portion: [work(item) for item in portion], portions)
        return [one for part in found for one in part]


def runs_of(begins, ends, gap):
    """[(first, last + 1), ...]: which of the ranges [begins, ends) (m,) of a file to read at once.

    Neighbours join where less than `gap` lies between them, and as long as a run stays within a chunk of memory.
    """
    apart = (np.flatnonzero(begins[1:] - ends[:-1] > gap) + 1).tolist()
    runs = []
    for first, last in zip([0, *apart], [*apart, len(begins)], strict=True):
        while first < last:
            stop = last
            if ends[last - 1] - begins[first] > CHUNK:
                stop = first + max(1, int(np.searchsorted(ends[first:last], begins[first] + CHUNK, side="right")))
            runs.append((first, stop))
            first = stop
    return runs


def within(begins, ends):
    """A slice, or places (nnz,), of the ranges [begins, ends) (m,) one after the other."""
    if (begins[1:] == ends[:-1]).all():
        return slice(None)
    lengths = ends - begins
    shift = np.repeat(begins - np.concatenate([[0], np.cumsum(lengths)[:-1]]), lengths)
    return shift + np.arange(len(shift))
