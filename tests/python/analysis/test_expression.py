"""Normalised expression: fractions that sum to one, decoded under the batch asked for."""

import numpy as np
import pytest
from examples import opened, trained

from latome.analysis.expression import normalized_expression
from latome.analysis.latent import latent
from latome.backend import torch
from latome.errors import QueryError


@pytest.fixture(scope="module")
def data():
    return opened(categorical=("kit",))


@pytest.fixture(scope="module")
def fit(data):
    return trained(data)


def decoded(fit, data, batch=None):
    """Fractions of the posterior mean, under one batch for all or each cell's own."""
    categories = data.categories.copy()
    if batch is not None:
        categories[:, 0] = batch
    with torch.no_grad():
        z = torch.tensor(latent(fit.module, data))
        return fit.module.decoder(z, torch.tensor(categories), None)["logits"].softmax(1).numpy()


def ask(fit, data, **more):
    return normalized_expression(fit.module, data, draw="mean", **more)


def test_fractions_of_each_cells_own_batch(fit, data):
    found = ask(fit, data)
    assert found.shape == (90, 30) and found.dtype == np.float32
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(found, decoded(fit, data), rtol=1e-4, atol=1e-7)


def test_another_batch(fit, data):
    names = data.registry.batch_categories
    each = [decoded(fit, data, code) for code in range(2)]
    for code, name in enumerate(names):
        np.testing.assert_allclose(ask(fit, data, transform_batch=name), each[code], rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(ask(fit, data, transform_batch=names), (each[0] + each[1]) / 2, rtol=1e-4, atol=1e-7)
    assert np.abs(each[0] - each[1]).max() > 1e-4


def test_library_sizes(fit, data):
    np.testing.assert_allclose(ask(fit, data, library_size=1e4), 1e4 * ask(fit, data), rtol=1e-5)
    expected = ask(fit, data) * data.source.totals()[:, None]
    np.testing.assert_allclose(ask(fit, data, library_size="latent"), expected, rtol=1e-4)


def test_minibatches_do_not_matter(fit, data):
    np.testing.assert_allclose(ask(fit, data, batch_size=7), ask(fit, data), rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(ask(fit, data, indices=[4, 80]), ask(fit, data)[[4, 80]], rtol=1e-4, atol=1e-7)


def test_draws_differ_from_means(fit, data):
    torch.manual_seed(0)
    found = normalized_expression(fit.module, data)
    assert np.abs(found - ask(fit, data)).max() > 1e-4
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-5)


def test_an_unknown_batch(fit, data):
    with pytest.raises(QueryError, match="no batch 'lab_9'") as caught:
        ask(fit, data, transform_batch="lab_9")
    assert all(f"'{name}'" in caught.value.hint for name in data.registry.batch_categories)
