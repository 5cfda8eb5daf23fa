"""The mixture of two negative binomials against scipy, and its samples against theory."""

import numpy as np
import scipy.stats as st

from latome.backend import torch
from latome.distributions import NegativeBinomialMixture
from latome.kernels.sparse import SparseCounts

N = 40000


def parameters(shape=(6, 5), seed=0):
    """(..., m, g) of two log means and a logit, (g,) log theta: float64."""
    generator = torch.Generator().manual_seed(seed)
    back, fore, mixing = (torch.randn(*shape, generator=generator, dtype=torch.float64) for _ in range(3))
    theta = torch.randn(shape[-1], generator=generator, dtype=torch.float64)
    return {"log_background": back, "log_foreground": back + fore.exp(), "log_theta": theta, "mixing": mixing}


def test_log_prob_is_that_of_scipy():
    given = parameters()
    x = np.random.default_rng(0).poisson(4, (6, 5))
    theta, background = given["log_theta"].exp().numpy(), given["mixing"].sigmoid().numpy()
    back, fore = (st.nbinom.pmf(x, theta, theta / (theta + given[name].exp().numpy()))
                  for name in ("log_background", "log_foreground"))
    expected = np.log(background * back + (1 - background) * fore)
    p = NegativeBinomialMixture(**given)
    dense = torch.tensor(x, dtype=torch.float64)
    for form in (dense, SparseCounts.from_dense(dense)):
        np.testing.assert_allclose(p.log_prob(form), expected.sum(1), rtol=1e-6)
    mask = (torch.arange(30).view(6, 5) % 2).double()
    masked = NegativeBinomialMixture(**given, mask=mask).log_prob(dense)
    np.testing.assert_allclose(masked, (expected * mask.numpy()).sum(1), rtol=1e-6)
    assert p.event_shape == (5,) and p.batch_shape == (6,)


def test_cells_have_rows_of_a_table_and_samples_stand_in_front():
    given = parameters((3, 6, 5))
    table, rows = torch.randn(2, 5).double(), torch.tensor([0, 1, 1, 0, 1, 0])
    x = torch.poisson(torch.full((6, 5), 3.0)).double()
    found = NegativeBinomialMixture(**given | {"log_theta": table}, theta_rows=rows).log_prob(x)
    assert found.shape == (3, 6)
    for i in range(3):
        one = {name: given[name][i] for name in ("log_background", "log_foreground", "mixing")}
        expected = NegativeBinomialMixture(**one, log_theta=table[rows]).log_prob(x)
        torch.testing.assert_close(found[i], expected)


def test_samples_have_the_mean_and_variance_of_theory():
    torch.manual_seed(3)
    given = {name: value if value.dim() == 1 else value[:1].expand(N, -1) for name, value in parameters().items()}
    p = NegativeBinomialMixture(**given)
    theta, w = given["log_theta"].exp(), given["mixing"][0].sigmoid()
    means = [given[name][0].exp() for name in ("log_background", "log_foreground")]
    mean = w * means[0] + (1 - w) * means[1]
    second = sum(share * (mu + mu**2 / theta + mu**2) for share, mu in zip((w, 1 - w), means, strict=True))
    variance = second - mean**2
    torch.testing.assert_close(p.mean[0], mean)
    x = p.sample()
    assert ((x.mean(0) - mean).abs() < 5 * (variance / N).sqrt()).all()
    few = p.sample(genes=torch.tensor([3, 1]))
    assert few.shape == (N, 2)
    assert ((few.mean(0) - mean[[3, 1]]).abs() < 5 * (variance[[3, 1]] / N).sqrt()).all()
