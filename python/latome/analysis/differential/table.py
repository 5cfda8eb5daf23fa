"""The table of a comparison: one row a gene, sorted, with the expected share of false discoveries."""

import numpy as np
import pandas as pd

from latome.analysis.differential.bayes import bayes_factor

__all__ = ["assemble", "false_discovery"]


def assemble(comparison, genes, found, statistics, *, n_samples, fdr_target):
    """The data frame of one comparison, the surest genes first.

    Arguments
    ---------
    comparison : a `Comparison`.
    genes : names of the genes (g,).
    found : {column: (g,) array or number} of the hypotheses.
    statistics : {column: (g,) array} of the counts.
    n_samples : pairs of samples behind each probability. What was seen in all of them is not certain: no probability
        of being wrong is put below 1 / (n_samples + 1).
    fdr_target : share of false discoveries among the genes that `is_de` marks.
    """
    names = {"gene": np.asarray(genes, dtype=object), "group1": comparison.group1, "group2": comparison.group2,
             "comparison": comparison.name}
    table = pd.DataFrame({**names, **found, **statistics})
    if "prob_de" not in found:
        return table.sort_values("bayes_factor", ascending=False, kind="stable", ignore_index=True)
    table["prob_not_de"] = np.maximum(table["prob_not_de"], 1 / (n_samples + 1))
    table["prob_de"] = 1 - table["prob_not_de"]
    table["bayes_factor"] = bayes_factor(table["prob_de"])
    order = np.lexsort((-table["lfc_median"].abs(), table["prob_not_de"]))
    table = table.iloc[order].reset_index(drop=True)
    table["fdr"], table["is_de"] = false_discovery(table["prob_not_de"].to_numpy(), fdr_target)
    return table


def false_discovery(not_de, target):
    """(fdr, is_de), (g,) each, from the posterior probabilities (g,) that a gene is not differentially expressed.

    The fdr of a gene is the mean of these probabilities over it and all genes surer than it: the share of false
    discoveries to expect if the list ended there. `is_de` marks the longest list whose share is at most `target`.
    """
    order = np.argsort(not_de, kind="stable")
    fdr = np.empty(len(order))
    shares = np.cumsum(not_de[order]) / np.arange(1, len(order) + 1)
    fdr[order] = np.maximum.accumulate(shares)         # means of ascending numbers ascend, but for rounding
    return fdr, fdr <= target
