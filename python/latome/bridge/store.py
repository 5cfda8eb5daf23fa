"""Stores of counts: written from an AnnData or a file, or block by block as R reads them; and opened."""

import numpy as np
import pandas as pd
import scipy.sparse as sp

from latome.bridge.answers import answers, as_list
from latome.bridge.engine import column_values
from latome.data import store
from latome.data.fields import coded
from latome.data.store_files import StoreWriter

__all__ = ["add_to_store", "begin_store", "discard_store", "finish_store", "open_store", "part_of_store",
           "prepare_store", "store_columns"]


@answers
def prepare_store(data, folder, layer=None, overwrite=False, allow_noninteger=False):
    """A store of an AnnData, or of an .h5ad file, a .zarr folder or a store named by its path."""
    found = store.prepare_store(data, folder, layer, overwrite=bool(overwrite), allow_noninteger=bool(allow_noninteger))
    return {"path": str(found)}


@answers
def begin_store(genes, folder, name, overwrite=False, allow_noninteger=False):
    """A store under way, to which `add_to_store` adds blocks of cells."""
    return {"writer": StoreWriter(folder, len(as_list(genes)), bool(overwrite), name, bool(allow_noninteger))}


@answers
def add_to_store(writer, x, i, p, n_cells):
    """Append cells: the arrays of a genes x cells dgCMatrix."""
    writer.add(sp.csr_matrix((x, i, p), shape=(int(n_cells), writer.n_genes), copy=False))
    return {}


@answers
def finish_store(writer, cells, genes, columns):
    """Complete the store; `columns` as `anndata` takes them."""
    obs = pd.DataFrame({name: column_values(column) for name, column in dict(columns).items()},
                       index=pd.Index(as_list(cells), dtype=object))
    return {"path": str(writer.finish(as_list(cells), as_list(genes), obs))}


@answers
def discard_store(writer):
    """Give up a store under way."""
    writer.discard()
    return {}


@answers
def open_store(folder, verify=True):
    """An AnnData of a store, and what R wants to know of it: names, and genes without a count."""
    data = store.open_store(folder, bool(verify))
    return {"data": data, "cells": list(data.obs_names), "genes": list(data.var_names), "columns": list(data.obs),
            "silent": data.var_names[~data.X.tally[1]].tolist(), "whole": bool(data.X.tally[2])}


@answers
def store_columns(data, names):
    """Columns of the cells: {name: {"codes", "levels"} or {"values"}}."""
    found = {}
    for name in as_list(names):
        values = data.obs[name]
        if values.dtype.kind in "iuf":
            found[name] = {"values": values.to_numpy().astype(np.float64)}
        else:
            codes, levels = coded(values)
            found[name] = {"codes": codes.astype(np.int32), "levels": [str(level) for level in levels]}
    return {"columns": found}


@answers
def part_of_store(data, genes=None, cells=None):
    """The same data with these genes and these cells, by name and by position from 1; None for all."""
    rows = slice(None) if cells is None else np.asarray(cells, dtype=np.int64).ravel() - 1
    return {"data": data[rows, slice(None) if genes is None else as_list(genes)]}
