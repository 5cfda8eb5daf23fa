"""Posterior predictive checks: does a model replicate the data it has seen?

Replicates are drawn cell by cell: z ~ q(z | x), then x' ~ p(x | z) under the cell's own batch and library. A statistic
of the counts is compared with that of its replicates, of which one minibatch is in memory at a time.
"""

from typing import Literal

import numpy as np
import pandas as pd

from latome.analysis.decoding import decode
from latome.analysis.sweep import rows_of, sweep
from latome.backend import torch
from latome.errors import QueryError, SettingError
from latome.protocol.settings import check_setting

__all__ = ["agreement", "calibration_error", "coefficient_of_variation", "replicate", "side_by_side", "zero_fraction"]

LEVELS = (0.5, 0.8, 0.9, 0.95)
AXES = {"cells": 0, "features": 1}


def replicate(module, posterior, cells):
    """One replicate (m, g) of a minibatch's counts, given the posterior of its latents."""
    return decode(module, module.draw(posterior, "sample"), cells).sample()


def coefficient_of_variation(module, data, *, dim="cells", n_samples=10, indices=None, batch_size=None):
    """The standard deviation over the mean, of the counts and of replicates of them.

    Arguments
    ---------
    dim : what it is taken over: "cells" gives one a gene, "features" one a cell.
    n_samples : replicates.

    Returns
    -------
    DataFrame, a row a gene or cell: raw, and mean and sd over the replicates. Missing where there are no counts; the
    sd where there is one replicate.

    Example
    -------
    >>> agreement(coefficient_of_variation(fit.module, data))["pearson"]
    """
    return _compare(_variation, module, data, dim, n_samples, indices, batch_size)


def zero_fraction(module, data, *, dim="cells", n_samples=10, indices=None, batch_size=None):
    """The share of zeros among the counts and among replicates of them; see `coefficient_of_variation`."""
    return _compare(_zeros, module, data, dim, n_samples, indices, batch_size)


def calibration_error(module, data, *, dim="cells", levels=LEVELS, n_samples=50, indices=None, batch_size=None):
    """How often counts lie in the central intervals of their predictive distributions, against how often they should.

        u = (#{x' < x} + U (#{x' = x} + 1)) / (S + 1),   U ~ Uniform(0, 1),   inside at level l where |2u - 1| <= l

    Were a count one more replicate, u would be uniform for any number S of replicates and any ties; so coverage
    above the level speaks of predictions too wide, below it of predictions too narrow. The cell's posterior has seen
    the count itself: with few genes for each latent the coverage of a true model lies a little above the level.

    Arguments
    ---------
    dim : what coverage is taken over: "cells" gives one a gene, "features" one a cell.
    levels : of the intervals, between 0 and 1.
    n_samples : replicates, S. A few do, but only many show how wrong narrow predictions are.

    Returns
    -------
    DataFrame, a row a gene (or cell) and level: its name, level, coverage, and error = coverage - level.

    Example
    -------
    >>> calibration_error(fit.module, data).groupby("level")["coverage"].mean()
    """
    axis, n_samples, rows = _checked(data, dim, n_samples, indices)
    levels = _checked_levels(levels)
    inside = torch.zeros(len(levels), data.n_genes, dtype=torch.float64)

    def query(cells):
        distance = _distance_from_median(module, cells, n_samples)      # (m, g)
        covered = torch.stack([(distance <= level).sum(axis, dtype=torch.float64) for level in levels])
        if axis == 0:
            inside.add_(covered)
            return {"index": cells["index"]}
        return {"covered": covered.T}

    found = sweep(module, data, query, indices=rows, batch_size=batch_size)
    coverage = inside.numpy().T / len(rows) if axis == 0 else found["covered"] / data.n_genes      # (f, levels)
    table = pd.DataFrame({"level": np.tile(levels, len(coverage)), "coverage": coverage.ravel()})
    table.insert(0, "gene" if axis == 0 else "cell", np.repeat(_names(data, rows, axis), len(levels)))
    return table.assign(error=table["coverage"] - table["level"])


def agreement(table):
    """{"mae", "mse", "pearson", "spearman", "r2"}: how well the column `mean` of a check predicts its `raw`.

    r2 is 1 - residual / total sum of squares: negative where the mean of the raw values would predict better. Rows
    with a missing value do not count.
    """
    raw, predicted = table[["raw", "mean"]].dropna().to_numpy(dtype=np.float64).T
    if not len(raw):
        return dict.fromkeys(("mae", "mse", "pearson", "spearman", "r2"), np.nan)
    error, total = predicted - raw, np.square(raw - raw.mean()).sum()
    return {"mae": float(np.abs(error).mean()), "mse": float(np.square(error).mean()),
            "pearson": correlation(raw, predicted),
            "spearman": correlation(*(pd.Series(values).rank().to_numpy() for values in (raw, predicted))),
            "r2": float(1 - np.square(error).sum() / total) if total > 0 else np.nan}


def correlation(a, b):
    """Pearson's correlation of two vectors; missing where one of them is constant."""
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return np.nan
    return float(np.corrcoef(a, b)[0, 1])


def side_by_side(tables):
    """(values, summary) of the same check of several models.

    Arguments
    ---------
    tables : {name of the model: table of `coefficient_of_variation` or `zero_fraction`}.

    Returns
    -------
    values : DataFrame, a row a gene or cell: the predicted mean of each model, and "Raw".
    summary : DataFrame, a row a model: its `agreement`.
    """
    (of, first), *_ = tables.items()
    values = {}
    for name, table in tables.items():
        if set(table.index) != set(first.index):
            raise QueryError("models", problem=f"Model '{name}' is about other genes or cells than '{of}'.",
                             hint="Compare models of the same genes, on the same cells.")
        if not table.index.equals(first.index):
            table = table.loc[first.index]
        if not np.allclose(table["raw"], first["raw"], equal_nan=True):
            raise QueryError("models", problem=f"Model '{name}' is about other counts than '{of}'.",
                             hint="Open the same layer for each.")
        values[name] = table["mean"]
    return pd.DataFrame(values).assign(Raw=first["raw"]), pd.DataFrame({n: agreement(t) for n, t in tables.items()}).T


def _checked(data, dim, n_samples, indices):
    """(axis, n_samples, rows) of the arguments that all checks share."""
    dim = check_setting("dim", dim, Literal["cells", "features"], {})
    n_samples = check_setting("n_samples", n_samples, int, {"ge": 1})
    data.require_counts("A posterior predictive check")
    return AXES[dim], n_samples, rows_of(data, indices)


def _checked_levels(levels):
    levels = np.unique([check_setting("levels", level, float, {"gt": 0, "lt": 1}) for level in np.atleast_1d(levels)])
    if not levels.size:
        raise SettingError("levels", problem="`levels` names no interval.", hint="Give numbers between 0 and 1.")
    return levels


def _names(data, rows, axis):
    return np.array(data.registry.genes if axis == 0 else [data.cells[row] for row in rows], dtype=object)


def _compare(statistic, module, data, dim, n_samples, indices, batch_size):
    axis, n_samples, rows = _checked(data, dim, n_samples, indices)
    moments = torch.zeros(1 + n_samples, 3, data.n_genes, dtype=torch.float64)

    def query(cells):
        posterior = module.posterior(cells)
        found = [_moments(cells["x"].dense(), axis)]
        found += [_moments(replicate(module, posterior, cells), axis) for _ in range(n_samples)]
        found = torch.stack(found)                                      # (1 + s, 3, g) over cells, (1 + s, 3, m) else
        if axis == 0:
            moments.add_(found)
            return {"index": cells["index"]}
        return {"value": statistic(found, data.n_genes).T}

    found = sweep(module, data, query, indices=rows, batch_size=batch_size)
    values = statistic(moments, len(rows)).numpy() if axis == 0 else found["value"].T                # (1 + s, f)
    predicted = pd.DataFrame(values[1:])
    index = pd.Index(_names(data, rows, axis), name="gene" if axis == 0 else "cell")
    return pd.DataFrame({"raw": values[0], "mean": predicted.mean().to_numpy(), "sd": predicted.std().to_numpy()},
                        index=index)


def _moments(x, axis):
    """(3, f) float64: the sum, the sum of squares and the number of zeros."""
    square = x.square().sum(axis, dtype=torch.float64)
    return torch.stack([x.sum(axis, dtype=torch.float64), square, (x == 0).sum(axis, dtype=torch.float64)])


def _variation(moments, n):
    mean = moments[:, 0] / n
    variance = (moments[:, 1] / n - mean.square()).clamp_min(0)
    return variance.sqrt() / torch.where(mean == 0, torch.nan, mean)


def _zeros(moments, n):
    return moments[:, 2] / n


def _distance_from_median(module, cells, n_samples):
    """(m, g): |2u - 1| of each count, uniform between 0 and 1 under the model."""
    x, posterior = cells["x"].dense(), module.posterior(cells)
    below, ties = torch.zeros_like(x), torch.ones_like(x)
    for _ in range(n_samples):
        drawn = replicate(module, posterior, cells)
        below += drawn < x
        ties += drawn == x
    return torch.addcmul(below, torch.rand_like(x), ties).mul_(2 / (n_samples + 1)).sub_(1).abs_()
