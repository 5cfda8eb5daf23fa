"""Count distributions against scipy, against grids made elsewhere, and their samples against theory."""

import os
from pathlib import Path

import numpy as np
import pytest
import scipy.stats as st

from latome.backend import torch
from latome.distributions import NegativeBinomial, NormalCounts, Poisson, ZeroInflatedNegativeBinomial
from latome.kernels.sparse import SparseCounts

CLASSES = {"nb": NegativeBinomial, "zinb": ZeroInflatedNegativeBinomial, "poisson": Poisson}
HERE = Path(__file__).resolve()
GRIDS = [HERE.parents[1] / "fixtures" / "distributions.npz",
         Path(os.environ.get("LATOME_DATA", HERE.parents[4] / "shared" / "data")).parent
         / "fixtures" / "scvi-tools" / "distributions.npz"]


def tensor(values):
    return torch.as_tensor(np.asarray(values, dtype=np.float64))


def make(kind, mu, theta=None, gate=None):
    """The distribution of a mean (m, g), float64."""
    given = {"log_mean": tensor(mu).log()}
    if theta is not None:
        given["log_theta"] = tensor(theta).log()
    if gate is not None:
        given["gate"] = tensor(gate)
    return CLASSES[kind](**given)


def scipy_log_prob(kind, x, mu, theta, gate):
    if kind == "poisson":
        return st.poisson.logpmf(x, mu)
    nb = st.nbinom.logpmf(x, theta, theta / (theta + mu))
    if kind == "nb":
        return nb
    zero = 1 / (1 + np.exp(-gate))
    with np.errstate(divide="ignore"):
        return np.where(x == 0, np.logaddexp(np.log(zero), np.log1p(-zero) + nb), np.log1p(-zero) + nb)


@pytest.mark.parametrize("kind", CLASSES)
def test_log_prob_is_that_of_scipy(kind):
    mu, theta, gate, x = np.meshgrid([0.01, 0.5, 3, 40, 900], [0.05, 0.7, 5, 300], [-4.0, 0.0, 3.0],
                                     [0, 1, 2, 15, 16, 17, 18, 60, 1000], indexing="ij")
    mu, theta, gate, x = (v.reshape(-1, 9) for v in (mu, theta, gate, x))
    given = {"nb": (mu, theta), "zinb": (mu, theta, gate), "poisson": (mu,)}[kind]
    p = make(kind, *given)
    expected = scipy_log_prob(kind, x, mu, theta, gate)
    # 1e-8 inside the logarithms moves a term x log(mu) by x 1e-8 / mu
    np.testing.assert_allclose(p.elementwise_log_prob(tensor(x)), expected, rtol=2e-6, atol=2e-6)
    np.testing.assert_allclose(p.log_prob(tensor(x)), expected.sum(1), rtol=2e-6, atol=2e-6)
    assert p.event_shape == (9,) and p.batch_shape == (mu.shape[0],)


@pytest.fixture(scope="module")
def grid():
    path = next((path for path in GRIDS if path.exists()), None)
    if path is None:
        pytest.skip("no distributions.npz, neither committed nor beside LATOME_DATA")
    with np.load(path) as stored:
        return {name: stored[name] for name in stored.files}


@pytest.mark.parametrize("kind", CLASSES)
def test_log_prob_is_that_of_the_grids(grid, kind):
    """Each point of the grid is a cell of one gene, so that the kernel meets it alone, and elementwise too."""
    axes = {"nb": ("mu", "theta", "x"), "zinb": ("mu", "theta", "pi_logit", "x"), "poisson": ("mu", "x")}[kind]
    points = dict(zip(axes, (axis.reshape(-1, 1) for axis in np.meshgrid(*(grid[a] for a in axes), indexing="ij"))))
    p = make(kind, points["mu"], points.get("theta"), points.get("pi_logit"))
    expected = grid[f"{kind}_log_prob"].reshape(-1)
    x = tensor(points["x"])
    theta = points.get("theta", np.zeros_like(points["mu"])).reshape(-1)
    allowed = 1e-6 * np.abs(expected) + np.where(theta >= 1e4, 1e-6, 1e-8)
    assert np.isfinite(expected).all() and len(expected) == x.numel()
    for found in (p.elementwise_log_prob(x).reshape(-1), p.log_prob(x), p.log_prob(SparseCounts.from_dense(x))):
        assert (np.abs(found.numpy() - expected) <= allowed).all()


def test_moments_are_those_of_the_grids(grid):
    mu, theta, gate = np.meshgrid(grid["mu"], grid["theta"], grid["pi_logit"], indexing="ij")
    found = make("zinb", mu.reshape(1, -1), theta.reshape(1, -1), gate.reshape(1, -1)).mean.reshape(mu.shape)
    rounding = 1e-15 * mu                              # the grid takes 1 - sigmoid(30)
    assert (np.abs(found.numpy() - grid["zinb_mean"]) <= 1e-6 * grid["zinb_mean"] + rounding).all()
    variance = grid["mu"][:, None] + grid["mu"][:, None] ** 2 / grid["theta"]
    np.testing.assert_allclose(variance, grid["nb_variance"], rtol=1e-9)                # so `theta` means the same


def test_the_mean_from_logits_is_the_library_times_a_softmax():
    logits, log_library = tensor(np.random.default_rng(0).normal(size=(4, 6))), tensor([[1.0], [2.0], [3.0], [9.0]])
    p = Poisson(logits=logits, log_library=log_library)
    rho = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(p.rho, rho, rtol=1e-12)
    np.testing.assert_allclose(p.rate, rho * np.exp(log_library), rtol=1e-12)
    same = Poisson(log_mean=p.rate.log())
    np.testing.assert_allclose(same.rho, rho, rtol=1e-9)
    x = tensor([[1, 0, 2, 0, 0, 3]] * 4)
    np.testing.assert_allclose(same.log_prob(x), p.log_prob(x), rtol=1e-9)


@pytest.mark.parametrize("kind", CLASSES)
def test_samples_in_front_are_each_their_own(kind):
    generator = torch.Generator().manual_seed(0)
    s, m, g = 3, 5, 7
    logits, gate = (torch.randn(s, m, g, generator=generator, dtype=torch.float64) for _ in range(2))
    library = torch.full((m, 1), 3.0, dtype=torch.float64)
    more = {"nb": {"log_theta": torch.zeros(g).double()}, "poisson": {},
            "zinb": {"log_theta": torch.randn(m, g, generator=generator).double(), "gate": gate}}[kind]
    x = torch.poisson(torch.ones(m, g).double(), generator=generator)
    found = CLASSES[kind](logits=logits, log_library=library, **more).log_prob(x)
    assert found.shape == (s, m)
    for i in range(s):
        one = more | ({"gate": gate[i]} if kind == "zinb" else {})
        expected = CLASSES[kind](logits=logits[i], log_library=library, **one).log_prob(x)
        torch.testing.assert_close(found[i], expected)


N = 40000
MOMENTS = {"nb": ([0.3, 4.0, 60.0], [0.5, 2.0, 30.0], None), "poisson": ([0.3, 4.0, 60.0], None, None),
           "zinb": ([0.3, 4.0, 60.0], [0.5, 2.0, 30.0], [-2.0, 0.0, 1.5])}


@pytest.mark.parametrize("genes", [None, [2, 0]])
@pytest.mark.parametrize("kind", CLASSES)
def test_samples_have_the_mean_and_variance_of_theory(kind, genes):
    mu, theta, gate = (None if v is None else np.array(v) for v in MOMENTS[kind])
    torch.manual_seed(11)
    p = make(kind, np.tile(mu, (N, 1)), theta, None if gate is None else np.tile(gate, (N, 1)))
    x = p.sample(genes=genes).numpy()
    mean, variance = mu, mu + (0 if theta is None else mu**2 / theta)
    if gate is not None:
        kept = 1 / (1 + np.exp(gate))
        mean, variance = kept * mean, kept * variance + kept * (1 - kept) * mu**2
    if genes is not None:
        mean, variance = mean[genes], variance[genes]
    assert x.shape == (N, len(mean)) and (x == np.rint(x)).all() and (x >= 0).all()
    assert (np.abs(x.mean(0) - mean) < 5 * np.sqrt(variance / N)).all()
    spread = np.sqrt((((x - mean) ** 2 - variance) ** 2).mean(0) / N)                   # standard error of the variance
    assert (np.abs(((x - mean) ** 2).mean(0) - variance) < 5 * spread).all()
    np.testing.assert_allclose(p.mean[0, genes].reshape(-1) if genes else p.mean[0], mean)


def test_an_absurd_rate_can_still_be_drawn():
    assert Poisson(log_mean=torch.full((1, 2), 60.0)).sample().isfinite().all()


def draws_of_parameters(m=4, g=6):
    """Random parameters of m cells and g genes, float64."""
    generator = np.random.default_rng(3)
    return {"log_rho": tensor(generator.normal(-2, 1, (m, g))), "log_library": tensor(generator.normal(4, 1, (m, 1))),
            "log_theta": tensor(generator.normal(0, 1, g)), "gate": tensor(generator.normal(0, 1, (m, g)))}


@pytest.mark.parametrize("kind", CLASSES)
def test_a_mean_of_rho_and_library_is_the_same_as_its_logarithm(kind):
    given = draws_of_parameters()
    place = {name: given.pop(name) for name in ("log_rho", "log_library")}
    more = {"nb": {"log_theta"}, "zinb": {"log_theta", "gate"}, "poisson": set()}[kind]
    more = {name: value for name, value in given.items() if name in more}
    p = CLASSES[kind](**place, **more)
    mean = place["log_rho"] + place["log_library"]
    torch.testing.assert_close(p.rate, mean.exp())
    torch.testing.assert_close(p.rho, place["log_rho"].exp())
    x = tensor(np.random.default_rng(0).poisson(3, mean.shape))
    torch.testing.assert_close(p.log_prob(x), CLASSES[kind](log_mean=mean, **more).log_prob(x))
    stacked = {name: torch.stack([value, value + 1]) for name, value in place.items()}
    both = CLASSES[kind](**stacked, **more).log_prob(x)
    torch.testing.assert_close(both[0], p.log_prob(x))


@pytest.mark.parametrize("kind", ["nb", "zinb"])
def test_cells_may_have_rows_of_a_table_of_dispersions(kind):
    given = draws_of_parameters()
    more = {"gate": given["gate"]} if kind == "zinb" else {}
    place = {"log_mean": given["log_rho"] + given["log_library"]}
    table, rows = tensor(np.random.default_rng(5).normal(size=(3, 6))), torch.tensor([2, 0, 0, 1])
    p = CLASSES[kind](**place, **more, log_theta=table, theta_rows=rows)
    spread = CLASSES[kind](**place, **more, log_theta=table[rows])
    x = tensor(np.random.default_rng(0).poisson(3, (4, 6)))
    torch.testing.assert_close(p.log_prob(x), spread.log_prob(x))
    torch.testing.assert_close(p.elementwise_log_prob(x), spread.elementwise_log_prob(x))
    torch.testing.assert_close(p.theta, table[rows].exp())
    again = p.with_log_mean(place["log_mean"] + 1).log_prob(x)
    torch.testing.assert_close(again, spread.with_log_mean(place["log_mean"] + 1).log_prob(x))
    stacked = CLASSES[kind](log_mean=torch.stack([place["log_mean"]] * 2), **more, log_theta=table, theta_rows=rows)
    torch.testing.assert_close(stacked.log_prob(x)[1], spread.log_prob(x))
    assert p.sample().shape == (4, 6)


def test_normal_values_have_the_density_of_scipy():
    given = draws_of_parameters()
    logits, library, log_sd = given["log_rho"], given["log_library"], given["log_theta"]
    p = NormalCounts(logits=logits, log_library=library, log_sd=log_sd)
    mean = (logits.softmax(1) * library.exp()).numpy()
    x = np.random.default_rng(0).normal(mean, 2)
    x[:, 0] = 0
    expected = st.norm.logpdf(x, mean, log_sd.exp().numpy()).sum(1)
    for found in (p.log_prob(tensor(x)), p.log_prob(SparseCounts.from_dense(tensor(x)))):
        np.testing.assert_allclose(found, expected, rtol=1e-10)
    stacked = NormalCounts(logits=torch.stack([logits, logits]), log_library=library, log_sd=log_sd)
    np.testing.assert_allclose(stacked.log_prob(tensor(x)), np.stack([expected, expected]), rtol=1e-10)
    np.testing.assert_allclose(stacked[1].log_prob(tensor(x)), expected, rtol=1e-10)
    torch.manual_seed(0)
    drawn = torch.stack([p.sample() for _ in range(4000)]).numpy()
    sd = log_sd.exp().numpy()
    assert (np.abs(drawn.mean(0) - mean) < 5 * sd / 4000**0.5).all()
    np.testing.assert_allclose(drawn.std(0) / sd, 1, atol=5 / 8000**0.5)
    assert p.sample(genes=torch.tensor([2, 0])).shape == (4, 2)
    with pytest.raises(AttributeError, match="sd"):
        _ = p.theta
