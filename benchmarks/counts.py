"""The files that the rows are measured on: simulated counts, written once."""

import json

import numpy as np

from latome.data.simulate import simulate

__all__ = ["covariates_of", "simulated", "split_rows", "write_counts", "write_vectors"]

BATCHES = 4
LEVELS = 3                                             # of each categorical covariate
LEAST = 50.0                                           # counts of a cell, of few genes too


def covariates_of(counts):
    """{"categorical": names, "continuous": names} of the covariates of `rows.Counts`."""
    return {"categorical": [f"category_{i + 1}" for i in range(counts.categorical)],
            "continuous": [f"value_{i + 1}" for i in range(counts.continuous)]}


def simulated(counts, cells=None):
    """AnnData of `counts.cells` cells and those kept back; always the same."""
    names = covariates_of(counts)
    return simulate(cells or round(counts.cells * (1 + counts.kept)), counts.genes, counts.types, BATCHES, seed=0,
                    depth=max(LEAST, counts.genes / 18), categorical=dict.fromkeys(names["categorical"], LEVELS),
                    continuous=dict.fromkeys(names["continuous"], 0.1))


def split_rows(n, first, seed=0):
    """(rows of the first part, the others), drawn at random, each increasing."""
    order = np.random.default_rng(seed).permutation(n)
    return np.sort(order[:first]), np.sort(order[first:])


def write_counts(counts, folder, compression=None):
    """{"train", "heldout": path or None, "filled": share of entries that are not zero}; made unless it is there."""
    name = "_".join(map(str, (counts.cells, counts.genes, counts.types, counts.categorical, counts.continuous,
                              counts.kept, compression)))
    paths = {"train": folder / f"{name}_train.h5ad", "heldout": folder / f"{name}_heldout.h5ad"}
    facts = folder / f"{name}.json"
    if not facts.exists():
        data = simulated(counts)
        for part, rows in zip(paths, split_rows(data.n_obs, counts.cells), strict=True):
            data[rows].copy().write_h5ad(paths[part], compression=compression)
        facts.write_text(json.dumps({"filled": data.X.nnz / np.prod(data.shape)}))
    heldout = str(paths["heldout"]) if counts.kept else None
    return {"train": str(paths["train"]), "heldout": heldout} | json.loads(facts.read_text())


def write_vectors(data, folder):
    """For R: the three vectors of the genes x cells dgCMatrix of an AnnData of CSR counts, and its batches."""
    for name, values, kind in (("x", data.X.data, np.float64), ("i", data.X.indices, np.int32),
                               ("p", data.X.indptr, np.int32)):
        values.astype(kind).tofile(folder / name)
    about = {"cells": data.n_obs, "genes": data.n_vars, "nnz": data.X.nnz, "batch": data.obs["batch"].tolist()}
    (folder / "about.json").write_text(json.dumps(about))
