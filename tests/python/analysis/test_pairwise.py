"""Log-likelihoods of all pairs of draws and cells: those of the kernel, one pair at a time."""

import numpy as np
import pytest

from latome.analysis import pairwise
from latome.analysis.pairwise import at_own_size, log_likelihoods
from latome.backend import torch
from latome.distributions import NegativeBinomial, NormalCounts, Poisson, ZeroInflatedNegativeBinomial
from latome.kernels.sparse import SparseCounts

S, A, G = 6, 80, 25


def made(kind, dispersion="gene", size=60.0, n_genes=G):
    """A distribution over (S, G), from logits and a library size."""
    generator = torch.Generator().manual_seed(1)
    logits = 2 * torch.randn(S, n_genes, generator=generator)
    log_theta = torch.randn(n_genes, generator=generator)
    if dispersion == "same":
        log_theta = log_theta.expand(S, -1)
    elif dispersion == "gene-cell":
        log_theta = torch.randn(S, n_genes, generator=generator)
    gate = 3 * torch.randn(S, n_genes, generator=generator)
    place = {"logits": logits, "log_library": torch.full((S, 1), float(np.log(size)))}
    return {"nb": lambda: NegativeBinomial(log_theta=log_theta, **place), "poisson": lambda: Poisson(**place),
            "zinb": lambda: ZeroInflatedNegativeBinomial(log_theta=log_theta, gate=gate, **place),
            "normal": lambda: NormalCounts(log_sd=log_theta, **place)}[kind]()


def counted(sizes):
    """SparseCounts (A, G) of cells of different sizes, one of them silent."""
    generator = torch.Generator().manual_seed(2)
    x = torch.poisson(torch.rand(len(sizes), G, generator=generator).square() * sizes[:, None] / 8, generator=generator)
    x[3] = 0
    return x


@pytest.mark.parametrize("dispersion", ["gene", "same", "gene-cell"])
@pytest.mark.parametrize("kind", ["nb", "zinb", "poisson", "normal"])
@pytest.mark.parametrize("n_sizes", [1, 5, A])
def test_pairs_are_those_of_the_kernel(kind, dispersion, n_sizes):
    counts = made(kind, dispersion)
    shift = torch.tensor(np.random.default_rng(0).normal(0, 0.8, n_sizes), dtype=torch.float32).repeat(A // n_sizes)
    x = counted(60 * shift.exp())
    members = torch.tensor([*range(2, A), 0, 1])
    found = log_likelihoods(counts, SparseCounts.from_dense(x), members, shift[members])
    assert found.shape == (S, A) and found.dtype == torch.float64
    log_rate = counts.rate.double().log()
    parameters = {name: value.double() for name in ("log_theta", "gate", "log_sd")
                  if (value := getattr(counts, name, None)) is not None}
    for place in (0, 1, 2, A // 2, A - 2, A - 1):      # members 2, 3 (silent) and so on
        cell = members[place]
        exact = type(counts)(log_mean=log_rate + shift[cell], **parameters)
        expected = exact.elementwise_log_prob(x[cell].double().expand(S, -1)).sum(-1)
        np.testing.assert_allclose(found[:, place], expected, rtol=1e-5, atol=2e-3)


def test_extremes_are_finite():
    """Genes that are all but impossible, counts in the tens of thousands, certain dropout."""
    for kind in ("nb", "zinb", "poisson"):
        counts = made(kind)
        counts.logits[:, 0] = -1e4
        if kind == "zinb":
            counts.gate[:, 1], counts.gate[:, 2] = 60, -60
        x = counted(torch.full((A,), 60.0))
        x[0, 0], x[1, 5] = 7, 5e4
        found = log_likelihoods(counts, SparseCounts.from_dense(x), torch.arange(A), torch.linspace(-3, 3, A))
        assert torch.isfinite(found).all() and (found < 0).all()


@pytest.mark.parametrize(("function", "few"), [
    (lambda x: np.array([np.sin(x), 40 * np.log1p(np.exp(x)), -np.exp(x)]), 18),
    (lambda x: np.array([np.log(0.01 + np.exp(-np.exp(x)))]), 70),      # a silent gene that dropout explains
    (lambda x: np.array([1.0]), 18),
])
def test_few_nodes_are_enough(function, few):
    asked = []

    def seen(x, cells):
        asked.append(x)
        return torch.tensor(function(x), dtype=torch.float64)[:, None].expand(-1, 300)[:, cells]

    at = torch.tensor(np.random.default_rng(0).normal(0, 0.7, 300))
    found = at_own_size(seen, at)
    np.testing.assert_allclose(found, np.stack([function(float(x)) for x in at], 1), atol=pairwise.TOLERANCE)
    assert len(asked) <= few and min(asked) == at.min() and max(asked) == pytest.approx(float(at.max()))


@pytest.mark.parametrize("at", [[0.3], [0.3, 0.3], [1.0, -2, 1, 0.5, -2]])
def test_few_places_are_asked_themselves(at):
    asked = []

    def seen(x, cells):
        asked.append((x, cells.tolist()))
        return torch.tensor([[x], [abs(x)]], dtype=torch.float64).expand(2, len(cells))

    found = at_own_size(seen, torch.tensor(at, dtype=torch.float64))
    np.testing.assert_array_equal(found, [at, np.abs(at)])
    assert asked == [(x, [i for i, own in enumerate(at) if own == x]) for x in sorted(set(at))]


def test_what_is_not_smooth_is_asked_of_each():
    at = torch.linspace(-1, 1, 100, dtype=torch.float64)
    found = at_own_size(lambda x, cells: torch.full((1, 100), 1000.0 * (x > 0.123)).double()[:, cells], at)
    np.testing.assert_array_equal(found[0], 1000.0 * (at > 0.123))
