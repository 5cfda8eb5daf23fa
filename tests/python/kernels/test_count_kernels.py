"""The count kernels against float64 formulas and their autograd, on random and on extreme parameters."""

from itertools import product

import numpy as np
import pytest

from latome.backend import torch
from latome.kernels.counts import EPS, count_log_prob
from latome.kernels.sparse import SparseCounts

KINDS = ("nb", "zinb", "poisson")
M, G = 40, 30
#: gradients agree within this share of their norm; elementwise within this share of each, or of the root mean square
RELATIVE = {torch.float32: 1e-5, torch.float64: 1e-9}


def formula(kind, x, mu, theta=None, gate=None):
    """(m, g): log p(x) as the module's docstring has it; float64, dense, nothing clever."""
    if kind == "poisson":
        return torch.xlogy(x, mu) - mu - torch.lgamma(x + 1)
    total = (theta + mu + EPS).log()
    nb = (theta * ((theta + EPS).log() - total) + x * ((mu + EPS).log() - total)
          + torch.lgamma(x + theta) - torch.lgamma(theta) - torch.lgamma(x + 1))
    if kind == "nb":
        return nb
    softplus = torch.nn.functional.softplus
    return torch.where(x > 0, nb - softplus(gate), softplus(nb - gate) - softplus(-gate))


def parameters(kind, mean, dispersion, dtype, seed=0):
    """Random parameters, as leaves, by name."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape, sd=1.0, shift=0.0):
        return (torch.randn(*shape, generator=generator) * sd + shift).to(dtype).requires_grad_()

    if mean == "logits":
        found = {"logits": normal(M, G, sd=1.5), "log_library": normal(M, 1, sd=0.7, shift=5.0)}
    else:
        found = {"log_mean": normal(M, G, sd=2.0)}
    if kind != "poisson":
        found["log_theta"] = normal(*((G,) if dispersion == "gene" else (M, G)), sd=1.5, shift=0.5)
    if kind == "zinb":
        found["gate"] = normal(M, G, sd=3.0)
    return found


def drawn(kind, given, fractions=False, seed=0):
    """Counts (M, G) roughly of these means: mostly small, a few of hundreds, some cells without any."""
    generator = np.random.default_rng(seed)
    mu = mean_of(given).detach().double().numpy()
    x = generator.poisson(mu * generator.gamma(1, 1, mu.shape)).astype(np.float64)
    x[generator.random(x.shape) < 0.4] = 0
    x[3], x[7, :5] = 0, [15, 16, 17, 400, 25000]
    if fractions:
        x[5, ::2] += 0.25
    return torch.tensor(x)


def mean_of(given):
    if "log_mean" in given:
        return given["log_mean"].exp()
    return given["logits"].softmax(1) * given["log_library"].exp()


def reference(kind, given, x, upstream):
    """(value, gradients) by autograd in float64."""
    wide = {name: value.detach().double().requires_grad_() for name, value in given.items()}
    theta = wide["log_theta"].exp() if "log_theta" in wide else None
    value = formula(kind, x, mean_of(wide), theta, wide.get("gate")).sum(1)
    return value.detach(), dict(zip(wide, torch.autograd.grad(value, list(wide.values()), upstream.double())))


CASES = [case for case in product(KINDS, ("logits", "log_mean"), ("gene", "cell"), ("sparse", "dense"))
         if case[0] != "poisson" or case[2] == "gene"]


@pytest.mark.parametrize(("kind", "mean", "dispersion", "form"), CASES)
def test_value_and_gradients(kind, mean, dispersion, form, backend):
    check(kind, mean, dispersion, form, torch.float32)


@pytest.mark.parametrize(("kind", "mean", "dispersion", "form"), CASES)
def test_value_and_gradients_in_float64(kind, mean, dispersion, form):
    check(kind, mean, dispersion, form, torch.float64)


def check(kind, mean, dispersion, form, dtype):
    given = parameters(kind, mean, dispersion, dtype)
    x = drawn(kind, given, fractions=form == "sparse")
    upstream = torch.randn(M, generator=torch.Generator().manual_seed(5)).to(dtype)
    counts = SparseCounts.from_dense(x.to(dtype))
    if form == "sparse":                               # as a minibatch brings them: nothing dense kept
        counts = SparseCounts(counts.indptr, counts.indices, counts.values, G)
    value = count_log_prob(counts, kind=kind, **given)
    gradients = dict(zip(given, torch.autograd.grad(value, list(given.values()), upstream)))
    expected, wanted = reference(kind, given, x, upstream)
    tolerance = RELATIVE[dtype]
    assert value.dtype == dtype and value.shape == (M,)
    torch.testing.assert_close(value.double(), expected, rtol=tolerance, atol=tolerance)
    for name, gradient in gradients.items():
        assert gradient.dtype == dtype and gradient.shape == given[name].shape
        error = (gradient.double() - wanted[name]).abs()
        assert error.norm() <= tolerance * wanted[name].norm(), name
        floor = wanted[name].square().mean().sqrt()
        assert (error <= tolerance * (wanted[name].abs() + floor)).all(), name


@pytest.mark.parametrize("kind", KINDS)
def test_gradcheck(kind):
    given = {name: value[:5, :4].detach().requires_grad_() if value.dim() == 2 else value[:4].detach().requires_grad_()
             for name, value in parameters(kind, "logits", "gene", torch.float64).items()}
    counts = SparseCounts.from_dense(torch.tensor([[0, 1, 20, 3]] * 4 + [[0, 0, 0, 0]], dtype=torch.float64))
    names = list(given)

    def function(*values):
        return count_log_prob(counts, kind=kind, **dict(zip(names, values)))

    assert torch.autograd.gradcheck(function, tuple(given.values()), eps=1e-6, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("frozen", ["logits", "log_library", "log_theta", "gate"])
def test_what_needs_no_gradient_gets_none(frozen, backend):
    given = parameters("zinb", "logits", "gene", torch.float32)
    x = drawn("zinb", given)
    given[frozen] = given[frozen].detach()
    count_log_prob(SparseCounts.from_dense(x.float()), kind="zinb", **given).sum().backward()
    assert given[frozen].grad is None
    assert all(value.grad is not None and value.grad.abs().sum() > 0 for name, value in given.items() if name != frozen)


MEANS = (1e-8, 1e-4, 1e-2, 1.0, 1e2, 1e5)
THETAS = (1e-8, 1e-4, 1e-2, 1.0, 1e2, 1e4, 1e6)
GATES = (-30.0, 0.0, 30.0)
COUNTS = (0.0, 1.0, 16.0, 17.0, 1e3, 1e5)
EPS32 = torch.finfo(torch.float32).eps


@pytest.mark.parametrize(("kind", "dispersion"), [("nb", "gene"), ("nb", "cell"), ("zinb", "gene"), ("zinb", "cell"),
                                                  ("poisson", None)])
def test_extremes_stay_finite_and_near_float64(kind, dispersion, backend):
    """Every pair of mean and theta is a gene, every pair of gate and count a cell; each entry is checked alone."""
    pairs = torch.tensor(list(product(MEANS, THETAS)), dtype=torch.float64)            # (g, 2)
    cells = torch.tensor(list(product(GATES, COUNTS)), dtype=torch.float64)            # (m, 2)
    m, g = len(cells), len(pairs)
    given = {"log_mean": pairs[:, 0].log().expand(m, g).float().contiguous().requires_grad_()}
    if kind != "poisson":
        log_theta = pairs[:, 1].log().float()
        given["log_theta"] = (log_theta if dispersion == "gene" else log_theta.expand(m, g)).clone().requires_grad_()
    if kind == "zinb":
        given["gate"] = cells[:, :1].expand(m, g).float().contiguous().requires_grad_()
    x = cells[:, 1:].expand(m, g)
    value = count_log_prob(SparseCounts.from_dense(x.float()), kind=kind, **given)
    assert value.isfinite().all()
    value.sum().backward()
    assert all(p.grad.isfinite().all() for p in given.values())
    for j in range(g):                                 # a gene at a time: no large entry hides a small one
        one = {name: v[..., j:j + 1].detach() for name, v in given.items()}
        found = count_log_prob(SparseCounts.from_dense(x[:, j:j + 1].float()), kind=kind, **one)
        wide = {name: v.double() for name, v in one.items()}
        mu, theta = wide["log_mean"].exp(), wide["log_theta"].exp() if kind != "poisson" else None
        expected = formula(kind, x[:, j:j + 1], mu, theta, wide.get("gate")).sum(1)
        allowed = 1e-6 + 16 * EPS32 * summands(x[:, j:j + 1], mu, theta, wide.get("gate")).sum(1)
        assert ((found.double() - expected).abs() <= allowed).all(), pairs[j]


def summands(x, mu, theta, gate):
    """Size of what a log-probability adds up: float32 can give no more than its own share of that."""
    size = x * (1 + mu.log().abs()) + torch.lgamma(x + 1) + mu
    if theta is not None:
        size = size + x * (theta.log().abs() + (theta + mu).log().abs()) + theta * (mu / theta).log1p()
    return size if gate is None else size + gate.abs()


@pytest.mark.parametrize("kind", KINDS)
def test_fractions_that_underflow_stay_finite(kind, backend):
    logits = torch.tensor([[0.0, 300.0, -300.0], [-300.0, 0.0, 0.0]], requires_grad=True)
    given = {"logits": logits, "log_library": torch.tensor([[11.0], [3.0]], requires_grad=True)}
    if kind != "poisson":
        given["log_theta"] = torch.zeros(3, requires_grad=True)
    if kind == "zinb":
        given["gate"] = torch.zeros(2, 3, requires_grad=True)
    counts = SparseCounts.from_dense(torch.tensor([[1.0, 50000.0, 1.0], [4.0, 0.0, 1.0]]))
    value = count_log_prob(counts, kind=kind, **given)
    value.sum().backward()
    assert value.isfinite().all() and (value < 0).all()
    assert all(p.grad.isfinite().all() for p in given.values())
