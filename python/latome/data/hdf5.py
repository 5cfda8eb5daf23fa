"""HDF5 datasets read past the HDF5 library: where its file tells where each chunk lies, and nobody writes to it, any
thread can read and decode any chunk, and what is not wanted is not read."""

import os
import zlib
from itertools import pairwise

import numpy as np

from latome.data.entries import Slices, damaged, fill, in_threads, is_hdf5

__all__ = ["FileEntries", "direct_entries", "entries_of"]

CONTIGUOUS, CHUNKED = 1, 2                             # layouts of HDF5,
DEFLATE, SHUFFLE = 1, 2                                # and filters


class FileEntries:
    """Entries of an HDF5 dataset, plain or compressed by gzip.

    Arguments
    ---------
    dataset : of h5py, N entries in any shape, of a file opened to be read.
    chunk : entries that the file keeps together.
    places, sizes : (N / chunk,) where in the file each chunk begins, and its bytes there.
    filters : what each chunk passed through when it was written, of DEFLATE and SHUFFLE.
    """

    def __init__(self, dataset, chunk, places, sizes, filters=()):
        self.dataset, self.dtype, self.chunk = dataset, dataset.dtype, chunk
        self.places, self.sizes, self.filters = places, sizes, filters

    def __bool__(self):
        return bool(self.dataset)

    def read(self, begins, ends):
        """The entries of the ranges [begins, ends) (m,), increasing, one after the other."""
        found = np.empty(int((ends - begins).sum()), self.dtype)
        file = self.dataset.file.id.get_vfd_handle()
        chunks, starts, stops, offsets = self._pieces(begins, ends)
        if not self.filters:
            self._copy(file, found, self.places[chunks] + starts * self.dtype.itemsize, stops - starts, offsets)
            return found
        cuts = [0, *(np.flatnonzero(np.diff(chunks)) + 1).tolist(), len(chunks)]

        def decode(first, last):
            values = self._chunk(file, chunks[first], stops[last - 1])
            for piece in range(first, last):
                wanted = values[starts[piece]:stops[piece]]
                found[offsets[piece]:offsets[piece] + len(wanted)] = wanted

        if len(chunks):
            in_threads(lambda cut: decode(*cut), list(pairwise(cuts)))
        return found

    def _pieces(self, begins, ends):
        """(chunk, start and stop in it, offset in the result), each (p,), of the ranges, cut where chunks end."""
        offsets = np.cumsum(ends - begins) - (ends - begins)
        begins, offsets, ends = (of[ends > begins] for of in (begins, offsets, ends))
        first = begins // self.chunk
        n = (ends - 1) // self.chunk - first + 1                       # chunks that each range touches
        of = np.repeat(np.arange(len(n)), n)
        chunks = first[of] + np.arange(len(of)) - (np.cumsum(n) - n)[of]
        starts = np.maximum(begins[of], chunks * self.chunk)
        stops = np.minimum(ends[of], (chunks + 1) * self.chunk)
        return chunks, starts - chunks * self.chunk, stops - chunks * self.chunk, offsets[of] + starts - begins[of]

    def _copy(self, file, found, places, lengths, offsets):
        """Read pieces as they are; those that are neighbours in the file too, at once."""
        size = self.dtype.itemsize
        lengths, offsets = lengths * size, offsets * size              # of the result they are neighbours anyway
        first = np.flatnonzero(np.concatenate([[True], places[1:] != places[:-1] + lengths[:-1]])[:len(places)])
        bytes_of = memoryview(found.view(np.uint8))
        stops = [*offsets[first[1:]].tolist(), len(bytes_of)]
        for place, start, stop in zip(places[first].tolist(), offsets[first].tolist(), stops, strict=False):
            self._fill(file, bytes_of[start:stop], place)

    def _chunk(self, file, chunk, n):
        """The first `n` entries of a chunk."""
        raw = bytearray(int(self.sizes[chunk]))
        self._fill(file, memoryview(raw), int(self.places[chunk]))
        whole = n == self.chunk or SHUFFLE in self.filters             # of the last chunk of a run, the beginning
        size = (self.chunk if whole else int(n)) * self.dtype.itemsize
        try:
            plain = zlib.decompress(raw, bufsize=size) if whole else zlib.decompressobj().decompress(raw, size)
        except zlib.error as error:
            raise damaged(self.dataset.file.filename, str(error)) from None
        if len(plain) != size:
            raise damaged(self.dataset.file.filename, "a chunk has another size than it should")
        if SHUFFLE in self.filters:                    # bytes of one significance lie together
            plain = np.ascontiguousarray(np.frombuffer(plain, np.uint8).reshape(self.dtype.itemsize, -1).T)
        return np.frombuffer(plain, self.dtype)

    def _fill(self, file, view, place):
        if fill(lambda rest: os.preadv(file, [rest], place + len(view) - len(rest)), view) < len(view):
            raise damaged(self.dataset.file.filename, "it ends too early")


def entries_of(values):
    """The entries of a one-dimensional dataset, or of anything that can be sliced."""
    return direct_entries(values) or Slices(values)


def direct_entries(values):
    """`FileEntries` of a dataset that can be read past the library, else None."""
    if not is_hdf5(values) or not values.size or not hasattr(os, "preadv") or not hasattr(values.id, "chunk_iter"):
        return None
    file, plain = values.file, values.dtype.kind in "biuf" and values.id.get_type().get_size() == values.dtype.itemsize
    if not plain or (file.mode, file.driver, file.userblock_size) != ("r", "sec2", 0):
        return None
    plan = values.id.get_create_plist()
    if plan.get_layout() == CONTIGUOUS:
        place = values.id.get_offset()
        if place is None or plan.get_external_count():
            return None
        return FileEntries(values, values.size, np.array([place]), np.array([values.size * values.dtype.itemsize]))
    filters = [plan.get_filter(i)[0] for i in range(plan.get_nfilters())]
    if plan.get_layout() != CHUNKED or values.ndim != 1 or filters not in ([], [DEFLATE], [SHUFFLE, DEFLATE]):
        return None
    return chunked_entries(values, filters)


def chunked_entries(dataset, filters):
    """`FileEntries` of a dataset in chunks; None where some were never written, or without a filter."""
    found = []
    dataset.id.chunk_iter(lambda chunk: found.append((chunk.chunk_offset[0], chunk.byte_offset, chunk.size,
                                                      chunk.filter_mask)))
    starts, places, sizes, skipped = np.array(sorted(found), dtype=np.int64).reshape(-1, 4).T
    whole = np.arange(0, dataset.size, dataset.chunks[0])
    if skipped.any() or len(starts) != len(whole) or (starts != whole).any():
        return None
    return FileEntries(dataset, dataset.chunks[0], places, sizes, filters)
