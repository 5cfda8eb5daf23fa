"""The ELBO: reconstruction less divergence, and never above the evidence."""

import numpy as np
import pytest
from examples import opened, small_data, trained, untrained

from latome.analysis.latent import latent_moments
from latome.analysis.likelihood import elbo, elbo_terms
from latome.backend import torch
from latome.data.registry import open_data
from latome.errors import FieldError
from latome.kernels.sparse import SparseCounts
from latome.modules.scvi import ScviSettings


@pytest.fixture(scope="module")
def data():
    return opened()


@pytest.fixture(scope="module")
def fit(data):
    return trained(data)


def test_the_divergence_is_that_of_normals(fit, data):
    mean, variance = latent_moments(fit.module, data)
    expected = 0.5 * (variance + mean**2 - 1 - np.log(variance)).sum(1)
    found = elbo_terms(fit.module, data, draw="mean")
    np.testing.assert_allclose(found["kl_local"], expected, rtol=1e-4, atol=1e-5)
    assert found["reconstruction_loss"].shape == (90,) and (found["reconstruction_loss"] > 0).all()
    assert elbo(fit.module, data, draw="mean") == pytest.approx(
        -(found["reconstruction_loss"] + found["kl_local"]).mean(), rel=1e-5)


def test_the_reconstruction_is_the_likelihood_of_the_decoded_cell(fit, data):
    x = torch.tensor(data.source.csr.toarray())
    module = fit.module
    with torch.no_grad():
        z = module.encoder(x.log1p()).mean
        heads = module.decoder(z, torch.tensor(data.categories), None)
        mu = (heads["logits"].softmax(1) * x.sum(1, keepdim=True)).double()
        theta, zero = module.log_theta.exp().double(), heads["gate"].sigmoid().double()
        nb = torch.distributions.NegativeBinomial(theta.expand_as(mu), logits=(mu / theta).log())
        nb = nb.log_prob(x.double()).exp()
        expected = -(zero * (x == 0) + (1 - zero) * nb).log().sum(1)
    found = elbo_terms(module, data, draw="mean")["reconstruction_loss"]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize("batch_size", [1, 7, 90])
def test_minibatches_do_not_matter(fit, data, batch_size):
    whole = elbo(fit.module, data, draw="mean")
    assert elbo(fit.module, data, draw="mean", batch_size=batch_size) == pytest.approx(whole, rel=1e-5)


def test_training_raises_it(fit, data):
    assert elbo(fit.module, data, draw="mean") > elbo(untrained(data).module, data, draw="mean") + 2


def test_it_lies_below_the_evidence():
    """With one latent the evidence of a cell is an integral that a grid can take."""
    data = opened()
    fit = trained(data, ScviSettings(12, 1, gene_likelihood="nb", use_batch_norm="none"), max_epochs=10)
    module, x = fit.module, torch.tensor(data.source.csr.toarray())
    categories = torch.tensor(data.categories)
    z = torch.linspace(-8, 8, 801)
    with torch.no_grad():
        cells = {"x": SparseCounts.from_dense(x), "categories": categories, "continuous": None}
        log_joint = []
        for value in z:
            p = module.generative({"z": value.expand(len(x), 1)}, cells).likelihood["x"]
            log_joint.append(p.log_prob(cells["x"]) - value**2 / 2 - 0.5 * np.log(2 * np.pi))
        evidence = (torch.stack(log_joint).double().logsumexp(0) + np.log(16 / 800)).mean().item()
    torch.manual_seed(0)
    draws = [elbo(module, data) for _ in range(20)]
    assert np.mean(draws) < evidence + 0.01
    assert np.mean(draws) > evidence - 20              # a bound that is of use


def test_a_cell_without_label_has_no_dispersion_by_label():
    """Rather than that of the last label."""
    adata = small_data()
    made = untrained(opened(adata, labels="cell_type"), ScviSettings(12, 3, dispersion="gene-label"))
    del adata.obs["cell_type"]
    with pytest.raises(FieldError, match="'gene-label' needs a label for each cell"):
        elbo(made.module, open_data(adata, registry=made.registry))
