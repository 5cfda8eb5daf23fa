"""The latent: what the encoder says of each cell, whatever the minibatches, and draws around it."""

import numpy as np
import pytest
from examples import opened, small_data, trained

from latome.analysis.latent import latent, latent_moments
from latome.backend import torch
from latome.data.registry import open_data
from latome.modules.scvi import ScviSettings


@pytest.fixture(scope="module")
def data():
    return opened(categorical=("kit",))


@pytest.fixture(scope="module")
def fit(data):
    return trained(data, ScviSettings(12, 3, encode_covariates=True))


def test_it_is_the_encoders_mean(fit, data):
    x = torch.tensor(data.source.csr.toarray())
    with torch.no_grad():
        q = fit.module.encoder(x.log1p(), torch.tensor(data.categories), None)
    mean, variance = latent_moments(fit.module, data)
    assert mean.shape == variance.shape == (90, 3) and mean.dtype == np.float32
    np.testing.assert_allclose(mean, q.mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(variance, q.variance, rtol=1e-4)
    np.testing.assert_array_equal(latent(fit.module, data), mean)


@pytest.mark.parametrize("batch_size", [1, 7, 89])
def test_minibatches_do_not_matter(fit, data, batch_size):
    whole = latent(fit.module, data)
    np.testing.assert_allclose(latent(fit.module, data, batch_size=batch_size), whole, rtol=1e-4, atol=1e-5)
    some = latent(fit.module, data, batch_size=batch_size, indices=[44, 2])
    np.testing.assert_allclose(some, whole[[44, 2]], rtol=1e-4, atol=1e-5)


def test_the_order_and_number_of_cells_and_genes_do_not_matter(fit, data):
    whole = latent(fit.module, data)
    adata = small_data()
    generator = np.random.default_rng(0)
    cells, genes = generator.permutation(90)[:50], generator.permutation(30)
    found = latent(fit.module, open_data(adata[cells, genes].copy(), registry=fit.registry))
    np.testing.assert_allclose(found, whole[cells], rtol=1e-4, atol=1e-5)


def test_draws_have_the_posteriors_moments(fit, data):
    mean, variance = latent_moments(fit.module, data)
    torch.manual_seed(0)
    n = 400
    draws = np.stack([latent(fit.module, data, give_mean=False) for _ in range(n)])
    z = (draws.mean(0) - mean) / np.sqrt(variance / n)
    assert np.abs(z).max() < 5 and 0.8 < z.std() < 1.2
    np.testing.assert_allclose(draws.var(0) / variance, 1, atol=6 * np.sqrt(2 / n))
    torch.manual_seed(0)
    np.testing.assert_array_equal(latent(fit.module, data, give_mean=False), draws[0])
