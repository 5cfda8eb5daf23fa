"""Where cells lie in the latent space: the mixture of their posteriors, and how it differs between samples.

    p_S(z) = 1/|S| sum_{i in S} q_i(z),   q_i = Normal or Student's t at the posterior mean of cell i,
                                          its scale the posterior standard deviation
"""

import math

import numpy as np
import pandas as pd

from latome.analysis.groups import cell_groups
from latome.analysis.latent import latent_moments
from latome.analysis.sweep import rows_of
from latome.backend import torch
from latome.errors import QueryError
from latome.protocol.settings import check_setting

__all__ = ["aggregated_posterior", "differential_abundance"]

TILE = 1 << 16                                         # pairs of cells held at a time: 512 kB of float64, some arrays
TOGETHER = 16                                          # latents whose factors are multiplied before the logarithm


def aggregated_posterior(module, data, *, indices=None, dof=3, batch_size=None):
    """The mixture of the posteriors of cells, as a torch distribution over z (k,).

    Arguments
    ---------
    dof : degrees of freedom of Student's t, whose tails reach between cells; None for the normal posteriors
        themselves. The scale is the posterior standard deviation in both.

    Of a logistic-normal latent it is the mixture over the normal variable, before the softmax.

    Example
    -------
    >>> aggregated_posterior(fit.module, data).log_prob(torch.zeros(10))
    """
    dof = _checked_dof(dof)
    mean, variance = latent_moments(module, data, indices=indices, batch_size=batch_size)
    mean, sd = torch.from_numpy(mean), torch.from_numpy(variance).sqrt()                    # (n, k)
    cell = torch.distributions.Normal(mean, sd) if dof is None else torch.distributions.StudentT(dof, mean, sd)
    weights = torch.distributions.Categorical(logits=torch.zeros(len(mean)))
    return torch.distributions.MixtureSameFamily(weights, torch.distributions.Independent(cell, 1))


def differential_abundance(module, data, samples, *, num_cells_posterior=None, dof=None, leave_one_out=False,
                           indices=None, batch_size=None):
    """Log-density of each cell's posterior mean under the aggregated posterior of each sample.

    Where a sample's column exceeds another's, its cells are more abundant around that cell.

    Arguments
    ---------
    samples : label of the sample of each cell of `data`.
    num_cells_posterior : cells of each sample, drawn at random, that make its mixture; None for all.
    dof : degrees of freedom of Student's t, None for normal; see `aggregated_posterior`.
    leave_one_out : leave a cell's own posterior out of the mixture of its sample. Otherwise it raises the density of
        the cell's own sample, the more the narrower the posteriors and the fewer the cells.

    Returns
    -------
    DataFrame of float64, cells x samples, in nats. Its mixtures are never held whole.

    Example
    -------
    >>> found = differential_abundance(fit.module, data, adata.obs["patient"])
    >>> found["treated"] - found["control"]
    """
    dof = _checked_dof(dof)
    drawn = check_setting("num_cells_posterior", num_cells_posterior, int | None, {"ge": 1})
    leave_one_out = check_setting("leave_one_out", leave_one_out, bool, {})
    rows = rows_of(data, indices)
    if len(np.unique(rows)) < len(rows):
        raise QueryError("indices", problem="`indices` names cells more than once.", hint="Name each cell once.")
    fewest = 2 if leave_one_out else 1
    names, codes = cell_groups(samples, data, rows, field="samples", at_least=fewest)
    if drawn is not None and drawn < fewest:
        raise QueryError("num_cells_posterior", problem="One cell a sample leaves none when its own is left out.",
                         hint="Draw more, or set leave_one_out = False.")
    mean, variance = latent_moments(module, data, indices=rows, batch_size=batch_size)
    mean, variance = torch.from_numpy(mean).double(), torch.from_numpy(variance).double()   # (n, k)
    found = {}
    for code, name in enumerate(names):
        members = torch.from_numpy(np.flatnonzero(codes == code))
        if drawn is not None and drawn < len(members):
            members = members[torch.randperm(len(members))[:drawn]].sort().values
        own = members if leave_one_out else None
        found[name] = _mixture_log_prob(mean, mean[members], variance[members], dof, own).numpy()
    return pd.DataFrame(found, index=pd.Index([data.cells[row] for row in rows]))


def _checked_dof(dof):
    return check_setting("dof", dof, float | None, {"gt": 0})


def _mixture_log_prob(z, mean, variance, dof, own=None):
    """(n,) log-densities of points z (n, k) under an even mixture of cells (c, k), in tiles of points x cells.

    `own` (c,) are the points that the cells stand at, each left out of the mixture at its own point.
    """
    log_density = _normal if dof is None else _student
    width = min(len(mean), 1024)
    height = max(1, TILE // width)
    total = torch.full((len(z),), -math.inf, dtype=z.dtype)
    for top in range(0, len(z), height):
        part = slice(top, top + height)
        for left in range(0, len(mean), width):
            cells = slice(left, left + width)
            tile = log_density(z[part], mean[cells], variance[cells], dof)                  # (points, cells)
            if own is not None:
                point = own[cells] - top
                here = ((point >= 0) & (point < tile.shape[0])).nonzero().squeeze(1)
                tile[point[here], here] = -math.inf
            total[part] = torch.logaddexp(total[part], tile.logsumexp(1))
    size = torch.full((len(z),), float(len(mean)), dtype=z.dtype)
    if own is not None:
        size[own] -= 1
    return total - size.log()


def _normal(z, mean, variance, dof):
    """(points, cells): log-densities of normals, their squared distances by a matrix product."""
    centre = mean.mean(0)                              # distances do not change; what cancels is small
    z, mean = z - centre, mean - centre
    weight = variance.reciprocal()                                                          # (c, k)
    constant = (mean.square() * weight + variance.log() + math.log(2 * math.pi)).sum(1)     # (c,)
    square = torch.addmm(constant, z.square(), weight.T)
    return square.addmm_(z, (mean * weight).T, alpha=-2).mul_(-0.5)


def _student(z, mean, variance, dof):
    """(points, cells): log-densities of independent Student's t in each latent, one logarithm for several latents."""
    k = z.shape[1]
    constant = math.lgamma((dof + 1) / 2) - math.lgamma(dof / 2) - 0.5 * math.log(dof * math.pi)
    precision = (variance * dof).reciprocal().sqrt()                                        # (c, k)
    logs = None
    for first in range(0, k, TOGETHER):
        product = None
        for i in range(first, min(first + TOGETHER, k)):
            factor = (z[:, i, None] - mean[:, i]).mul_(precision[:, i]).square_().add_(1)
            product = factor if product is None else product.mul_(factor)
        logs = product.log_() if logs is None else logs.add_(product.log_())
    return logs.mul_(-(dof + 1) / 2).add_(k * constant - 0.5 * variance.log().sum(1))
