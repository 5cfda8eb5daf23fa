"""How well a latent keeps cell types apart and batches together. numpy and scipy alone; higher is better throughout.

    ARI, NMI          k-means with as many clusters as labels (best of 20 starts) against the labels
    k-NN accuracy     label = majority of the 15 nearest cells of the other folds, 5 stratified folds
    batch mixing      1 - sum_i KL(q_i || p_i) / sum_i H(p_i) over all cells i, where q_i are the shares of the batches
                      among the 30 nearest cells of the same label, p_i their shares in that label: 0 when every cell
                      has only its own batch around it, near 1 when the batches lie at random within each label
"""

import warnings

import numpy as np
from scipy.cluster.vq import kmeans2
from scipy.spatial import cKDTree

__all__ = ["MEASURES", "adjusted_rand", "batch_mixing", "clusters", "compare", "knn_accuracy", "measure",
           "mutual_information"]

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
