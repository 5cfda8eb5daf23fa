"""A mixture of normal distributions in one dimension, fitted by expectation and maximisation."""

import numpy as np

from latome.errors import SettingError

__all__ = ["mixture_means"]

TOLERANCE = 1e-3                                       # of the mean log-likelihood, between two iterations
ITERATIONS = 100
SMALLEST_VARIANCE = 1e-6


def mixture_means(values, n_components=3):
    """(n_components,) ascending means of the components of a mixture of normals fitted to `values` (n,).

    It starts from the n_components clusters of k-means and holds no random numbers: the same values, the same means.
    Raises SettingError where there are fewer values than components.
    """
    values = np.asarray(values, dtype=np.float64).ravel()
    if values.size < n_components:
        raise SettingError("delta", problem=f"delta cannot be estimated from {values.size} genes.",
                           hint="Give it, as in delta=0.25.")
    member = np.eye(n_components)[_clusters(values, n_components)]                     # (n, k)
    before = -np.inf
    for _ in range(ITERATIONS):
        weight = member.sum(0) + 10 * np.finfo(np.float64).eps
        mean = member.T @ values / weight
        variance = (member * (values[:, None] - mean) ** 2).sum(0) / weight + SMALLEST_VARIANCE
        log_joint = np.log(weight / values.size) - 0.5 * (
            np.log(2 * np.pi * variance) + (values[:, None] - mean) ** 2 / variance)   # (n, k)
        log_density = np.logaddexp.reduce(log_joint, axis=1)
        member = np.exp(log_joint - log_density[:, None])
        if abs(log_density.mean() - before) < TOLERANCE:
            break
        before = log_density.mean()
    return np.sort(mean)


def _clusters(values, k):
    """(n,) cluster of each value: k-means, begun at k quantiles."""
    centres = np.quantile(values, (np.arange(k) + 0.5) / k)
    label = None
    for _ in range(ITERATIONS):
        nearest = np.abs(values[:, None] - centres).argmin(1)
        if label is not None and (nearest == label).all():
            break
        label = nearest
        centres = np.array([values[label == j].mean() if (label == j).any() else centres[j] for j in range(k)])
    return label
