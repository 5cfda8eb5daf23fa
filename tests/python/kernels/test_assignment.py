"""Log-probabilities by marker pairs against the equation over cells, genes and types, in float64."""

import numpy as np
import pytest
from scipy import stats

from latome.backend import torch
from latome.kernels.assignment import Basis, Panel, dispersion, marker_log_prob
from latome.kernels.counts import EPS
from latome.kernels.sparse import SparseCounts

N_BASIS = 10


def problem(m=30, g=14, n_types=4, rows=1, seed=0, largest=300.0, first=0.0):
    """Counts (m, g), some large and some cells without any; sizes, rates, rises, heights and a 0/1 table."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    markers = (torch.rand(g, n_types, generator=generator) < 0.4).numpy()
    markers[:, 0] = False                                               # a type without markers
    markers[0], markers[1] = True, False                                # a marker of all, and one of none
    x = torch.poisson((normal(m, g) + 1).exp(), generator=generator).double()
    x[0], x[1, 2] = 0, largest
    given = {"size": normal(m).mul(0.4).exp(), "log_rate": normal(rows, g), "delta": normal(int(markers.sum())).exp(),
             "log_a": 0.3 * normal(N_BASIS), "places": torch.linspace(first, largest, N_BASIS, dtype=torch.float64)}
    return x, markers, given


def formula(x, markers, size, log_rate, delta, log_a, places):
    """(m, C): the equations of the module's docstring, over (m, g, C)."""
    rise = torch.zeros(markers.shape, dtype=x.dtype).index_put(torch.from_numpy(markers).nonzero(as_tuple=True), delta)
    mu = (size.log()[:, None, None] + log_rate[:, :, None] + rise).exp()
    h = places[1] - places[0]
    phi = (log_a.exp() * torch.exp(-(mu[..., None] - places).square() / (2 * h * h))).sum(-1) + 1e-10
    x = x[:, :, None]
    log_p = (phi * (phi + EPS).log() - (x + phi) * (phi + mu + EPS).log() + x * (mu + EPS).log()
             + torch.lgamma(x + phi) - torch.lgamma(phi) - torch.lgamma(x + 1))
    return log_p.sum(1)


def by_pairs(x, markers, size, log_rate, delta, log_a, places):
    panel = Panel.of(markers)
    panel = panel._replace(members=panel.members.to(x.dtype))
    basis = Basis(log_a, places[0], places[1] - places[0])
    return marker_log_prob(SparseCounts.from_dense(x), size, log_rate, delta, basis, panel)


LEAVES = ("log_rate", "delta", "log_a")


@pytest.mark.parametrize(("rows", "first"), [(1, 0.0), (30, 0.0), (1, 20.0)])
def test_value_and_gradients_in_float64(rows, first):
    x, markers, given = problem(rows=rows, first=first)
    weights = torch.linspace(-1, 2, 30 * 4, dtype=torch.float64).view(30, 4)
    answers = []
    for compute in (formula, by_pairs):
        leaves = {name: given[name].clone().requires_grad_() for name in LEAVES}
        value = compute(x, markers, **{**given, **leaves})
        answers.append((value.detach(), torch.autograd.grad(value, list(leaves.values()), weights)))
    (expected, wanted), (found, gradients) = answers
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    for one, other in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-9 * float(other.abs().max()))


@pytest.mark.parametrize("rows", [1, 30])
def test_float32_is_close(rows):
    x, markers, given = problem(rows=rows)
    wide = {name: given[name].clone().requires_grad_() for name in LEAVES}
    expected = formula(x, markers, **{**given, **wide})
    narrow = {name: values.detach().float() for name, values in {**given, **wide}.items()}
    leaves = [narrow[name].requires_grad_() for name in LEAVES]
    found = by_pairs(x.float(), markers, **narrow)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-4)
    pairs = zip(torch.autograd.grad(found.sum(), leaves), torch.autograd.grad(expected.sum(), list(wide.values())),
                strict=True)
    for one, other in pairs:
        assert torch.linalg.vector_norm(one.double() - other) < 1e-4 * torch.linalg.vector_norm(other)


def test_the_gradient_passes_through_the_probabilities_of_types():
    x, markers, given = problem()

    def objective(compute):
        leaves = [given[name].clone().requires_grad_() for name in LEAVES]
        joint = compute(x, markers, **{**given, **dict(zip(LEAVES, leaves, strict=True))})
        return torch.autograd.grad((joint.softmax(1) * joint).sum(), leaves)

    for one, other in zip(objective(by_pairs), objective(formula), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-9 * float(other.abs().max()))


def test_one_type_is_a_negative_binomial():
    x, markers, given = problem()
    none = np.zeros_like(markers)
    given["delta"] = given["delta"][:0]
    found = by_pairs(x, none, **given)
    mu = (given["size"][:, None] * given["log_rate"].exp())
    phi = dispersion(mu, Basis(given["log_a"], given["places"][0], given["places"][1] - given["places"][0]))
    expected = stats.nbinom.logpmf(x.numpy(), phi.numpy(), (phi / (phi + mu)).numpy()).sum(1)
    for column in found.t():
        np.testing.assert_allclose(column, expected, rtol=1e-6)         # EPS inside the logarithms


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_dispersion_far_from_its_gaussians(dtype):
    places = torch.linspace(0, 90, N_BASIS, dtype=dtype)
    mu = torch.tensor([0.0, 1e-6, 5.0, 45.0, 90.0, 120.0, 149.0, 160.0, 1e4, 1e30], dtype=dtype)
    heights = torch.linspace(0.5, 2, N_BASIS, dtype=torch.float64)
    found = dispersion(mu, Basis(heights.log().to(dtype), places[0], places[1] - places[0]))
    away = (mu.double()[:, None] - places.double()) / 10
    expected = (heights * torch.exp(-away.square() / 2)).sum(1) + 1e-10
    torch.testing.assert_close(found.double(), expected, rtol=2e-5 if dtype == torch.float32 else 1e-12, atol=1e-12)


def test_enormous_means_stay_finite():
    x, markers, given = problem()
    given = {name: values.float() for name, values in given.items()}
    given["log_rate"] = (given["log_rate"] + 40).requires_grad_()
    found = by_pairs(x.float(), markers, **given)
    assert found.isfinite().all()
    assert torch.autograd.grad(found.sum(), given["log_rate"])[0].isfinite().all()
