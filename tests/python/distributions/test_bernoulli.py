"""Presence against scipy, and its samples against theory."""

import numpy as np
import pytest
import scipy.stats as st

from latome.backend import torch
from latome.distributions import Bernoulli
from latome.kernels.sparse import SparseCounts

N = 20000


def parameters(*shape):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(*shape, generator=generator, dtype=torch.float64)
    log_cell = torch.nn.functional.logsigmoid(torch.randn(*shape[:-1], 1, generator=generator, dtype=torch.float64))
    log_region = torch.nn.functional.logsigmoid(torch.randn(shape[-1], generator=generator, dtype=torch.float64))
    return {"logits": logits, "log_cell": log_cell, "log_region": log_region}


@pytest.mark.parametrize("factors", [True, False])
def test_log_prob_is_that_of_scipy(factors):
    given = parameters(5, 8)
    given = given if factors else {"logits": given["logits"]}
    p = Bernoulli(**given)
    chance = given["logits"].sigmoid()
    if factors:
        chance = chance * given["log_cell"].exp() * given["log_region"].exp()
    x = np.random.default_rng(0).poisson(0.6, (5, 8)).astype(np.float64)
    expected = st.bernoulli.logpmf(x > 0, chance.numpy()).sum(1)
    for form in (torch.tensor(x), SparseCounts.from_dense(torch.tensor(x))):
        np.testing.assert_allclose(p.log_prob(form), expected, rtol=1e-10)
    torch.testing.assert_close(p.mean, chance)
    assert p.event_shape == (8,) and p.batch_shape == (5,)


def test_samples_in_front_are_each_their_own():
    given = parameters(3, 5, 8)
    x = torch.poisson(torch.full((5, 8), 0.7)).double()
    found = Bernoulli(**given).log_prob(x)
    shared = Bernoulli(**given | {"log_cell": given["log_cell"][1]}).log_prob(x)
    for i in range(3):
        one = given | {"logits": given["logits"][i]}
        torch.testing.assert_close(found[i], Bernoulli(**one | {"log_cell": given["log_cell"][i]}).log_prob(x))
        torch.testing.assert_close(shared[i], Bernoulli(**one | {"log_cell": given["log_cell"][1]}).log_prob(x))


@pytest.mark.parametrize("genes", [None, [4, 0]])
def test_samples_have_the_mean_of_theory(genes):
    torch.manual_seed(0)
    given = parameters(1, 8)
    p = Bernoulli(logits=given["logits"].expand(N, -1), log_cell=given["log_cell"], log_region=given["log_region"])
    mean = p.mean[0] if genes is None else p.mean[0, genes]
    x = p.sample(genes=genes)
    assert x.shape == (N, len(mean)) and ((x == 0) | (x == 1)).all()
    assert ((x.mean(0) - mean).abs() < 5 * (mean * (1 - mean) / N).sqrt()).all()
