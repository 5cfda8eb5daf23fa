"""Genes worth modelling: those with more zeros than one common expression level would leave.

    f_j = counts of gene j / all counts        t_i = counts of cell i           within one batch
    zeros expected of gene j = sum_i p_ij,     variance = sum_i p_ij (1 - p_ij),     p_ij = exp(-t_i f_j)
    z_j = (zeros found - zeros expected) / sqrt(variance)

A gene that only some cells express leaves too many zeros, whatever the depth of the cells (an idea of Andrews
and Hemberg, 2019). The rank of z_j in each batch, and the median of the ranks over the batches, decide. The
variance counts as 1 where it is less, so that one cell without a gene that all others have does not decide.
"""

import numpy as np
import pandas as pd

from latome.data.sources import CountSource, closest, count_matrix
from latome.errors import FieldError, SettingError

__all__ = ["select_genes"]

MAX_TOTALS = 1000      # distinct totals of cells; more are binned, each bin at its mean (under 1% wide)
TILE = 2**20           # entries (genes x totals) held at once


def select_genes(adata, n_top=4000, batch=None, layer=None):
    """Names of the `n_top` genes with the largest excess of zeros, in the data's order.

    Arguments
    ---------
    adata : AnnData of raw counts, (n, g), sparse or dense.
    n_top : whole number >= 1; all expressed genes are returned when there are no more than this.
    batch : column of obs; genes are ranked within each batch, so differences between batches do not count.
    layer : layer that holds the counts; None is X.

    Returns
    -------
    list of str. The same data give the same genes: nothing is random, and ties go to the earlier gene.

    Example
    -------
    >>> adata = adata[:, select_genes(adata, 2000, batch="donor")].copy()
    """
    if isinstance(n_top, bool) or not isinstance(n_top, (int, np.integer)) or n_top < 1:
        raise SettingError("n_top", problem=f"`n_top` must be a whole number, at least 1; found {n_top!r}.")
    if not adata.var_names.is_unique:
        twice = adata.var_names[adata.var_names.duplicated()][:3].tolist()
        hint = "Call adata.var_names_make_unique() first."
        raise FieldError("genes", problem=f"Names of genes occur twice: {twice}.", hint=hint)
    counts = count_matrix(adata, layer)
    CountSource(counts, "X" if layer is None else f"Layer '{layer}'").check(allow_noninteger=True)
    groups = _batches(adata, batch)
    expressed = np.asarray(counts.sum(0)).ravel() > 0
    if n_top >= expressed.sum():
        chosen = expressed
    else:
        ranks = [_ranks(zero_excess(counts if len(groups) == 1 else counts[rows])) for rows in groups]
        rank = np.median(ranks, axis=0)
        rank[~expressed] = np.inf
        chosen = np.zeros(len(rank), dtype=bool)
        chosen[np.argsort(rank, kind="stable")[:n_top]] = True
    return adata.var_names[chosen].tolist()


def zero_excess(counts):
    """z-score of each gene's zeros against Poisson counts of the same cell totals.

    Arguments
    ---------
    counts : (n, g) CSR matrix, >= 0.

    Returns
    -------
    (g,) float64; -inf for a gene without counts.
    """
    totals = np.asarray(counts.sum(1), dtype=np.float64).ravel()               # (n,)
    fraction = np.asarray(counts.sum(0), dtype=np.float64).ravel()             # (g,)
    fraction /= max(fraction.sum(), 1.0)
    present = np.bincount(counts.indices[counts.data != 0], minlength=counts.shape[1])
    found = len(totals) - present                                              # (g,)
    total, cells = _binned(totals)                                             # (u,), (u,)
    z = np.empty(len(fraction))
    width = max(1, TILE // len(total))
    for begin in range(0, len(fraction), width):
        tile = slice(begin, begin + width)
        p = np.exp(-np.outer(fraction[tile], total))                           # (tile, u)
        expected, square = p @ cells, (p * p) @ cells
        variance = np.maximum(expected - square, 1.0)                          # (tile,)
        z[tile] = (found[tile] - expected) / np.sqrt(variance)
    z[fraction == 0] = -np.inf
    return z


def _ranks(z):
    """0 for the largest; ties by position."""
    rank = np.empty(len(z))
    rank[np.argsort(-z, kind="stable")] = np.arange(len(z))
    return rank


def _binned(totals):
    """Distinct totals and their numbers of cells; binned on the log scale when there are too many."""
    value, cells = np.unique(totals, return_counts=True)
    if len(value) <= MAX_TOTALS:
        return value, cells.astype(np.float64)
    low, high = np.log1p(value[0]), np.log1p(value[-1])
    bins = ((np.log1p(value) - low) / (high - low) * (MAX_TOTALS - 1)).astype(np.int64)
    number = np.bincount(bins, weights=cells)
    mean = np.bincount(bins, weights=cells * value) / np.maximum(number, 1.0)
    return mean[number > 0], number[number > 0]


def _batches(adata, batch):
    """Rows of each batch, in the order of the categories; one group when `batch` is None."""
    if batch is None:
        return [np.arange(adata.n_obs)]
    if batch not in adata.obs:
        hint = closest(batch, adata.obs.columns)
        raise FieldError("batch", problem=f"`obs` has no column '{batch}'.", hint=hint)
    codes, _ = pd.factorize(adata.obs[batch], sort=True)
    if (codes < 0).any():
        problem = f"`obs` column '{batch}' misses {int((codes < 0).sum())} values."
        raise FieldError("batch", problem=problem, hint="Fill them, or leave these cells out.")
    return [np.flatnonzero(codes == code) for code in range(codes.max() + 1)]
