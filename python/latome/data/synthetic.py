"""Made-up counts without structure, for trying out code: nothing can be learnt from them."""

import numpy as np
import pandas as pd
import scipy.sparse as sp
from anndata import AnnData

from latome.errors import SettingError

__all__ = ["synthetic_iid"]

FORMATS = ("csr_matrix", "csc_matrix", "csr_array", "csc_array")          # those an AnnData can hold
SIZE, PROBABILITY = 5, 0.3                             # of the negative binomial: mean 11.7


def synthetic_iid(batch_size=200, n_genes=100, n_proteins=100, n_regions=100, n_batches=2, n_labels=3,
                  dropout_ratio=0.7, sparse_format=None, generate_coordinates=False, return_mudata=False, *, seed=0):
    """Independent counts of genes, proteins and regions.

        x ~ NegativeBinomial(5, 0.3) Bernoulli(dropout_ratio)          proteins without the second factor

    For counts with cell types, batch effects and known truth see `simulate`.

    Arguments
    ---------
    batch_size : cells a batch.
    n_genes, n_proteins, n_regions : features; without proteins, or regions, their matrix is left out.
    n_batches, n_labels : categories; labels are drawn evenly.
    dropout_ratio : share of the counts that is kept, from 0 to 1.
    sparse_format : name of a class of scipy.sparse for all matrices, such as "csr_matrix"; None for arrays.
    generate_coordinates : add standard normal places in the plane.
    return_mudata : not supported.
    seed : of the draws.

    Returns an AnnData of int64 counts in X, with obs "batch" and "labels", obsm "protein_expression",
    "accessibility" and "coordinates", and uns "protein_names".

    Example
    -------
    >>> adata = synthetic_iid(n_genes=50)
    """
    if return_mudata:
        raise SettingError("return_mudata", problem="MuData objects are not supported.",
                           hint="Leave return_mudata out: proteins and regions are in `obsm`.")
    sizes = {"batch_size": (batch_size, 1), "n_genes": (n_genes, 1), "n_proteins": (n_proteins, 0),
             "n_regions": (n_regions, 0), "n_batches": (n_batches, 1), "n_labels": (n_labels, 1)}
    for name, (value, least) in sizes.items():
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
            raise SettingError(name, problem=f"`{name}` must be a whole number, at least {least}; found {value!r}.")
    if not 0 <= dropout_ratio <= 1:
        raise SettingError("dropout_ratio", problem=f"`dropout_ratio` must be from 0 to 1; found {dropout_ratio!r}.")
    stored = _storage(sparse_format)
    rng, n = np.random.default_rng(seed), batch_size * n_batches

    def counts(n_features, kept):
        drawn = rng.negative_binomial(SIZE, PROBABILITY, (n, n_features))
        return stored(drawn * (rng.random(drawn.shape) < kept))

    obs = pd.DataFrame({
        "batch": pd.Categorical(np.repeat([f"batch_{i}" for i in range(n_batches)], batch_size)),
        "labels": pd.Categorical([f"label_{i}" for i in rng.integers(n_labels, size=n)]),
    }, index=[str(i) for i in range(n)])
    adata = AnnData(counts(n_genes, dropout_ratio), obs, pd.DataFrame(index=_names("gene", n_genes)))
    if n_proteins:
        adata.obsm["protein_expression"] = counts(n_proteins, 1.0)
        adata.uns["protein_names"] = np.array(_names("protein", n_proteins))
    if n_regions:
        adata.obsm["accessibility"] = counts(n_regions, dropout_ratio)
    if generate_coordinates:
        adata.obsm["coordinates"] = rng.standard_normal((n, 2))
    return adata


def _names(kind, n):
    return [f"{kind}_{i}" for i in range(n)]


def _storage(sparse_format):
    """What makes a matrix of the format."""
    if sparse_format is None:
        return np.asarray
    if sparse_format not in FORMATS:
        raise SettingError("sparse_format", problem=f"`sparse_format` cannot be {sparse_format!r}.",
                           hint="Known: None, " + ", ".join(FORMATS) + ".")
    return getattr(sp, sparse_format)
