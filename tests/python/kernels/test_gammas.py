"""Ratios of gamma functions against exact arithmetic."""

import numpy as np
import pytest

from latome.backend import torch
from latome.kernels.gammas import wide_gamma_ratios


def exact(x, theta):
    """lgamma(x + theta) - lgamma(theta) and its derivative for whole x, as sums of x terms."""
    steps = theta + np.arange(int(x), dtype=np.longdouble)
    return np.log(steps).sum(), (1 / steps).sum()


@pytest.mark.parametrize("theta", [1e-8, 1e-3, 0.5, 3.0, 15.9, 16.0, 100.0, 1e4, 1e8, 1e12, 1e15])
def test_ratios_keep_their_precision_however_large_theta_is(theta):
    x = np.array([1, 2, 5, 15, 17, 60, 1000, 20000])
    gammas, digammas = wide_gamma_ratios(torch.tensor(x), torch.full((8,), theta, dtype=torch.float64))
    truth = np.array([exact(value, np.longdouble(theta)) for value in x], dtype=np.float64)
    np.testing.assert_allclose(gammas, truth[:, 0], rtol=1e-12)
    np.testing.assert_allclose(digammas, truth[:, 1], rtol=1e-12)


def test_fractions_agree_with_the_plain_functions():
    x = torch.tensor([0.25, 1.5, 7.75, 90.5], dtype=torch.float64)
    theta = torch.tensor([0.3, 2.0, 30.0, 5.0], dtype=torch.float64)
    gammas, digammas = wide_gamma_ratios(x, theta)
    torch.testing.assert_close(gammas, torch.lgamma(x + theta) - torch.lgamma(theta), rtol=1e-12, atol=0)
    torch.testing.assert_close(digammas, torch.digamma(x + theta) - torch.digamma(theta), rtol=1e-12, atol=0)


def test_thetas_of_genes_are_looked_up():
    theta, genes = torch.tensor([0.5, 40.0, 3.0]), torch.tensor([2, 0, 1, 1])
    x = torch.tensor([20.0, 3.0, 17.0, 1.0])
    for one, other in zip(wide_gamma_ratios(x, theta, genes), wide_gamma_ratios(x, theta[genes]), strict=True):
        assert torch.equal(one, other)
