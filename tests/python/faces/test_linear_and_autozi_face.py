"""LDVAE and AutoZI as objects: what they say beside what all models of counts do."""

import numpy as np
import pytest
from examples import small_data

import latome as scvi
from latome.backend import torch
from latome.errors import SettingError


def made(kind, **settings):
    adata = small_data()
    kind.setup_anndata(adata, batch_key="batch", labels_key="cell_type")
    model = kind(adata, n_hidden=12, n_latent=3, **settings)
    model.train(max_epochs=3, batch_size=32, accelerator="cpu")
    return model


@pytest.mark.parametrize("kind", ["LinearSCVI", "AUTOZI"])
def test_what_all_models_of_counts_answer(kind, tmp_path):
    model = made(getattr(scvi.model, kind))
    adata = model.adata
    assert set(adata.uns["latome"]) == {kind}
    assert model.get_latent_representation().shape == (90, 3)
    assert model.get_normalized_expression().shape == model.posterior_predictive_sample().shape == (90, 30)
    bound, marginal = model.get_elbo(), model.get_marginal_ll(n_mc_samples=200)
    assert bound < marginal < 0
    table = model.differential_expression(groupby="cell_type", group1="type_1", mode="vanilla")
    assert set(table.index) == set(adata.var_names)
    model.save(tmp_path / "model")
    again = getattr(scvi.model, kind).load(tmp_path / "model", adata=adata)
    np.testing.assert_array_equal(again.get_latent_representation(), model.get_latent_representation())
    assert model.get_likelihood_parameters().keys() >= {"mean", "dispersions"}


def test_loadings():
    model = made(scvi.model.LinearSCVI)
    found = model.get_loadings()
    assert list(found.index) == list(model.adata.var_names) and list(found.columns) == ["Z_0", "Z_1", "Z_2"]
    assert np.isfinite(found.to_numpy()).all()


def test_the_posterior_of_zero_inflation():
    model = made(scvi.model.AUTOZI, beta_prior=0.7)
    found = model.get_alphas_betas()
    assert {name: value.shape for name, value in found.items()} == {
        "alpha_posterior": (30,), "beta_posterior": (30,), "alpha_prior": (1,), "beta_prior": (1,)}
    np.testing.assert_allclose([found["alpha_prior"][0], found["beta_prior"][0]], [0.5, 0.7], rtol=1e-6)
    tensors = model.get_alphas_betas(as_numpy=False)
    assert all(torch.equal(tensors[name], torch.from_numpy(value)) for name, value in found.items())
    table = model.get_zero_inflation()
    np.testing.assert_allclose(table["alpha"], found["alpha_posterior"])
    by_label = made(scvi.model.AUTOZI, zero_inflation="gene-label", alpha_prior=None, beta_prior=None)
    assert by_label.get_alphas_betas()["alpha_posterior"].shape == (30, 2)
    assert list(by_label.get_zero_inflation()["label"].unique()) == ["type_1", "type_2"]


def test_wrong_keywords():
    adata = small_data()
    for kind in (scvi.model.LinearSCVI, scvi.model.AUTOZI):
        with pytest.raises(TypeError, match="categorical_covariate_keys"):
            kind.setup_anndata(adata, categorical_covariate_keys=["kit"])
        kind.setup_anndata(adata)
        with pytest.raises(SettingError, match="n_hiden"):
            kind(adata, n_hiden=3)
