"""The likelihood of presence against its equation in float64, in every back end."""

import pytest

from latome.backend import torch
from latome.kernels.bernoulli import bernoulli_log_prob
from latome.kernels.sparse import SparseCounts

FACTORS = [(), ("log_cell",), ("log_region",), ("log_cell", "log_region")]


def problem(m, g, factors, seed=0):
    """Counts (m, g), some cells without any, and the arguments by name; float32."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.poisson(torch.rand(m, g, generator=generator) * 0.4, generator=generator)
    x[0] = 0
    given = {"logits": torch.randn(m, g, generator=generator) * 6}
    if "log_cell" in factors:
        given["log_cell"] = torch.nn.functional.logsigmoid(torch.randn(m, 1, generator=generator) * 3)
    if "log_region" in factors:
        given["log_region"] = torch.nn.functional.logsigmoid(torch.randn(g, generator=generator) * 3)
        given["log_region"][0] = 0                     # a factor of one
    return SparseCounts.from_dense(x), given


def formula(x, logits, log_cell=0.0, log_region=0.0):
    """(m, g): log p(x > 0) or its complement; float64, differentiable."""
    log_p = torch.nn.functional.logsigmoid(logits) + log_cell + log_region
    certain = isinstance(log_cell, float) and isinstance(log_region, float)
    absent = torch.nn.functional.logsigmoid(-logits) if certain else (-log_p.expm1()).log()
    return torch.where(x > 0, log_p, absent)


@pytest.mark.parametrize("factors", FACTORS)
@pytest.mark.parametrize(("m", "g"), [(9, 50), (1, 1), (3, 1030), (40, 1000)])
def test_value_and_gradients(m, g, factors, backend):
    counts, given = problem(m, g, factors)
    weights = torch.linspace(-1, 2, m) if m > 1 else torch.ones(1)
    leaves = {name: value.clone().requires_grad_() for name, value in given.items()}
    value = bernoulli_log_prob(counts, **leaves)
    found = torch.autograd.grad(value, list(leaves.values()), weights)
    wide = {name: value.double().requires_grad_() for name, value in given.items()}
    expected = formula(counts.dense(), **wide).sum(1)
    wanted = torch.autograd.grad(expected, list(wide.values()), weights.double())
    torch.testing.assert_close(value.double(), expected, rtol=1e-6, atol=1e-6)
    for name, one, other in zip(given, found, wanted, strict=True):
        assert one.dtype == torch.float32 and one.shape == other.shape
        floor = other.square().mean().sqrt()
        assert ((one - other).abs() <= 1e-5 * (other.abs() + floor)).all(), name
    with torch.no_grad():
        again = bernoulli_log_prob(counts, **given)
    torch.testing.assert_close(again, value.detach(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("factors", FACTORS)
def test_certain_logits(factors, backend):
    """Gradients stay finite, and those of what is certain and wrong are not lost."""
    counts, given = problem(6, 40, factors)
    given["logits"] = torch.linspace(-200, 200, 240).view(6, 40)[:, torch.randperm(40)]
    leaves = {name: value.clone().requires_grad_() for name, value in given.items()}
    value = bernoulli_log_prob(counts, **leaves)
    found = torch.autograd.grad(value.sum(), list(leaves.values()))
    assert value.isfinite().all() and all(one.isfinite().all() for one in found)
    if not factors:
        wide = given["logits"].double()
        torch.testing.assert_close(value.double(), formula(counts.dense(), wide).sum(1), rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(found[0], ((counts.dense() > 0).double() - wide.sigmoid()).float())


@pytest.mark.parametrize("name", ["logits", "log_cell", "log_region"])
def test_what_is_no_number_is_noticed(name, backend):
    counts, given = problem(4, 40, FACTORS[3])
    given[name].view(-1)[-1] = float("nan")
    assert bernoulli_log_prob(counts, **given)[-1].isnan()
