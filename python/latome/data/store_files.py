"""The files of a store: raw arrays, and a header that says what they hold.

    store.json    what it is, sizes, and of each array its type, length and checksum
    names.json    names of cells and genes
    values, genes, offsets      counts in compressed sparse rows, little-endian, in the smallest types that hold them
    totals, detected            what one pass over the counts would tell: of each cell its sum, of each gene whether
                                it has a count
    obs-*, obsm-*               columns and matrices of the cells
"""

import json
import os
import shutil
import uuid
import zlib
from pathlib import Path

import numpy as np
import pandas as pd

from latome import __version__
from latome.data.on_disk import Tally
from latome.data.values import check_values, tidied
from latome.errors import ArchiveError

__all__ = ["HEADER", "NAMES", "StoreWriter", "read_array", "read_header"]

FORMAT, VERSION = "latome store", 1
HEADER, NAMES = "store.json", "names.json"
TYPES = ("|u1", "<u2", "<u4", "<f4")                   # of values: the first that holds them all
AGAIN = "Write it anew: latome.data.prepare_store(adata, folder, overwrite=True)."
BLOCK = 1 << 24                                        # bytes that are checked or converted at a time


class StoreWriter:
    """A store under way, written beside its folder and renamed when it is whole.

    Arguments
    ---------
    folder : where it shall be.
    n_genes : g.
    overwrite : replace a store that is there.
    name : what the counts are called, for messages.
    allow_noninteger : accept counts that are not whole numbers.
    """

    def __init__(self, folder, n_genes, overwrite=False, name="X", allow_noninteger=False):
        self.folder, self.name, self.allow = check_target(folder, overwrite), name, allow_noninteger
        self.n_genes, self.kind, self.tallies, self.lengths = n_genes, 0, [], []
        self.detected, self.whole = np.zeros(n_genes, dtype=bool), True
        self.gene_type = np.dtype("<u2" if n_genes <= 1 << 16 else "<u4")
        self.beside = self.folder.with_name(f".{self.folder.name}-{uuid.uuid4().hex}")
        self.beside.mkdir(parents=True)

    def add(self, csr):
        """Append cells: CSR (m, g) of counts, of any number type, which is left as it is."""
        part = csr if csr.has_canonical_format else tidied(csr)
        check_values(part.data, self.name, self.allow)
        if not part.data.all():
            part = part.copy()
            part.eliminate_zeros()
        tally = Tally(part.shape[0], self.n_genes)
        tally.add(0, part)
        self.whole = self.whole and not tally.fraction.size
        self.detected |= tally.detected
        self.tallies.append(tally.totals)
        self.lengths.append(np.diff(part.indptr).astype(np.int64))
        kind = max(self.kind, smallest_type(part.data, tally.fraction.size == 0))
        if kind != self.kind:
            self._widen(kind)
        append(self.beside / "values", part.data.astype(TYPES[kind]))
        append(self.beside / "genes", part.indices.astype(self.gene_type))

    def finish(self, cells, genes, obs, obsm=None):
        """Write the rest, and put the store in its place; returns that.

        Arguments
        ---------
        cells, genes : names.
        obs : data frame of the cells, (n, columns).
        obsm : {name: (n, p) numbers}, or None.
        """
        names = json.dumps({"cells": [str(name) for name in cells], "genes": [str(name) for name in genes]}).encode()
        (self.beside / NAMES).write_bytes(names)
        lengths = np.concatenate([[0], *self.lengths]).astype("<i8")
        self._write("offsets", np.cumsum(lengths).astype("<i8"))
        self._write("totals", np.concatenate([np.zeros(0), *self.tallies]).astype("<f8"))
        self._write("detected", self.detected)
        for name in ("values", "genes"):
            (self.beside / name).touch()               # of no counts there is nothing to append
        columns = [{"name": str(name), **self._column(f"obs-{i}", obs[name])} for i, name in enumerate(obs.columns)]
        matrices = [{"name": str(name), **self._matrix(f"obsm-{i}", values)}
                    for i, (name, values) in enumerate((obsm or {}).items())]
        types = {"values": TYPES[self.kind], "genes": self.gene_type.str, "offsets": "<i8", "totals": "<f8"}
        arrays = {path.name: {"dtype": types.get(path.name, "|u1"), "bytes": path.stat().st_size,
                              "crc32": checksum(path)}
                  for path in sorted(self.beside.iterdir())}
        header = {"format": FORMAT, "version": VERSION, "latome": __version__, "n_cells": len(lengths) - 1,
                  "n_genes": self.n_genes, "n_entries": int(lengths.sum()), "whole": self.whole,
                  "obs": columns, "obsm": matrices, "arrays": arrays}
        (self.beside / HEADER).write_text(json.dumps(header, indent=1), encoding="utf-8")
        sync(self.beside)
        return put(self.beside, self.folder)

    def discard(self):
        """Give it up: nothing stays."""
        shutil.rmtree(self.beside, ignore_errors=True)

    def _widen(self, kind):
        """Bring the values written so far to a larger type."""
        old, self.kind = np.dtype(TYPES[self.kind]), kind
        path, wider = self.beside / "values", self.beside / "wider"
        if path.exists():
            with open(path, "rb") as stream:
                while block := stream.read(BLOCK):
                    append(wider, np.frombuffer(block, old).astype(TYPES[kind]))
            os.replace(wider, path)

    def _write(self, name, values):
        append(self.beside / name, values)
        return name

    def _matrix(self, name, values):
        """What the header says of a matrix, whose array is written."""
        array = little(np.asarray(values))
        names = [str(column) for column in values.columns] if isinstance(values, pd.DataFrame) else None
        return {"array": self._write(name, array), "dtype": array.dtype.str, "shape": list(array.shape),
                "columns": names}

    def _column(self, name, values):
        """What the header says of a column, whose array is written."""
        if values.dtype.kind in "iufb" and isinstance(values.dtype, np.dtype):
            array = little(values.to_numpy())
            return {"array": self._write(name, array), "dtype": array.dtype.str}
        factor = pd.Categorical(values)
        self._write(name, factor.codes.astype("<i4"))
        return {"array": name, "dtype": "<i4", "levels": [plain(level) for level in factor.categories],
                "ordered": bool(factor.ordered)}


def smallest_type(values, whole):
    """Which of TYPES holds them."""
    most = values.max(initial=0) if whole else np.inf
    return next(i for i, top in enumerate((0xFF, 0xFFFF, 0xFFFFFFFF, np.inf)) if most <= top)


def plain(level):
    """A category's name as JSON holds it: bool, int, float, or else text."""
    level = level.item() if isinstance(level, np.generic) else level
    return level if isinstance(level, bool | int | float | str) else str(level)


def little(values):
    """The same array, little-endian and in C order."""
    return np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))


def append(path, values):
    """Write an array at the end of a file."""
    with open(path, "ab") as stream:
        np.ascontiguousarray(values).tofile(stream)


def checksum(path):
    """crc32 of a file."""
    found = 0
    with open(path, "rb") as stream:
        while block := stream.read(BLOCK):
            found = zlib.crc32(block, found)
    return found


def sync(folder):
    """Have all files of a folder on the disk before it is renamed."""
    for path in folder.iterdir():
        with open(path, "rb+") as stream:
            os.fsync(stream.fileno())


def check_target(folder, overwrite):
    """The folder as a Path, if a store may be written there; ArchiveError if not."""
    folder = Path(folder).expanduser().absolute()
    if folder.exists() and not (folder.is_dir() and (folder / HEADER).exists()):
        if not folder.is_dir() or any(folder.iterdir()):
            raise ArchiveError("folder", problem=f"{folder} is there already, and holds something else.",
                               hint="Name a folder that does not exist.")
    elif folder.exists() and not overwrite:
        raise ArchiveError("folder", problem=f"{folder} already holds a store.", hint="Set overwrite to replace it.")
    return folder


def put(beside, folder):
    """Rename a folder to its name; what had that name goes."""
    old = folder.with_name(f".{folder.name}-{uuid.uuid4().hex}")
    if folder.exists():
        os.rename(folder, old)
    try:
        os.rename(beside, folder)
    except OSError:
        if old.exists():
            os.rename(old, folder)
        raise
    shutil.rmtree(old, ignore_errors=True)
    return folder


def read_header(folder, verify=True):
    """The header of a store, whose files are there and whole; ArchiveError where they are not.

    Arguments
    ---------
    folder : the store.
    verify : compare checksums, which reads every file once; sizes are always compared.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise ArchiveError("folder", problem=f"There is no folder {folder}.", hint="Check the path.")
    try:
        header = json.loads((folder / HEADER).read_text(encoding="utf-8"))
        named, version, arrays = header["format"], header["version"], header["arrays"]
    except FileNotFoundError:
        raise ArchiveError("folder", problem=f"The folder {folder} holds no store ({HEADER}).",
                           hint="Give a folder that prepare_store() wrote.") from None
    except (ValueError, KeyError, TypeError):
        named, version, arrays = None, None, {}
    if named != FORMAT or not isinstance(version, int):
        raise ArchiveError("folder", problem=f"{folder / HEADER} is damaged, or of something else.", hint=AGAIN)
    if version > VERSION:
        raise ArchiveError("folder", problem=f"The store was written by a newer latome ({header.get('latome')}).",
                           hint="Update latome, or write the store anew.")
    for name, facts in arrays.items():
        check_file(folder / name, facts, verify)
    return header


def check_file(path, facts, verify):
    """ArchiveError where a file of a store is not what its header says."""
    size = path.stat().st_size if path.is_file() else None
    if size is None:
        raise ArchiveError("folder", problem=f"The store lacks its file {path}.", hint=AGAIN)
    if size != facts["bytes"]:
        raise ArchiveError("folder", problem=f"The store's file {path} has {size:,} bytes, not {facts['bytes']:,}.",
                           hint=AGAIN)
    if verify and checksum(path) != facts["crc32"]:
        raise ArchiveError("folder", problem=f"The store's file {path} is damaged: its checksum is another.",
                           hint=AGAIN)


def read_array(folder, name, dtype):
    """An array of a store, in memory."""
    return np.fromfile(Path(folder) / name, dtype=dtype)
