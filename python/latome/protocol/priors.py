"""Priors that several models share."""

import numpy as np

from latome.backend import torch
from latome.distributions import StandardNormal

__all__ = ["library_moments", "standard_normal"]


def standard_normal(z):
    """Normal(0, I) over latents of z's width and type."""
    return StandardNormal(z)


def library_moments(totals, batch, n_batch):
    """Mean and population variance of the log total count in each batch: (b,) float32 each.

    Arguments
    ---------
    totals : (n,) total counts of the cells.
    batch : (n,) codes.
    n_batch : b.
    """
    log_totals = np.log(totals)
    means, variances = np.zeros(n_batch, np.float32), np.ones(n_batch, np.float32)
    for code in range(n_batch):
        values = log_totals[batch == code]
        if values.size:
            means[code] = values.mean()
            # a batch of equal totals has no spread: keep the prior proper
            variances[code] = max(values.var(), 1e-6)
    return torch.from_numpy(means), torch.from_numpy(variances)
