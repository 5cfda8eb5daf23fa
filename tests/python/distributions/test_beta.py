"""The Beta distribution against scipy, its divergence against quadrature, and its draws where floats end."""

import itertools

import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats as st

from latome.backend import torch
from latome.distributions import Beta

PAIRS = [(0.5, 0.5), (0.03, 0.9), (0.98, 0.02), (0.3, 0.3), (2.5, 4.0)]


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(("alpha", "beta"), PAIRS)
@pytest.mark.parametrize("prior", [(0.5, 0.5), (0.2, 0.9)])
def test_divergence(alpha, beta, prior):
    (c, d), log_beta = prior, scipy.special.betaln

    def integrand(u):                                  # over logits there are no poles
        left, right = -np.logaddexp(0, -u), -np.logaddexp(0, u)         # log x, log (1 - x)
        change = log_beta(c, d) - log_beta(alpha, beta) + (alpha - c) * left + (beta - d) * right
        return np.exp(alpha * left + beta * right - log_beta(alpha, beta)) * change

    ends = [-2500, -100, -10, 0, 10, 100, 2500]
    expected = sum(scipy.integrate.quad(integrand, *pair, limit=200)[0] for pair in itertools.pairwise(ends))
    found = Beta(double(alpha), double(beta)).kl(Beta(double(prior[0]), double(prior[1])))
    np.testing.assert_allclose(found, [expected], rtol=1e-6, atol=1e-9)
    same = torch.distributions.kl_divergence(torch.distributions.Beta(double(alpha), double(beta)),
                                             torch.distributions.Beta(*map(double, prior)))
    torch.testing.assert_close(found, same)


@pytest.mark.parametrize(("alpha", "beta"), PAIRS)
def test_draws_are_of_the_distribution(alpha, beta):
    torch.manual_seed(0)
    q = Beta(torch.full((20000,), alpha), torch.full((20000,), beta))
    draws = q.rsample().double().numpy()
    np.testing.assert_allclose(q.mean[0], alpha / (alpha + beta), rtol=1e-6)
    known = st.beta(alpha, beta)
    for point in (1e-5, 0.01, 0.2, 0.5, 0.8, 0.99, 1 - 1e-5):
        expected = known.cdf(point)
        error = 4.5 * np.sqrt(expected * (1 - expected) / draws.size) + 1e-12
        assert abs((draws <= point).mean() - expected) <= error, point


def test_gradients_of_draws_are_those_of_the_mean():
    torch.manual_seed(1)
    alpha, beta = double(0.3).requires_grad_(), double(0.7).requires_grad_()
    Beta(alpha.expand(400_000), beta.expand(400_000)).rsample().mean().backward()
    np.testing.assert_allclose(alpha.grad, [0.7], rtol=0.02)            # d/da a / (a + b) = b / (a + b)^2
    np.testing.assert_allclose(beta.grad, [-0.3], rtol=0.02)


def test_draws_stay_within_what_floats_hold():
    torch.manual_seed(2)
    alpha = torch.full((10_000,), 1e-4, requires_grad=True)
    draws = Beta(alpha, torch.full((10_000,), 1e-4)).rsample()
    draws.sum().backward()
    assert draws.min() > 0 and draws.max() < 1 and alpha.grad.isfinite().all()
    assert 0.45 < (draws > 0.5).float().mean() < 0.55
