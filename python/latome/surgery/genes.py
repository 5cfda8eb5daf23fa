"""The genes of new cells in the order of a model's, those that were not measured as zeros."""

import re
from collections import Counter

import numpy as np
import pandas as pd
import scipy.sparse as sp

from latome.data.sources import in_memory, layer_names, rows_of_matrix
from latome.errors import FieldError, QueryError

__all__ = ["align_genes", "check_overlap"]

LOOKED_AT = 2000                                       # genes by which a cause is found

#: What may keep names from matching: how to write them alike, and what it means.
SPELLINGS = [
    (lambda name: re.sub(r"\.\d+$", "", name), "Identifiers carry a version in one of the two: take it off."),
    (lambda name: name.replace("_", "-"), "Names differ in '_' and '-': Seurat turns one into the other."),
    (lambda name: name.upper(), "Names differ in upper and lower case: are the two of the same species?"),
]
IDENTIFIER = re.compile(r"^ENS[A-Z]*G\d{6,}")          # of a gene in Ensembl


def check_overlap(adata, genes, min_overlap):
    """The share of a model's genes that an AnnData has.

    Arguments
    ---------
    adata : AnnData of the new cells.
    genes : names of the model's genes.
    min_overlap : smallest share that is accepted, 0 to 1; no gene at all never is.

    Raises QueryError where there are too few, FieldError where a gene is there twice.
    """
    names = [str(name) for name in adata.var_names]
    times = Counter(names)
    twice = [gene for gene in genes if times[gene] > 1]
    if twice:
        raise FieldError("genes", problem=f"{len(twice)} gene names occur more than once, such as '{twice[0]}'.",
                         hint="Make them unique: adata.var_names_make_unique(), or make.unique() in R.")
    missing = [gene for gene in genes if not times[gene]]
    share = (len(genes) - len(missing)) / len(genes)
    if share < min_overlap or len(missing) == len(genes):
        shown = ", ".join(f"'{gene}'" for gene in missing[:3])
        raise QueryError(
            "genes", problem=f"The data have {len(genes) - len(missing):,} of the model's {len(genes):,} genes "
            f"({share:.0%}); at least {min_overlap:.0%} are asked for. Missing: {shown}"
            f"{' and more' if len(missing) > 3 else ''}.", hint=likely_cause(adata.var, names, missing))
    return share


def likely_cause(var, names, missing):
    """In words: why genes of a model may be missing under their names, as far as the names tell."""
    missing = missing[:LOOKED_AT]
    for column in var.columns:
        if var[column].dtype.kind not in "biufc" and most_in(missing, var[column].astype(str)):
            return f"They are in the column '{column}' of `var`: use it as the names of the genes."
    for alike, words in SPELLINGS:
        if most_in(map(alike, missing), map(alike, names)):
            return words
    theirs, ours = (np.mean([bool(IDENTIFIER.match(name)) for name in part[:LOOKED_AT]]) > 0.5
                    for part in (names, missing))
    if theirs != ours:
        one, other = ("identifiers", "symbols") if ours else ("symbols", "identifiers")
        return f"The model names genes by {one}, the data by {other}: translate them."
    return f"The data name genes such as '{names[0]}'. Were they filtered? A missing gene counts as zero in each cell."


def most_in(some, names):
    """Whether more than half of some names are among others."""
    names = set(names)
    return np.mean([name in names for name in some]) > 0.5


def align_genes(adata, genes, *, min_overlap=0.5):
    """New cells with the genes of a model, in its order; a gene that they lack is zero in each cell.

    Sparse counts stay sparse. Counts in a file are read, those of the model's genes.

    Arguments
    ---------
    adata : AnnData of n cells; it is left as it is.
    genes : (g,) names of the model's genes.
    min_overlap : smallest share of these that the data must have, 0 to 1.

    Returns (AnnData of n cells x g genes, the share of them that was there).
    Raises QueryError where there are too few, FieldError where one is there twice.

    Example
    -------
    >>> query, share = align_genes(query, fit.registry.genes, min_overlap=0.8)
    """
    from anndata import AnnData  # here: whoever holds one has loaded it already

    genes = [str(gene) for gene in genes]
    share = check_overlap(adata, genes, min_overlap)
    if list(adata.var_names) == genes:
        return adata, share
    wanted = set(genes)
    there = np.flatnonzero([str(name) in wanted for name in adata.var_names])
    matrices = [adata.X, *(adata.layers[name] for name in layer_names(adata))]
    if not all(matrix is None or in_memory(matrix) for matrix in matrices):
        adata = adata[:, there].to_memory()
        there = np.arange(adata.n_vars)
    place = {gene: i for i, gene in enumerate(genes)}
    to = np.full(adata.n_vars, -1)
    to[there] = [place[str(name)] for name in adata.var_names[there]]
    var = adata.var.iloc[there].set_axis([str(name) for name in adata.var_names[there]]).reindex(pd.Index(genes))
    return AnnData(
        spread(adata.X, to, len(genes)), obs=adata.obs.copy(), var=var, uns=dict(adata.uns), obsm=dict(adata.obsm),
        layers={name: spread(adata.layers[name], to, len(genes)) for name in layer_names(adata)}), share


def spread(matrix, to, n):
    """(m, n) of a matrix (m, p), sparse or dense: column j at place to[j], left out where that is -1; else zeros."""
    if matrix is None:
        return None
    if not sp.issparse(matrix):
        spread_out = np.zeros((matrix.shape[0], n), matrix.dtype)
        spread_out[:, to[to >= 0]] = matrix[:, to >= 0]
        return spread_out
    csr = rows_of_matrix(matrix)
    columns = to[csr.indices]
    kept = columns >= 0
    indptr = np.concatenate([[0], np.cumsum(kept)])[csr.indptr]
    out = sp.csr_matrix((csr.data[kept], columns[kept], indptr), shape=(csr.shape[0], n))
    out.sort_indices()
    return out
