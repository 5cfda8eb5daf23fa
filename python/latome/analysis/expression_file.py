"""Expression on disk: an HDF5 file that is filled block by block and appears only when it is complete."""

import os
import uuid
from pathlib import Path

import h5py
import numpy as np

from latome.errors import QueryError

__all__ = ["ExpressionFile"]

CHUNK = (256, 1024)                                    # cells x genes of float32: 1 MB
CACHE = 1 << 26                                        # bytes of chunks kept while blocks overlap them
NAMES = ("genes", "cells")


class ExpressionFile:
    """An HDF5 file of a (n, g) float32 array in chunks, beside it the names: "genes" (g,) and "cells" (n,).

    It is written under another name beside `path`, and renamed by `finish`: whatever ends the work early leaves
    no file called `path`. As a context manager it finishes, or is discarded when the block raises.

    Arguments
    ---------
    path : where the file goes; an existing one is an error unless `overwrite`.
    genes, cells : names of columns and rows; cells may be a number of rows without names.
    dataset : name of the array in the file.

    Raises QueryError where the file cannot be made or written.
    """

    def __init__(self, path, genes, cells, dataset="expression", overwrite=False):
        self.path = Path(path)
        _check(self.path, dataset, overwrite)
        self.beside = self.path.with_name(f".{self.path.name}-{uuid.uuid4().hex}")
        n, g = cells if isinstance(cells, int) else len(cells), len(genes)
        try:
            self.file = h5py.File(self.beside, "w-", rdcc_nbytes=CACHE)
        except OSError as error:
            raise _unwritable(self.path, error) from None
        try:
            self.array = self.file.create_dataset(dataset, (n, g), "f4", chunks=(min(n, CHUNK[0]), min(g, CHUNK[1])))
            for name, values in zip(NAMES, (genes, cells), strict=True):
                if not isinstance(values, int):
                    self.file.create_dataset(name, data=np.array(values, dtype=object), dtype=h5py.string_dtype())
        except BaseException:
            self.discard()
            raise

    def write(self, start, values):
        """Rows start to start + m, an (m, g) array."""
        try:
            self.array[start:start + len(values)] = values
        except OSError as error:
            raise _unwritable(self.path, error) from None

    def finish(self):
        """Sets: the file at `path`. Returns it, a Path."""
        try:
            self.file.close()
            os.replace(self.beside, self.path)
        except OSError as error:
            self.discard()
            raise _unwritable(self.path, error) from None
        return self.path

    def discard(self):
        """Give the work up, and leave nothing behind."""
        try:
            self.file.close()
        finally:
            self.beside.unlink(missing_ok=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if kind is None:
            self.finish()
        else:
            self.discard()


def _check(path, dataset, overwrite):
    if not isinstance(dataset, str) or not dataset.strip("/") or dataset in NAMES:
        raise QueryError("dataset", problem=f"The array cannot be called {dataset!r}.",
                         hint="A text; 'genes' and 'cells' hold the names.")
    if path.is_dir():
        raise QueryError("path", problem=f"{path} is a folder.", hint="Name a file in it.")
    if path.exists() and not overwrite:
        raise QueryError("path", problem=f"There is a file {path} already.",
                         hint="Choose another name, or set overwrite.")
    if not path.parent.is_dir():
        raise QueryError("path", problem=f"There is no folder {path.parent}.", hint="Make it first.")


def _unwritable(path, error):
    return QueryError("path", problem=f"{path} could not be written: {error}.",
                      hint="Choose a folder that can be written, with space left.")
