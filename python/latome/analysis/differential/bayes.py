"""Two hypotheses for each gene, from samples of its expression in two sets of cells.

A sample is the expression fraction rho of a random cell of the set, decoded from a draw of that cell's posterior; so
samples spread for two reasons: what is not known about each cell, and how cells of one set differ. Row i of one set is
paired with row i of the other, and every probability below is a share of such pairs. The functions know nothing of
models: they take arrays (s, g) of s samples and g genes, and are fastest where those of a gene lie side by side.
"""

import numpy as np

from latome.analysis.differential.mixture import mixture_means
from latome.kernels.changes import compiled_changes

__all__ = ["bayes_factor", "change", "delta_of", "highest_density", "log_fold_change", "pseudocounts_of", "vanilla"]

EPS = 1e-8                                             # keeps log odds finite
SUMMARY_SHARE = 1e-3                                   # of the pseudocount, in what describes the change
SMALLEST_PSEUDOCOUNT = 1e-10
SMALLEST_DELTA = 0.1


def bayes_factor(probability):
    """Log odds of a probability, of either sign, finite at 0 and 1."""
    return np.log(probability + EPS) - np.log(1 - probability + EPS)


def vanilla(first, second):
    """Which of two sets expresses a gene more.

    Returns {"prob_m1", "prob_m2", "bayes_factor", "scale1", "scale2"}, (g,) each: the share of pairs in which the
    first is larger, its complement, its log odds, and the mean samples.
    """
    prob = (first > second).mean(0)
    return {"prob_m1": prob, "prob_m2": 1 - prob, "bayes_factor": bayes_factor(prob), **_scales(first, second)}


def change(first, second, *, delta, pseudocounts, test_mode="three", levels=(), change_fn=None, m1_domain_fn=None):
    """Whether a gene's expression changes by more than a threshold, and by how much.

    Arguments
    ---------
    first, second : (s, g) samples.
    delta : the smallest change that counts, in units of `change_fn`.
    pseudocounts : added to both samples before their ratio is taken: differences far below it do not count.
    test_mode : "three" takes the likelier of the two directions, "two" their sum. A gene that varies within the sets
        and is the same between them has as many pairs up as down: "two" calls it changed, "three" does not.
    levels : of the credible intervals, in (0, 1).
    change_fn : function of (first, second, pseudocounts) in place of `log_fold_change`.
    m1_domain_fn : function of the changes (s, g) that returns two arrays of bool, changed upward and downward, in
        place of a threshold at `delta`.

    Returns a dict of (g,) arrays: prob_de, prob_not_de, bayes_factor, scale1, scale2, lfc_mean, lfc_median, lfc_sd,
    lfc_min, lfc_max, and lfc_low_<level>, lfc_high_<level>, the shortest interval with that share of the changes.
    What describes the change takes a thousandth of the pseudocount, so that it is not shrunk.
    """
    asked = {"delta": delta, "pseudocounts": pseudocounts, "levels": levels}
    found = None if change_fn or m1_domain_fn else _compiled(first, second, **asked)
    up, down, described = found or _measured(first, second, change_fn or log_fold_change, m1_domain_fn, **asked)
    prob = np.maximum(up, down) if test_mode == "three" else up + down
    return {"prob_de": prob, "prob_not_de": 1 - prob, "bayes_factor": bayes_factor(prob), **described}


def _compiled(first, second, delta, pseudocounts, levels):
    """As `_measured`, of float32 samples that lie gene by gene in memory; None of others, or without the kernel."""
    tiny, n = np.finfo(np.float32).tiny, len(first)
    widths = [_width(level, n) for level in levels]
    found = compiled_changes(first.T, second.T, shift=max(pseudocounts, tiny), threshold=delta, widths=widths,
                             small_shift=max(SUMMARY_SHARE * pseudocounts, tiny))
    if found is None:
        return None
    described = {"scale1": found["first"], "scale2": found["second"]}
    described |= {f"lfc_{name}": found[name] for name in ("mean", "median", "sd", "min", "max")}
    for level, width in zip(levels, widths, strict=True):
        described |= {f"lfc_{end}_{level}": found[end, width] for end in ("low", "high")}
    return found["up"], found["down"], described


def _measured(first, second, measure, m1_domain_fn, delta, pseudocounts, levels):
    """Shares of the pairs that changed upward and downward (g,), and {column: (g,)} of what describes the change."""
    changes = measure(first, second, pseudocounts)                      # (s, g)
    up, down = m1_domain_fn(changes) if m1_domain_fn else (changes >= delta, changes < -delta)
    described = _scales(first, second) | _describe(measure(first, second, SUMMARY_SHARE * pseudocounts), levels)
    return np.asarray(up).mean(0), np.asarray(down).mean(0), described


def log_fold_change(first, second, pseudocounts):
    """log2 of the ratio of two arrays of samples, the pseudocount added to each: positive is up in the first."""
    ratio = first + first.dtype.type(max(pseudocounts, np.finfo(first.dtype).tiny))
    ratio /= second + second.dtype.type(max(pseudocounts, np.finfo(second.dtype).tiny))
    return np.log2(ratio, out=ratio)


def pseudocounts_of(maxima, means, threshold_counts):
    """A pseudocount from the genes that are hardly seen in either of two sets: what the model imagines of them.

    Arguments
    ---------
    maxima : two arrays (g,), the largest sample of each gene in each set.
    means : two arrays (g,), the mean count of each gene in each set.
    threshold_counts : genes of a smaller mean count are hardly seen.

    Returns the larger of the two sets' 0.9 quantiles over such genes, divided by the number of genes.
    """
    found = [SMALLEST_PSEUDOCOUNT]
    for largest, mean in zip(maxima, means, strict=True):
        unseen = mean < threshold_counts
        if unseen.any():
            found.append(np.quantile(np.asarray(largest, dtype=np.float64)[unseen], 0.9) / len(mean))
    return float(max(found))


def delta_of(changes):
    """A threshold from the mean changes (g,) of all genes: 0.6 times how far, on average, the outer two of three
    components of a normal mixture lie from zero; at least 0.1."""
    lowest, _, highest = mixture_means(changes)
    return max(SMALLEST_DELTA, 0.6 * (abs(lowest) + abs(highest)) / 2)


def highest_density(ascending, level):
    """(low, high), (g,) each: the shortest interval with a share `level` of samples (g, s) sorted along each row."""
    n = ascending.shape[1]
    width = _width(level, n)
    start = (ascending[:, width:] - ascending[:, : n - width]).argmin(1)
    gene = np.arange(len(ascending))
    return ascending[gene, start], ascending[gene, start + width]


def _width(level, n):
    """Steps between the ends of an interval with a share `level` of n samples."""
    return min(int(level * n), n - 1)


def _scales(first, second):
    return {"scale1": first.mean(0, dtype=np.float64), "scale2": second.mean(0, dtype=np.float64)}


def _describe(changes, levels):
    """Mean, median, deviation, extremes and credible intervals of changes (s, g)."""
    ascending = np.sort(changes.T, axis=1)                              # (g, s)
    n = ascending.shape[1]
    middle = ascending[:, (n - 1) // 2].astype(np.float64) + ascending[:, n // 2]
    described = {"lfc_mean": changes.mean(0, dtype=np.float64), "lfc_median": middle / 2, "lfc_sd": ascending.std(1),
                 "lfc_min": ascending[:, 0].copy(), "lfc_max": ascending[:, -1].copy()}   # nothing else is kept
    for level in levels:
        low, high = highest_density(ascending, level)
        described |= {f"lfc_low_{level}": low, f"lfc_high_{level}": high}
    return described
