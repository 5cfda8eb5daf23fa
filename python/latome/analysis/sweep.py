"""The only inference loop: a query of one minibatch, applied to all cells in their order."""

from contextlib import contextmanager

import numpy as np

from latome.backend import torch
from latome.data.minibatches import Minibatches
from latome.errors import QueryError
from latome.kernels.heap import AmpleHeap
from latome.protocol.settings import check_setting

__all__ = ["ELEMENTS", "asking", "cells_at_once", "rows_of", "some_rows", "sweep"]

ELEMENTS = 1 << 22                                     # of the arrays held at a time: 16 MB
TILE = 1 << 19                                         # of a decoded minibatch (m, g): 2 MB, which stay in the cache


def rows_of(data, indices):
    """(n',) rows from None (all), a mask (n,) or row numbers."""
    if indices is None:
        return np.arange(data.n_cells)
    indices = np.asarray(indices)
    if indices.dtype == bool:
        if indices.shape != (data.n_cells,):
            raise QueryError("indices", problem=f"The mask has {indices.size} entries for {data.n_cells} cells.",
                             hint="Give one for each cell.")
        return np.flatnonzero(indices)
    if indices.size and indices.dtype.kind not in "iu":
        raise QueryError("indices", problem=f"`indices` are of type {indices.dtype}, not row numbers.",
                         hint="Give whole numbers, or a mask of True and False.")
    if indices.size and (indices.min() < 0 or indices.max() >= data.n_cells):
        raise QueryError("indices", problem=f"A row number lies outside 0 to {data.n_cells - 1}.",
                         hint="Row numbers count from 0.")
    return indices.astype(np.int64)


@contextmanager
def asking(module):
    """Inside, the module is in evaluation mode and nothing is recorded for gradients."""
    was_training = module.training
    if was_training:                                   # walking through all parts costs as much as a small minibatch
        module.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        if was_training:
            module.train()


def cells_at_once(data, batch_size=None, elements=TILE):
    """Cells of a minibatch: as asked for, or as many as keep a dense array of all genes within so many elements."""
    batch_size = check_setting("batch_size", batch_size, int | None, {"ge": 1})
    return batch_size or max(32, min(1024, elements // data.n_genes))


def some_rows(data, indices):
    """(n,) int64 rows from None, a mask or row numbers; QueryError where there are none."""
    rows = rows_of(data, indices)
    if not len(rows):
        raise QueryError("indices", problem="No cells are left to ask about.", hint="Check the selection of cells.")
    return rows


def sweep(module, data, query, *, indices=None, batch_size=None, device="cpu", elements=TILE):
    """Apply `query(cells) -> {name: (m, ...) tensor}` to minibatches in evaluation mode.

    `batch_size` None is as many cells as keep a dense array of all genes within so many `elements`: `TILE` where they
    are decoded, `ELEMENTS` where they are only encoded.

    Returns {name: (n, ...) numpy array}, rows in the order of `indices`.
    """
    rows = some_rows(data, indices)
    size = cells_at_once(data, batch_size, elements)
    with asking(module), AmpleHeap():
        parts = [query(cells) for cells in Minibatches(data, rows, size, device)]
    return {name: np.concatenate([part[name].cpu().numpy() for part in parts]) for name in parts[0]}
