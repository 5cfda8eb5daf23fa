"""Genes worth modelling: those with more zeros than one common expression level would leave.

    f_j = counts of gene j / all counts        t_i = counts of cell i           within one batch
    zeros expected of gene j = sum_i p_ij,     variance = sum_i p_ij (1 - p_ij),     p_ij = exp(-t_i f_j)
    z_j = (zeros found - zeros expected) / sqrt(variance)

A gene that only some cells express leaves too many zeros, whatever the depth of the cells (an idea of Andrews
and Hemberg, 2019). The rank of z_j in each batch, and the median of the ranks over the batches, decide. The
variance counts as 1 where it is less, so that one cell without a gene that all others have does not decide.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from latome.data.sources import closest, open_counts
from latome.errors import FieldError, SettingError

__all__ = ["poisson_gene_selection", "select_genes"]

MAX_TOTALS = 1000      # distinct totals of cells; more are binned, each bin at its mean (under 1% wide)
TILE = 2**20           # entries (genes x totals) held at once


def select_genes(adata, n_top=4000, batch=None, layer=None):
    """Names of the `n_top` genes with the largest excess of zeros, in the data's order.

    Arguments
    ---------
    adata : AnnData of raw counts, (n, g), sparse or dense, in memory or backed by a file.
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
    batches = _zeros(adata, n_top, batch, layer)
    expressed = np.any([zeros.expressed for zeros in batches], axis=0)
    if n_top >= expressed.sum():
        chosen = expressed
    else:
        rank = np.median([_ranks(zeros.excess) for zeros in batches], axis=0)
        rank[~expressed] = np.inf
        chosen = np.zeros(len(rank), dtype=bool)
        chosen[np.argsort(rank, kind="stable")[:n_top]] = True
    return adata.var_names[chosen].tolist()


def poisson_gene_selection(adata, layer=None, n_top_genes=4000, accelerator="auto", device="auto", subset=False,
                           inplace=True, n_samples=10000, batch_key=None, silent=False, minibatch_size=5000):
    """Genes with more zeros than Poisson counts would have, ranked as scvi-tools ranks them.

        prob_zero_enrichment_j = P(zero found > zero expected) = found_j (1 - expected_j)

    with the fractions of zeros found and expected in a batch. scvi-tools draws this probability, here it is exact, so
    accelerator, device, n_samples, silent and minibatch_size change nothing. `select_genes` is the better choice for
    new work: a z-score, which does not favour genes for being expressed highly.

    Arguments
    ---------
    adata, layer, batch_key : AnnData, the layer of its raw counts (None is X), and a column of obs.
    n_top_genes : genes to choose.
    inplace : write into `adata`; otherwise return the table.
    subset : keep the chosen genes alone.

    Sets: `var` columns highly_variable, observed_fraction_zeros, expected_fraction_zeros, prob_zero_enriched_nbatches,
    prob_zero_enrichment, prob_zero_enrichment_rank (larger is better), medians over the batches; `uns["hvg"]`.
    Without `inplace` a DataFrame (g, 5 or 6) of them.
    """
    batches = _zeros(adata, n_top_genes, batch_key, layer)
    enrichment = [zeros.found * (1 - zeros.expected) for zeros in batches]
    ranks = [_ranks(-values) for values in enrichment]
    rank = np.median(ranks, axis=0)
    among = np.sum([values >= len(values) - n_top_genes for values in ranks], axis=0)
    chosen = np.zeros(len(rank), dtype=bool)
    chosen[np.lexsort((-rank, -among))[:n_top_genes]] = True
    table = pd.DataFrame({
        "highly_variable": chosen,
        "observed_fraction_zeros": np.median([zeros.found for zeros in batches], axis=0).astype(np.float32),
        "expected_fraction_zeros": np.median([zeros.expected for zeros in batches], axis=0).astype(np.float32),
        "prob_zero_enriched_nbatches": among,
        "prob_zero_enrichment": np.median(enrichment, axis=0).astype(np.float32),
        "prob_zero_enrichment_rank": rank,
    }, index=adata.var_names)
    if not inplace:
        return table if batch_key is not None else table.drop(columns="prob_zero_enriched_nbatches")
    adata.uns["hvg"] = {"flavor": "poisson_zeros"}
    adata.var[table.columns] = table
    if subset:
        adata._inplace_subset_var(chosen)
    return None


@dataclass(frozen=True)
class Zeros:
    """Zeros of the genes in one batch, against Poisson counts of the same cell totals.

    Arguments
    ---------
    found, expected : (g,) float64, fractions of the cells.
    excess : (g,) float64, z-score of the zeros; -inf for a gene without counts.
    expressed : (g,) bool.
    """

    found: np.ndarray
    expected: np.ndarray
    excess: np.ndarray
    expressed: np.ndarray


def count_zeros(totals, sums, present):
    """The `Zeros` of one batch.

    Arguments
    ---------
    totals : (m,) float64, counts of each cell.
    sums, present : (g,) float64, counts of each gene, and cells that have any.
    """
    fraction = sums / max(sums.sum(), 1.0)                                     # (g,)
    found = len(totals) - present
    total, cells = _binned(totals)                                             # (u,), (u,)
    expected, variance = np.empty(len(sums)), np.empty(len(sums))
    width = max(1, TILE // len(total))
    for begin in range(0, len(sums), width):
        tile = slice(begin, begin + width)
        p = np.exp(-np.outer(fraction[tile], total))                           # (tile, u)
        expected[tile] = p @ cells
        variance[tile] = np.maximum(expected[tile] - (p * p) @ cells, 1.0)
    excess = (found - expected) / np.sqrt(variance)
    excess[sums == 0] = -np.inf
    return Zeros(found / len(totals), expected / len(totals), excess, sums > 0)


def _zeros(adata, n_top, batch, layer):
    """[`Zeros` of each batch], the arguments checked first."""
    if isinstance(n_top, bool) or not isinstance(n_top, (int, np.integer)) or n_top < 1:
        raise SettingError("n_top", problem=f"`n_top` must be a whole number, at least 1; found {n_top!r}.")
    if not adata.var_names.is_unique:
        twice = adata.var_names[adata.var_names.duplicated()][:3].tolist()
        hint = "Call adata.var_names_make_unique() first."
        raise FieldError("genes", problem=f"Names of genes occur twice: {twice}.", hint=hint)
    codes, n_batches = _batches(adata, batch)
    source = open_counts(adata, layer)
    source.check(allow_noninteger=True)
    totals, shape = source.totals(), (n_batches, adata.n_vars)
    sums, present = np.zeros(shape), np.zeros(shape)
    for start, part in source.blocks():
        cells = np.repeat(codes[start:start + part.shape[0]], np.diff(part.indptr))
        places = cells * shape[1] + part.indices
        sums += np.bincount(places, part.data, sums.size).reshape(shape)
        present += np.bincount(places, part.data != 0, sums.size).reshape(shape)
    return [count_zeros(totals[codes == code], sums[code], present[code]) for code in range(n_batches)]


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
    """(codes (n,), number of batches), in the order of the categories; one batch when `batch` is None."""
    if batch is None:
        return np.zeros(adata.n_obs, dtype=np.int64), 1
    if batch not in adata.obs:
        hint = closest(batch, adata.obs.columns)
        raise FieldError("batch", problem=f"`obs` has no column '{batch}'.", hint=hint)
    codes, levels = pd.factorize(adata.obs[batch], sort=True)
    if (codes < 0).any():
        problem = f"`obs` column '{batch}' misses {int((codes < 0).sum())} values."
        raise FieldError("batch", problem=problem, hint="Fill them, or leave these cells out.")
    return codes.astype(np.int64), len(levels)
