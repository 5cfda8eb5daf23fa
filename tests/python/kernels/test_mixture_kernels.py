"""The mixture of two negative binomials against its equation in float64, in every back end."""

import numpy as np
import pytest

from latome.backend import torch
from latome.kernels.counts import EPS
from latome.kernels.gammas import wide_gamma_ratios
from latome.kernels.mixtures import mixture_log_prob
from latome.kernels.sparse import SparseCounts

NAMES = ("log_background", "log_foreground", "log_theta", "mixing")


def problem(m, g, form="gene", seed=0):
    """Counts (m, g), some of thousands, some cells without any, and the arguments by name; float32."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape, sd=1.0, shift=0.0):
        return torch.randn(*shape, generator=generator) * sd + shift

    given = {"log_background": normal(m, g, sd=1.5, shift=1.0), "log_foreground": normal(m, g, sd=2.0, shift=4.0),
             "log_theta": normal(*{"gene": (g,), "row": (3, g), "cell": (m, g)}[form], sd=2.0),
             "mixing": normal(m, g, sd=4.0)}
    x = torch.poisson(torch.where(normal(m, g) > 0, given["log_background"], given["log_foreground"]).exp(),
                      generator=generator)
    x[0] = 0
    return x, given, torch.arange(m) % 3 if form == "row" else None


def formula(x, log_background, log_foreground, log_theta, mixing, rows=None):
    """(m, g): log p(x) as the module's docstring has it; float64, differentiable."""
    theta = (log_theta if rows is None else log_theta[rows]).exp().expand_as(mixing)

    def nb(log_mean):
        mu = log_mean.exp()
        return (theta * ((theta + EPS).log() - (theta + mu + EPS).log()) + torch.lgamma(x + theta)
                - torch.lgamma(theta) + x * ((mu + EPS).log() - (theta + mu + EPS).log()) - torch.lgamma(x + 1))

    both = torch.stack([nb(log_background), nb(log_foreground) - mixing])
    return both.logsumexp(0) - torch.nn.functional.softplus(-mixing)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("form", ["gene", "row", "cell"])
@pytest.mark.parametrize(("m", "g"), [(7, 19), (1, 1), (40, 33)])
def test_value_and_gradients(m, g, form, masked, backend):
    x, given, rows = problem(m, g, form)
    mask = (torch.arange(m * g).view(m, g) % 3 > 0).float() if masked else None
    weights = torch.linspace(-1, 2, m) if m > 1 else torch.ones(1)
    leaves = [given[name].clone().requires_grad_() for name in NAMES]
    value = mixture_log_prob(SparseCounts.from_dense(x), **dict(zip(NAMES, leaves)), theta_rows=rows, mask=mask)
    found = torch.autograd.grad(value, leaves, weights)
    wide = [given[name].double().requires_grad_() for name in NAMES]
    expected = (formula(x.double(), *wide, rows) * (1.0 if mask is None else mask)).sum(1)
    wanted = torch.autograd.grad(expected, wide, weights.double())
    torch.testing.assert_close(value.double(), expected, rtol=1e-6, atol=1e-6)
    for name, one, other in zip(NAMES, found, wanted, strict=True):
        assert one.dtype == torch.float32 and one.shape == other.shape
        floor = other.square().mean().sqrt()
        assert ((one - other).abs() <= 1e-5 * (other.abs() + floor)).all(), name
    with torch.no_grad():
        again = mixture_log_prob(x, **given, theta_rows=rows, mask=mask)
    torch.testing.assert_close(again, value.detach(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("mixing", [-50.0, 50.0])
@pytest.mark.parametrize("theta", [1e-6, 1.0, 1e12])
def test_certain_mixing_leaves_one_component(mixing, theta, backend):
    x = torch.tensor([[0.0, 1.0, 3.0, 20.0, 1e6, 0.5]])
    means = torch.tensor([[2.0, 2.0, 2.0, 15.0, 9e5, 2.0]])
    value = mixture_log_prob(x, log_background=means.log() if mixing > 0 else means.log() - 1,
                             log_foreground=means.log() if mixing < 0 else means.log() - 1,
                             log_theta=torch.full((6,), theta).log(), mixing=torch.full((1, 6), mixing))
    mu, dispersion, count = (one.float().log().double().exp() for one in (means, torch.full((1, 6), theta), x))
    gammas, _ = wide_gamma_ratios(x.double(), dispersion)
    ratio = (mu / (dispersion + EPS)).log1p()
    nb = -dispersion * ratio + gammas - torch.lgamma(x.double() + 1)
    nb = nb + x * ((mu + EPS).log() - (dispersion + EPS).log() - ratio)
    np.testing.assert_allclose(value, nb.sum(1), rtol=1e-5)
    assert count.shape == x.shape


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_what_is_no_number_is_noticed(name, wrong, backend):
    if name == "mixing" and wrong == float("inf"):
        pytest.skip("an infinite logit is certainty")
    x, given, _ = problem(4, 9)
    given[name].view(-1)[-1] = wrong
    value = mixture_log_prob(x, **given)
    assert not value[-1].isfinite()
