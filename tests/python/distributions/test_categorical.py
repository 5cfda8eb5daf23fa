"""The categorical distribution against scipy."""

import numpy as np
from scipy import special, stats

from latome.backend import torch
from latome.distributions import Categorical


def test_log_prob_and_probabilities():
    logits = np.random.default_rng(0).normal(size=(6, 3)) * 5
    labels = np.array([0, 1, 2, 2, 1, 0])
    found = Categorical(torch.from_numpy(logits))
    np.testing.assert_allclose(found.probabilities, special.softmax(logits, axis=1), rtol=1e-12)
    expected = [stats.multinomial(1, row).logpmf(np.eye(3)[label]) for row, label in
                zip(special.softmax(logits, axis=1), labels, strict=True)]
    np.testing.assert_allclose(found.log_prob(torch.from_numpy(labels)), expected, rtol=1e-10)
    stacked = Categorical(torch.from_numpy(np.stack([logits, logits]))).log_prob(torch.from_numpy(labels))
    assert stacked.shape == (2, 6)


def test_draws_have_the_probabilities():
    torch.manual_seed(0)
    logits = torch.tensor([0.0, 1.0, -1.0]).expand(20000, 3)
    shares = np.bincount(Categorical(logits).sample(), minlength=3) / 20000
    np.testing.assert_allclose(shares, special.softmax([0, 1, -1]), atol=0.02)
