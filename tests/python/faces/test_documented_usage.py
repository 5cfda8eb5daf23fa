"""Scripts that keep to the public interface of scvi-tools, with `import latome as scvi` as the only change.

Each follows the documented use of one method: its arguments by name, the shape and the columns of what comes back.
"""

import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import latome as scvi
from latome.backend import torch
from latome.errors import FieldError, QueryError, SettingError

warnings.filterwarnings("ignore", message="differential_expression")
BATCHES, GENES, CELLS = ["batch_0", "batch_1"], 100, 400


@pytest.fixture(scope="module")
def adata():
    data = scvi.data.synthetic_iid()
    data.obs["site"] = np.where(np.arange(CELLS) % 3 == 0, "x", "y")
    data.obs["percent_mito"] = np.random.default_rng(0).random(CELLS)
    data.layers["counts"] = data.X.copy()
    return data


@pytest.fixture(scope="module")
def model(adata):
    scvi.settings.seed = 0
    scvi.model.SCVI.setup_anndata(
        adata, layer="counts", batch_key="batch", labels_key="labels", categorical_covariate_keys=["site"],
        continuous_covariate_keys=["percent_mito"])
    vae = scvi.model.SCVI(adata, n_latent=5, n_layers=1, gene_likelihood="zinb")
    vae.train(max_epochs=4, train_size=0.8, check_val_every_n_epoch=1, accelerator="cpu")
    return vae


def test_the_figure_of_the_letter(tmp_path):
    simulated = scvi.data.synthetic_iid()
    simulated.obs["cell_type"] = np.where(simulated.obs["labels"] == "label_0", "CD4", "CD8")
    simulated.write_h5ad(tmp_path / "data.h5ad")

    adata = scvi.data.read_h5ad(tmp_path / "data.h5ad")
    scvi.model.SCVI.setup_anndata(adata)
    model = scvi.model.SCVI(adata)
    model.train(max_epochs=2)
    latent = model.get_latent_representation()
    de = model.differential_expression(groupby="cell_type", group1="CD4", group2="CD8")
    expression = model.get_normalized_expression()
    model.save(tmp_path / "save_dir")

    assert latent.shape == (CELLS, 10)
    assert expression.shape == (CELLS, GENES) and list(expression.index) == list(adata.obs_names)
    assert set(de["comparison"]) == {"CD4 vs CD8"} and set(de.index) == set(adata.var_names)


def test_training_and_its_history(model, adata):
    assert model.is_trained and len(model.history["elbo_train"]) == 4
    assert {"elbo_validation", "reconstruction_loss_train", "kl_local_train"} <= set(model.history.keys())
    assert model.history["elbo_validation"].notna().all()
    assert len(model.train_indices) == 320 and len(model.validation_indices) == 80
    assert not set(model.train_indices) & set(model.validation_indices)
    other = scvi.model.SCVI(adata, n_hidden=16)
    other.train(
        2, batch_size=64, early_stopping=True, early_stopping_patience=2, enable_progress_bar=False,
        plan_kwargs={"lr": 5e-3, "n_epochs_kl_warmup": 2, "reduce_lr_on_plateau": True, "lr_patience": 1},
        datasplitter_kwargs={"drop_last": True}, gradient_clip_val=10.0)
    assert len(other.history) == 2 and other.history["kl_weight"].tolist() == [0.0, 0.5]


def test_latent(model, adata):
    z = model.get_latent_representation(adata, indices=[1, 2, 3], batch_size=2)
    assert z.shape == (3, 5) and z.dtype == np.float32
    mean, variance = model.get_latent_representation(return_dist=True)
    np.testing.assert_allclose(mean[1:4], z, rtol=1e-4, atol=1e-5)
    assert (variance > 0).all()


def test_normalized_expression(model, adata):
    genes = list(adata.var_names[:7])
    table = model.get_normalized_expression(adata, library_size=1e4, gene_list=genes, transform_batch=BATCHES)
    assert isinstance(table, pd.DataFrame) and table.shape == (CELLS, 7) and list(table.columns) == genes
    whole = model.get_normalized_expression(transform_batch="batch_1", n_samples=3, return_numpy=True)
    np.testing.assert_allclose(whole.sum(1), 1, rtol=1e-4)
    assert model.get_normalized_expression(indices=[0, 5], n_samples=3, return_mean=False).shape == (3, 2, GENES)
    assert model.get_normalized_expression(n_samples_overall=50, return_numpy=True).shape == (50, GENES)
    assert model.get_normalized_expression(n_samples_overall=50).shape == (50, GENES)
    latent_size = model.get_normalized_expression(library_size="latent", return_numpy=True)
    np.testing.assert_allclose(latent_size.sum(1), adata.layers["counts"].sum(1), rtol=1e-3)
    with pytest.raises(QueryError, match="no batch 'batch_7'"):
        model.get_normalized_expression(transform_batch="batch_7")


VANILLA = ["proba_m1", "proba_m2", "bayes_factor", "scale1", "scale2", "raw_mean1", "raw_mean2",
           "non_zeros_proportion1", "non_zeros_proportion2", "raw_normalized_mean1", "raw_normalized_mean2",
           "comparison", "group1", "group2"]


def test_differential_expression(model, adata):
    table = model.differential_expression(groupby="labels", n_samples_overall=200)
    assert list(table.columns) == VANILLA and len(table) == 3 * GENES
    assert set(table["comparison"]) == {f"label_{i} vs Rest" for i in range(3)}
    assert table["bayes_factor"][:GENES].is_monotonic_decreasing
    np.testing.assert_allclose(table["proba_m1"] + table["proba_m2"], 1, rtol=1e-5)
    change = model.differential_expression(
        groupby="labels", group1=["label_1", "label_2"], group2="label_0", mode="change", delta=0.5,
        batch_correction=True, fdr_target=0.1, n_samples_overall=200, cred_interval_lvls=[0.95])
    assert {"proba_de", "proba_not_de", "lfc_mean", "lfc_median", "lfc_std", "lfc_min", "lfc_max", "delta",
            "pseudocounts", "is_de_fdr_0.1", "lfc_confidence_interval_0.95_min"} <= set(change.columns)
    assert len(change) == 2 * GENES and (change["delta"] == 0.5).all()
    one, two = adata.obs["labels"] == "label_1", adata.obs["labels"] == "label_2"
    masks = model.differential_expression(idx1=one, idx2=two, n_samples_overall=100)
    assert len(masks) == GENES and "group1" not in masks.columns
    query = model.differential_expression(idx1="labels == 'label_1'", mode="change", n_samples_overall=100,
                                          weights="uniform", all_stats=False)
    assert len(query) == GENES and "raw_mean1" not in query.columns
    raw = adata.layers["counts"][one.to_numpy()].mean(0)
    np.testing.assert_allclose(masks["raw_mean1"].loc[adata.var_names], np.asarray(raw).ravel(), rtol=1e-5)


def test_simulation_and_parameters(model, adata):
    drawn = model.posterior_predictive_sample(n_samples=1, gene_list=list(adata.var_names[:9]))
    assert sp.issparse(drawn) and drawn.shape == (CELLS, 9) and (drawn.data == drawn.data.round()).all()
    assert model.posterior_predictive_sample(indices=[0, 1], n_samples=4).shape == (2, GENES, 4)
    parameters = model.get_likelihood_parameters(n_samples=1)
    assert set(parameters) == {"mean", "dispersions", "dropout"}
    assert parameters["mean"].shape == parameters["dropout"].shape == (CELLS, GENES)
    correlation = model.get_feature_correlation_matrix(indices=np.arange(60), n_samples=2, transform_batch=["batch_0"])
    assert isinstance(correlation, pd.DataFrame) and correlation.shape == (GENES, GENES)
    np.testing.assert_allclose(np.diag(correlation), 1)
    assert model.get_latent_library_size(give_mean=True).shape == (CELLS, 1)


def test_likelihoods(model):
    elbo, error = model.get_elbo(), model.get_reconstruction_error()
    assert elbo < 0 < error["reconstruction_loss"]
    bound = model.get_marginal_ll(n_mc_samples=50, indices=range(100))
    assert bound > model.get_elbo(indices=range(100)) - 1
    assert model.get_elbo(return_mean=False).shape == (CELLS,)


def test_abundance(model, adata):
    posterior = model.get_aggregated_posterior(indices=[0, 1, 2], dof=None)
    assert posterior.log_prob(torch.zeros(1, 5)).isfinite().all()
    model.differential_abundance(adata, sample_key="batch", num_cells_posterior=50)
    assert adata.obsm["da_log_probs"].shape == (CELLS, 2)
    assert list(adata.obsm["da_log_probs"].columns) == BATCHES


def test_minified_data(model, adata, tmp_path):
    small = scvi.model.SCVI.load(_saved(model, tmp_path / "whole"), adata=adata.copy())
    qzm, qzv = small.get_latent_representation(return_dist=True)
    small.adata.obsm["X_latent_qzm"], small.adata.obsm["X_latent_qzv"] = qzm, qzv
    whole = small.get_normalized_expression(return_numpy=True, n_samples=20)
    small.minify_adata(use_latent_qzm_key="X_latent_qzm", use_latent_qzv_key="X_latent_qzv")
    assert small.minified_data_type == "latent_posterior_parameters" and small.adata.layers["counts"].nnz == 0
    np.testing.assert_array_equal(small.get_latent_representation(), qzm)
    np.testing.assert_allclose(small.get_normalized_expression(return_numpy=True, n_samples=20), whole, rtol=1e-3)
    with pytest.raises(QueryError, match="minified"):
        small.get_elbo()
    small.save(tmp_path / "small", save_anndata=True)
    again = scvi.model.SCVI.load(tmp_path / "small")
    assert again.minified_data_type == small.minified_data_type
    np.testing.assert_array_equal(again.get_latent_representation(), qzm)


def _saved(model, folder):
    model.save(folder, overwrite=True)
    return folder


def test_saving_with_a_prefix_and_data(model, tmp_path):
    model.save(tmp_path / "models", prefix="first_", save_anndata=True)
    again = scvi.model.SCVI.load(tmp_path / "models", prefix="first_")
    np.testing.assert_array_equal(again.get_latent_representation(), model.get_latent_representation())
    assert again.adata.n_obs == CELLS


def test_size_factors_and_an_embedded_batch(adata):
    data = adata.copy()
    data.obs["size"] = data.X.sum(1) / 100
    scvi.model.SCVI.setup_anndata(data, batch_key="batch", size_factor_key="size")
    sized = scvi.model.SCVI(data, n_hidden=16, batch_representation="embedding", batch_embedding_kwargs={
        "embedding_dim": 3}, encode_covariates=True)
    sized.train(max_epochs=2)
    vectors = sized.get_batch_representation()
    assert vectors.shape == (CELLS, 3) and len(np.unique(vectors, axis=0)) == 2
    assert (sized.get_normalized_expression(return_numpy=True).sum(1) > 1.01).any()


def test_normalised_data_with_a_normal_likelihood(adata):
    data = adata.copy()
    data.layers["logged"] = np.log1p(data.X)
    with pytest.warns(UserWarning, match="whole numbers"):
        scvi.model.SCVI.setup_anndata(data, layer="logged", batch_key="batch")
    made = scvi.model.SCVI(data, gene_likelihood="normal", latent_distribution="ln", n_hidden=16)
    made.train(max_epochs=2)
    shares = made.get_latent_representation(mc_samples=100)
    np.testing.assert_allclose(shares.sum(1), 1, rtol=1e-4)
    assert set(made.get_likelihood_parameters()) == {"mean", "sd"}


@pytest.mark.parametrize(("ask", "error", "words"), [
    (lambda m: m.get_normalized_expression(dataloader=[]), QueryError, "dataloader"),
    (lambda m: m.get_batch_representation(), QueryError, "embedding"),
    (lambda m: m.differential_abundance(sample_key="nope"), QueryError, "nope"),
    (lambda m: m.minify_adata("everything"), SettingError, "everything"),
    (lambda m: m.minify_adata(use_latent_qzm_key="nope"), FieldError, "nope"),
    (lambda m: m.differential_expression(groupby="nope"), FieldError, "nope"),
    (lambda m: m.differential_expression(groupby="labels", group1="nope"), QueryError, "nope"),
])
def test_wrong_questions(model, ask, error, words):
    with pytest.raises(error, match=words) as caught:
        ask(model)
    assert caught.value.hint


def test_a_model_is_handed_back_to_scvi_tools(model, adata, tmp_path):
    model.write_scvi_tools(tmp_path / "theirs", save_anndata=True)
    assert sorted(path.name for path in (tmp_path / "theirs").iterdir()) == ["adata.h5ad", "model.pt"]
    again = scvi.model.SCVI.load(tmp_path / "theirs", adata=adata)
    np.testing.assert_array_equal(again.get_latent_representation(), model.get_latent_representation())
