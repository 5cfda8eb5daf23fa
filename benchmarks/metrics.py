"""How well a latent keeps cell types apart and batches together. numpy and scipy alone; higher is better throughout.

    ARI, NMI          k-means with as many clusters as labels (best of 20 starts) against the labels
    k-NN accuracy     label = majority of the 15 nearest cells of the other folds, 5 stratified folds
    batch mixing      1 - sum_i KL(q_i || p_i) / sum_i H(p_i) over all cells i, where q_i are the shares of the batches
                      among the 30 nearest cells of the same label, p_i their shares in that label: 0 when every cell
                      has only its own batch around it, near 1 when the batches lie at random within each label

Beside these: how well scores find what is true (area under the ROC curve, average precision), labels predicted with
probabilities (macro F1, expected calibration error), and Geary's C of values over the neighbours in a latent.
"""

import warnings

import numpy as np
from scipy.cluster.vq import kmeans2
from scipy.spatial import cKDTree
from scipy.stats import rankdata

__all__ = ["MEASURES", "adjusted_rand", "area_under_roc", "average_precision", "batch_mixing", "calibration_error",
           "clusters", "compare", "geary", "knn_accuracy", "macro_f1", "measure", "mutual_information", "neighbours_of",
           "precision_recall", "reliability"]

MEASURES = {"ARI": "k-means, k = labels, best of 20", "NMI": "the same clusters, arithmetic mean of the entropies",
            "k-NN accuracy": "15 neighbours, 5 folds", "batch mixing": "30 neighbours within labels"}


def measure(z, labels, batches):
    """{name: value} of every measure.

    Arguments
    ---------
    z : (n, k) latent.
    labels, batches : (n,) of any kind, no missing values.
    """
    z = np.ascontiguousarray(z, dtype=np.float64)
    labels, batches = (np.unique(np.asarray(values), return_inverse=True)[1] for values in (labels, batches))
    found = clusters(z, labels.max() + 1)
    values = (adjusted_rand(labels, found), mutual_information(labels, found), knn_accuracy(z, labels),
              batch_mixing(z, labels, batches))
    return dict(zip(MEASURES, map(float, values), strict=True))


def clusters(z, k, starts=20, iterations=100, seed=0):
    """k-means: the clusters, (n,) codes, of the start with the least sum of squares."""
    generator = np.random.default_rng(seed)
    best, least = None, np.inf
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)                   # a cluster runs empty: other starts are tighter
        for _ in range(starts):
            centres, codes = kmeans2(z, k, iter=iterations, minit="++", seed=generator)
            squares = ((z - centres[codes]) ** 2).sum()
            if squares < least:
                best, least = codes, squares
    return best


def contingency(a, b):
    """Number of cells of each pair of codes, (codes of a, codes of b) float64."""
    table = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(table, (a, b), 1.0)
    return table


def adjusted_rand(a, b):
    """Adjusted Rand index of two partitions, (n,) codes from 0 each: 1 when equal, 0 on average by chance."""
    table = contingency(a, b)

    def pairs(count):
        return (count * (count - 1) / 2).sum()

    both, of_a, of_b = pairs(table), pairs(table.sum(1)), pairs(table.sum(0))
    chance, most = of_a * of_b / pairs(table.sum()), (of_a + of_b) / 2
    return 1.0 if most == chance else (both - chance) / (most - chance)


def entropy(p):
    """Entropy over the last axis, in nats; 0 log 0 is 0."""
    return -(p * np.log(np.where(p > 0, p, 1.0))).sum(-1)


def mutual_information(a, b):
    """Mutual information of two partitions divided by the mean of their entropies, 0 to 1."""
    p = contingency(a, b) / len(a)
    of_a, of_b = entropy(p.sum(1)), entropy(p.sum(0))
    return 1.0 if of_a + of_b == 0 else 2 * (of_a + of_b - entropy(p.ravel())) / (of_a + of_b)


def folds(labels, n_folds, seed=0):
    """A fold for each cell, (n,): every label is spread over the folds as evenly as can be."""
    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]            # label by label, at random within
    fold = np.empty(len(labels), dtype=np.int64)
    fold[order] = np.arange(len(labels)) % n_folds
    return fold


def knn_accuracy(z, labels, neighbours=15, n_folds=5):
    """Share of cells whose nearest cells of the other folds are mostly of their label; ties go to the lower code."""
    fold, right = folds(labels, n_folds), 0
    for f in range(n_folds):
        known, asked = np.flatnonzero(fold != f), np.flatnonzero(fold == f)
        nearest = cKDTree(z[known]).query(z[asked], neighbours)[1]                       # (asked, neighbours)
        votes = (labels[known][nearest][:, :, None] == np.arange(labels.max() + 1)).sum(1)   # (asked, labels)
        right += (votes.argmax(1) == labels[asked]).sum()
    return right / len(labels)


def batch_mixing(z, labels, batches, neighbours=30):
    """Mixing of the batches within labels, as written above; NaN when no label occurs in two batches.

    A label of fewer cells than neighbours + 1 uses all its other cells.
    """
    divergence = possible = 0.0
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        p = np.bincount(batches[rows], minlength=batches.max() + 1) / len(rows)          # (batches,)
        if entropy(p) == 0:
            continue
        nearest = cKDTree(z[rows]).query(z[rows], min(neighbours + 1, len(rows)))[1][:, 1:]  # without the cell itself
        q = (batches[rows][nearest][:, :, None] == np.arange(len(p))).mean(1)            # (rows, batches)
        divergence += (-entropy(q) - q @ np.log(np.where(p > 0, p, 1.0))).sum()
        possible += len(rows) * entropy(p)
    return 1 - divergence / possible if possible else np.nan


def compare(ours, theirs, least=0.01):
    """Whether `ours` is not worse: mean(ours) >= mean(theirs) - max(least, 2 standard errors of the difference).

    Arguments
    ---------
    ours, theirs : values of the seeds, higher is better. With a single seed on a side its error counts as 0.

    Returns
    -------
    {"ours", "theirs": mean, "difference", "error": its standard error, "margin", "not_worse": bool}.
    """
    error = np.sqrt(sum(np.var(values, ddof=1) / len(values) for values in (ours, theirs) if len(values) > 1))
    difference, margin = np.mean(ours) - np.mean(theirs), max(least, 2 * error)
    return {"ours": float(np.mean(ours)), "theirs": float(np.mean(theirs)), "difference": float(difference),
            "error": float(error), "margin": float(margin), "not_worse": bool(difference >= -margin)}


def area_under_roc(scores, truth):
    """Chance that a true one scores higher than another one, ties counted by half.

    Arguments
    ---------
    scores : (n,).   truth : (n,) bool, both kinds there.
    """
    true = int(truth.sum())
    return float((rankdata(scores)[truth].sum() - true * (true + 1) / 2) / (true * (len(truth) - true)))


def precision_recall(scores, truth):
    """(recall, precision) when all above each threshold are called, highest threshold first; ties are called at once.

    Arguments
    ---------
    scores : (n,).   truth : (n,) bool, any of them true.
    """
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)            # of each tied run
    hits = np.cumsum(truth[order])[last]
    return hits / truth.sum(), hits / (last + 1)


def average_precision(scores, truth):
    """Sum over thresholds of the precision times the recall gained there: no interpolation."""
    recall, precision = precision_recall(scores, truth)
    return float((np.diff(recall, prepend=0.0) * precision).sum())


def macro_f1(truth, predicted):
    """Mean over the labels that truly occur of 2 hits / (times it is true + times it is predicted).

    Arguments
    ---------
    truth, predicted : (n,) of the same kind.
    """
    pairs = [(truth == label, predicted == label) for label in np.unique(truth)]
    return float(np.mean([2 * (is_it & called).sum() / (is_it.sum() + called.sum()) for is_it, called in pairs]))


def reliability(confidence, right, bins=15):
    """(share of the cells, mean confidence, share that are right) of equal bins of confidence, each (bins,).

    A bin holds its upper end; NaN where there is no cell.
    """
    held = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    counts = np.bincount(held, minlength=bins).astype(float)
    with np.errstate(invalid="ignore"):
        return (counts / len(held), np.bincount(held, confidence, bins) / counts,
                np.bincount(held, right.astype(float), bins) / counts)


def calibration_error(confidence, right, bins=15):
    """Expected calibration error: mean over the cells of |confidence - share right| of their bin; 0 is best."""
    share, sure, hit = reliability(confidence, right, bins)
    there = share > 0
    return float((share[there] * np.abs(sure - hit)[there]).sum())


def neighbours_of(z, k=30):
    """The k nearest other cells of each in a latent (n, d), (n, k)."""
    nearest = cKDTree(z).query(z, k + 1)[1]
    own = nearest == np.arange(len(z))[:, None]
    own[~own.any(1), -1] = True                                        # equal cells may crowd out the cell itself
    return nearest[~own].reshape(len(z), k)


def geary(values, nearest):
    """Geary's C of each column over directed neighbours of weight 1: about 1 for values at random, near 0 for smooth.

        C = (n - 1) / (2 W) * sum_ij w_ij (x_i - x_j)^2 / sum_i (x_i - mean)^2,   W = sum_ij w_ij

    Arguments
    ---------
    values : (n, g) float.   nearest : (n, k) rows of the neighbours.

    Returns
    -------
    (g,) float64; NaN where a column is constant.
    """
    values = np.asarray(values, dtype=np.float64)
    apart = sum(((values - values[nearest[:, j]]) ** 2).sum(0) for j in range(nearest.shape[1]))         # (g,)
    spread = ((values - values.mean(0)) ** 2).sum(0)
    with np.errstate(invalid="ignore"):
        return (len(values) - 1) / (2 * nearest.size) * apart / spread
