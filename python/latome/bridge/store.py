"""Stores of counts: written from an AnnData or a file, or block by block as R reads them; and opened."""

import warnings

import numpy as np
import pandas as pd
import scipy.sparse as sp

from latome.bridge.answers import answers, as_list
from latome.bridge.engine import column_values
from latome.data import store
from latome.data.fields import coded
from latome.data.lazy import annotated
from latome.data.sources import open_counts
from latome.data.store_files import StoreWriter

__all__ = ["add_to_store", "begin_store", "discard_store", "finish_store", "open_store", "part_of_store",
           "part_of_stream", "prepare_store", "silent", "store_columns"]


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


@answers
def part_of_stream(folder, rows, genes, cells, columns):
    """An AnnData of a part of a store, with columns that R sends.

    Arguments
    ---------
    rows : (g,) positions of genes in the store, -1 for genes that are not there: they have no counts.
    genes : their names.
    cells : (n,) positions of cells.
    columns : {name: column} of those cells, as `anndata` takes them.
    """
    whole = store.open_store(folder, verify=False)
    rows, cells = (np.asarray(places, dtype=np.int64).ravel() for places in (rows, cells))
    absent = rows < 0
    rows[absent] = whole.n_vars + np.arange(absent.sum())
    names = np.append(np.asarray(whole.var_names, dtype=object), np.full(absent.sum(), "", dtype=object))
    names[rows] = as_list(genes)
    obs = pd.DataFrame({name: spread(column_values(column), cells, whole.n_obs)
                        for name, column in dict(columns).items()}, index=whole.obs_names)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")                # a gene left out may have the name of one that is there
        data = annotated(whole.X.with_more_genes(absent.sum()), obs, pd.DataFrame(index=pd.Index(names, dtype=object)))
    return {"data": data[cells, rows]}


def spread(values, cells, n_cells):
    """The values of some of n cells, NaN or no category for the others."""
    if isinstance(values, pd.Categorical):
        codes = np.full(n_cells, -1, dtype=np.int64)
        codes[cells] = values.codes
        return pd.Categorical.from_codes(codes, values.categories)
    whole = np.full(n_cells, np.nan)
    whole[cells] = values
    return whole


@answers
def silent(data, what):
    """Positions of the "cells" or "genes" without a count."""
    counts = open_counts(data)
    counted = counts.totals() > 0 if what == "cells" else counts.detected()
    return {"places": np.flatnonzero(~counted).astype(np.int32)}
