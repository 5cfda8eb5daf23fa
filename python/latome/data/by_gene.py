"""Counts that lie in a file gene by gene (CSC), turned into blocks of cells with flat memory.

One pass over the file deals its entries into piles, a range of cells each, in files of their own; then each pile is put
in order.
"""

from pathlib import Path

import numpy as np
import scipy.sparse as sp

from latome.data.values import native

__all__ = ["cells_of_genes"]

ENTRIES = 1 << 20                                      # dealt at a time
PILE = 1 << 22                                         # entries of a pile, about
MOST = 256                                             # piles


def cells_of_genes(data, indices, indptr, shape, folder):
    """Yields (start, CSR (m, g) of the cells from there on), all cells in their order.

    Arguments
    ---------
    data, indices : entries of the file (nnz,), values and cells.
    indptr : (g + 1,) where each gene begins and ends; read into memory.
    shape : (n, g).
    folder : where the piles are kept; each is removed when it was used.
    """
    n, g = (int(size) for size in shape)
    offsets = np.asarray(indptr[:], dtype=np.int64)
    piles = int(np.clip(offsets[-1] // PILE + 1, 1, MOST))
    size = -(-n // piles)                              # cells of a pile
    kind = np.dtype([("cell", "<u4"), ("gene", "<u4"), ("value", data.dtype)])
    paths = [Path(folder) / f"pile-{i}" for i in range(piles)]
    for begin in range(0, int(offsets[-1]), ENTRIES):
        end = min(begin + ENTRIES, int(offsets[-1]))
        deal(block_of(data, indices, offsets, begin, end, kind), size, paths)
    for i, path in enumerate(paths):
        start, stop = i * size, min(n, (i + 1) * size)
        if start < stop:
            yield start, in_order(path, kind, start, (stop - start, g))


def block_of(data, indices, offsets, begin, end, kind):
    """(end - begin,) entries of the file as records of cell, gene and value."""
    bounds = np.array([begin]), np.array([end])
    block = np.empty(end - begin, dtype=kind)
    block["cell"], block["value"] = indices.read(*bounds), data.read(*bounds)
    inside = np.clip(offsets, begin, end)
    block["gene"] = np.repeat(np.arange(len(offsets) - 1), np.diff(inside))
    return block


def deal(block, size, paths):
    """Append each record to the pile of its cell, `size` cells a pile."""
    pile = block["cell"] // size
    order = np.argsort(pile, kind="stable")            # genes stay in order
    cuts = np.searchsorted(pile[order], np.arange(len(paths) + 1))
    for path, start, stop in zip(paths, cuts[:-1], cuts[1:], strict=True):
        if start < stop:
            with open(path, "ab") as stream:
                block[order[start:stop]].tofile(stream)


def in_order(path, kind, start, shape):
    """CSR of a pile, which is removed."""
    records = np.fromfile(path, dtype=kind) if path.exists() else np.empty(0, dtype=kind)
    path.unlink(missing_ok=True)
    records = records[np.argsort(records["cell"], kind="stable")]
    indptr = np.concatenate([[0], np.cumsum(np.bincount(records["cell"] - start, minlength=shape[0]))])
    values, genes = np.ascontiguousarray(records["value"]), records["gene"].astype(np.int32)
    return sp.csr_matrix((native(values), genes, indptr), shape=shape)
