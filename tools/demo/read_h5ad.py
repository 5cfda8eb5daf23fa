"""Read an .h5ad file as plain arrays and lists, which R turns into a SingleCellExperiment."""

import anndata
import numpy as np
import scipy.sparse as sp


def parts(path):
    """The counts and the columns of the cells.

    Returns x, i, p of the counts as CSR of cells x genes (which are those of a genes x cells dgCMatrix),
    the names of cells and genes, where the counts were found, and `columns`: {name: list of str or float array}.
    """
    adata = anndata.read_h5ad(path)
    where, matrix, genes = counts(adata)
    matrix = sp.csr_matrix(matrix)
    matrix.sort_indices()
    return {
        "x": matrix.data.astype(np.float64),
        "i": matrix.indices.astype(np.int32),
        "p": matrix.indptr.astype(np.int32),
        "cells": list(adata.obs_names),
        "genes": list(genes),
        "where": where,
        "columns": {str(name): plain(adata.obs[name]) for name in adata.obs},
    }


def counts(adata):
    """The first of layers["counts"], X and raw that holds whole numbers; X where none does."""
    places = []
    if "counts" in adata.layers:
        places.append(("layers['counts']", adata.layers["counts"], adata.var_names))
    if adata.X is not None:
        places.append(("X", adata.X, adata.var_names))
    if adata.raw is not None:
        places.append(("raw", adata.raw.X, adata.raw.var_names))
    for place in places:
        values = place[1].data if sp.issparse(place[1]) else np.asarray(place[1])
        if np.all(values[:100_000] == np.round(values[:100_000])):
            return place
    return places[0]


def plain(column):
    """A numeric column as float64; any other as text, where a missing value is None."""
    if column.dtype.kind in "iuf":
        return column.to_numpy(np.float64)
    return [None if missing else str(value) for value, missing in zip(column, column.isna())]
