"""Genes that tell groups of cells apart: are they the same in the counts and in replicates of them?

Each group is compared with all other cells, on log(1 + counts per `scale` counts): by Welch's t-test, which needs sums
alone, or by Wilcoxon's rank sum test, which holds one sparse replicate at a time.
"""

from typing import Literal

import numpy as np
import pandas as pd
import scipy.sparse as sp

from latome.analysis.criticism import correlation, replicate
from latome.analysis.decoding import decode
from latome.analysis.groups import cell_groups
from latome.analysis.sweep import ELEMENTS, rows_of, sweep
from latome.backend import torch
from latome.distributions import NormalCounts
from latome.errors import QueryError
from latome.protocol.settings import check_setting

__all__ = ["marker_agreement", "replicated_markers"]


def replicated_markers(module, data, groups, *, method="t-test", n_samples=1, scale=1e4, indices=None,
                       batch_size=None):
    """Markers of each group, in the counts and in replicates of them.

    Arguments
    ---------
    groups : label of the group of each cell of `data`.
    method : "t-test" (Welch's) or "wilcoxon" (normal approximation, corrected for ties).
    n_samples : replicates.
    scale : counts that each cell is scaled to.

    Returns
    -------
    DataFrame, a row a group, gene and replicate: group, gene, sample (0 for the counts themselves, then 1, 2 ...),
    lfc (log2 fold change of the mean scaled counts, 1 added to each), score (of the test), p (adjusted within the
    group by Benjamini and Hochberg), n_cells (of the group).

    Example
    -------
    >>> marker_agreement(replicated_markers(fit.module, data, adata.obs["cell_type"]))
    """
    method = check_setting("method", method, Literal["t-test", "wilcoxon"], {})
    n_samples = check_setting("n_samples", n_samples, int, {"ge": 1})
    scale = check_setting("scale", scale, float, {"gt": 0})
    data.require_counts("A posterior predictive check")
    rows = rows_of(data, indices)
    names, codes = cell_groups(groups, data, rows, field="groups", at_least=2)
    _refuse_other_than_counts(module, data, rows[:1])
    test = _welch if method == "t-test" else _rank_sum
    sizes, tables = np.bincount(codes)[:, None], []                                        # (groups, 1)
    for sample in range(1 + n_samples):
        sums, matrix = _collect(module, data, rows, codes, len(names), scale, sample > 0, method, batch_size)
        score, p = test(sums, sizes, matrix, codes)
        lfc = np.log2(sums[0] / sizes + 1) - np.log2((sums[0].sum(0) - sums[0]) / (len(rows) - sizes) + 1)
        tables += [pd.DataFrame({"group": name, "gene": data.registry.genes, "sample": sample, "lfc": lfc[i],
                                 "score": score[i], "p": _adjusted(p[i]), "n_cells": sizes[i, 0]})
                   for i, name in enumerate(names)]
    return pd.concat(tables, ignore_index=True)


def marker_agreement(table, *, p_threshold=0.001, n_top=100):
    """How well replicates give back the markers, a row a group.

    Arguments
    ---------
    table : of `replicated_markers`.
    p_threshold : adjusted p-value below which a gene is a marker.
    n_top : where no gene is, this many of smallest p-value are.

    Returns
    -------
    DataFrame: group; gene_f1, of the two sets of markers; lfc_mae, lfc_pearson and lfc_spearman, of the fold changes
    of all genes; roc_auc and pr_auc, of the replicate's absolute score as a prediction of the markers in the counts
    (missing where all genes are); n_cells. Means over replicates.
    """
    p_threshold = check_setting("p_threshold", p_threshold, float, {"gt": 0, "lt": 1})
    n_top = check_setting("n_top", n_top, int, {"ge": 1})
    rows = []
    for group, of_group in table.groupby("group", sort=False):
        raw, *replicates = (part for _, part in of_group.groupby("sample"))
        found = pd.DataFrame([_agreement(raw, part, p_threshold, n_top) for part in replicates]).mean()
        rows.append({"group": group, **found, "n_cells": raw["n_cells"].iloc[0]})
    return pd.DataFrame(rows)


def _refuse_other_than_counts(module, data, rows):
    def query(cells):
        if isinstance(decode(module, module.draw(module.posterior(cells), "mean"), cells), NormalCounts):
            raise QueryError("method", problem="The likelihood is normal: replicates are no counts.",
                             hint="Compare coefficients of variation, or the calibration.")
        return {"index": cells["index"]}

    sweep(module, data, query, indices=rows)


def _collect(module, data, rows, codes, n_groups, scale, replicated, method, batch_size):
    """Sums (3, groups, genes) of the scaled counts, their log1p and its square; and the matrix for ranks, if needed."""
    sums = torch.zeros(3, n_groups, data.n_genes, dtype=torch.float64)
    blocks, start = [], 0

    def query(cells):
        nonlocal start
        x = replicate(module, module.posterior(cells), cells) if replicated else cells["x"].dense()
        x = x / x.sum(1, keepdim=True).clamp_min(1) * scale             # (m, g); in this order, equal shares stay tied
        here = torch.from_numpy(codes[start:start + len(x)])
        start += len(x)
        for total, values in zip(sums, (x, x.log1p(), x.log1p().square()), strict=True):
            total.index_add_(0, here, values.double())
        if method == "wilcoxon":
            blocks.append(sp.csr_matrix(x.numpy()))
        return {"index": cells["index"]}

    sweep(module, data, query, indices=rows, batch_size=batch_size)
    return sums.numpy(), sp.vstack(blocks, format="csc") if blocks else None


def _stats():
    import scipy.stats  # here: slow to load, and the comparison of markers alone needs it

    return scipy.stats


def _welch(sums, sizes, matrix, codes):
    """Scores and two-sided p-values (groups, genes) of each group against the rest."""
    rest = sums[1:].sum(1, keepdims=True) - sums[1:]                                       # (2, groups, genes)
    parts = []
    for (total, square), n in ((sums[1:], sizes), (rest, len(codes) - sizes)):
        mean = total / n
        parts += [mean, np.sqrt(np.maximum(square / n - mean**2, 0) * n / (n - 1)), n]
    with np.errstate(divide="ignore", invalid="ignore"):
        score, p = _stats().ttest_ind_from_stats(*parts, equal_var=False)
    return np.nan_to_num(score), np.where(np.isnan(p), 1.0, p)         # a gene constant in both differs not at all


def _rank_sum(sums, sizes, matrix, codes):
    """Scores and two-sided p-values (groups, genes) of each group against the rest."""
    n, g = matrix.shape
    members = (codes == np.arange(len(sizes))[:, None]).astype(np.float64)                 # (groups, n)
    score = np.zeros((len(sizes), g))
    width = max(1, ELEMENTS // (8 * n))
    for first in range(0, g, width):
        values = matrix[:, first:first + width].toarray()                                  # (n, width)
        ranks = _stats().rankdata(values, axis=0)
        spread = np.var(ranks, axis=0) * n / (n - 1)                   # tied ranks vary less: the correction for ties
        with np.errstate(divide="ignore", invalid="ignore"):
            z = (members @ ranks - sizes * (n + 1) / 2) / np.sqrt(sizes * (n - sizes) / n * spread)
        score[:, first:first + width] = np.where(spread > 0, z, 0)
    return score, 2 * _stats().norm.sf(np.abs(score))


def _adjusted(p):
    """p-values (g,) adjusted by Benjamini and Hochberg."""
    order = np.argsort(p)[::-1]
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum.accumulate(p[order] * len(p) / np.arange(len(p), 0, -1))
    return np.minimum(adjusted, 1)


def _agreement(raw, drawn, p_threshold, n_top):
    real, found = (_markers(part, p_threshold, n_top) for part in (raw, drawn))
    lfc_raw, lfc = raw["lfc"].to_numpy(), drawn["lfc"].to_numpy()
    roc, pr = _areas(real, np.abs(drawn["score"].to_numpy()))
    return {"gene_f1": 2 * (real & found).sum() / (real.sum() + found.sum()), "lfc_mae": np.abs(lfc_raw - lfc).mean(),
            "lfc_pearson": correlation(lfc_raw, lfc),
            "lfc_spearman": correlation(_stats().rankdata(lfc_raw), _stats().rankdata(lfc)),
            "roc_auc": roc, "pr_auc": pr}


def _markers(part, p_threshold, n_top):
    """(g,) bool."""
    p = part["p"].to_numpy()
    if (p < p_threshold).any():
        return p < p_threshold
    chosen = np.zeros(len(p), dtype=bool)
    chosen[np.lexsort((-np.abs(part["score"].to_numpy()), p))[:n_top]] = True
    return chosen


def _areas(truth, score):
    """(ROC AUC, average precision) of a score that should be larger where `truth` is; missing where all or none are."""
    positive, n = truth.sum(), len(truth)
    if positive in (0, n):
        return np.nan, np.nan
    roc = (_stats().rankdata(score)[truth].sum() - positive * (positive + 1) / 2) / (positive * (n - positive))
    order = np.argsort(-score, kind="stable")
    last = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))  # of each run of tied scores
    hits = truth[order].cumsum()[last]
    return float(roc), float((np.diff(hits, prepend=0) * hits / (last + 1)).sum() / positive)
