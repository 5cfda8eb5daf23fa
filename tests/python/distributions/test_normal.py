"""The diagonal normal and its divergence against scipy and torch.distributions."""

import numpy as np
import pytest
import scipy.stats as st

from latome.backend import torch
from latome.distributions import DiagonalNormal, LogisticNormal, StandardNormal, kl_divergence

GENERATOR = np.random.default_rng(0)
MEAN, VARIANCE = torch.tensor(GENERATOR.normal(size=(6, 4))), torch.tensor(GENERATOR.gamma(2, 1, (6, 4)))


def test_density():
    z = torch.tensor(GENERATOR.normal(size=(6, 4)))
    q = DiagonalNormal(MEAN, VARIANCE)
    expected = st.norm.logpdf(z.numpy(), MEAN.numpy(), np.sqrt(VARIANCE.numpy())).sum(1)
    np.testing.assert_allclose(q.log_prob(z), expected, rtol=1e-12)
    assert q.event_shape == (4,)


@pytest.mark.parametrize("prior", ["one for all", "one a cell"])
def test_divergence(prior):
    mean, variance = (MEAN.flip(0), VARIANCE.flip(0)) if prior == "one a cell" else (MEAN[0] * 0, VARIANCE[0] * 0 + 1)
    found = kl_divergence(DiagonalNormal(MEAN, VARIANCE), DiagonalNormal(mean, variance))
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(
        normal(MEAN, VARIANCE.sqrt()), normal(mean.expand(6, 4), variance.expand(6, 4).sqrt())).sum(1)
    torch.testing.assert_close(found, expected)
    q = DiagonalNormal(MEAN, VARIANCE)
    torch.testing.assert_close(kl_divergence(q, q), torch.zeros(6).double())


def test_divergence_from_the_standard_normal():
    standard = StandardNormal(MEAN)
    written_out = DiagonalNormal(torch.zeros(4).double(), torch.ones(4).double())
    for q in (DiagonalNormal(MEAN, VARIANCE), DiagonalNormal(MEAN, VARIANCE[:1])):
        torch.testing.assert_close(kl_divergence(q, standard), kl_divergence(q, written_out), rtol=1e-12, atol=0)
    leaves = MEAN.clone().requires_grad_(), VARIANCE.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda *parts: kl_divergence(DiagonalNormal(*parts), standard), leaves)
    torch.testing.assert_close(standard.log_prob(MEAN), written_out.log_prob(MEAN))
    assert standard.event_shape == (4,) and standard.rsample((3,)).shape == (3, 4)


def test_divergence_of_torch_distributions_passes_through():
    q, p = torch.distributions.Bernoulli(torch.tensor([0.2])), torch.distributions.Bernoulli(torch.tensor([0.7]))
    torch.testing.assert_close(kl_divergence(q, p), torch.distributions.kl_divergence(q, p))


def test_draws_have_the_moments_and_carry_gradients():
    torch.manual_seed(0)
    mean, variance = torch.tensor([1.0, -3.0], requires_grad=True), torch.tensor([0.25, 4.0], requires_grad=True)
    n = 40000
    z = DiagonalNormal(mean, variance).rsample((n,))
    assert z.shape == (n, 2)
    assert ((z.mean(0) - mean).abs() < 5 * (variance / n).sqrt()).all()
    assert ((z.var(0) - variance).abs() < 5 * variance * (2 / n) ** 0.5).all()
    z.mean(0).sum().backward()
    torch.testing.assert_close(mean.grad, torch.ones(2))
    assert variance.grad.isfinite().all()


def test_a_draw_broadcasts_a_shared_variance():
    assert DiagonalNormal(torch.zeros(5, 3), torch.ones(3)).rsample((2,)).shape == (2, 5, 3)
    assert DiagonalNormal(torch.zeros(3), torch.ones(5, 3)).rsample().shape == (5, 3)


def test_a_logistic_normal_is_the_softmax_of_a_normal():
    mean, variance = torch.tensor([[0.5, -1.0, 0.2]]).double(), torch.tensor([[0.3, 0.8, 0.1]]).double()
    q, p = LogisticNormal(mean, variance), DiagonalNormal(torch.zeros(3).double(), torch.ones(3).double())
    torch.manual_seed(0)
    z = q.rsample((40000,))
    assert z.shape == (40000, 1, 3)
    torch.testing.assert_close(z.sum(-1), torch.ones(40000, 1).double())
    # log(z_i / z_j) of a logistic-normal is normal, of mean m_i - m_j and variance v_i + v_j (Aitchison and Shen, 1980)
    ratio = (z[..., 0] / z[..., 1]).log()
    assert abs(ratio.mean() - 1.5) < 5 * (1.1 / 40000) ** 0.5 and abs(ratio.var() - 1.1) < 5 * 1.1 * (2 / 40000) ** 0.5
    torch.testing.assert_close(q.transform(mean), mean.softmax(-1))
    torch.testing.assert_close(kl_divergence(q, p), kl_divergence(DiagonalNormal(mean, variance), p))
    torch.manual_seed(1)
    raw = q.rsample_normal((5,))
    torch.manual_seed(1)
    torch.testing.assert_close(q.rsample((5,)), raw.softmax(-1))
