"""scANVI in the interface of the papers."""

import json
import warnings

import numpy as np
import pandas as pd
import pytest
from examples import small_data

import latome
from latome.errors import FieldError, QueryError, SettingError
from latome.io import torch_archive
from latome.model import SCANVI, SCVI

QUICK = {"max_epochs": 3, "batch_size": 32, "accelerator": "cpu"}


@pytest.fixture
def adata():
    found = small_data()
    keep = np.random.default_rng(0).random(90) < 0.5
    found.obs["label"] = found.obs["cell_type"].astype(object).where(keep, "Unknown")
    return found


def made(adata, **model):
    SCANVI.setup_anndata(adata, labels_key="label", unlabeled_category="Unknown", batch_key="batch")
    return SCANVI(adata, n_hidden=12, n_latent=3, **model)


def test_the_script_of_the_papers(adata, tmp_path):
    SCVI.setup_anndata(adata, batch_key="batch", labels_key="label")
    scvi = SCVI(adata, n_hidden=12, n_latent=3)
    scvi.train(**QUICK)
    model = SCANVI.from_scvi_model(scvi, "Unknown")
    model.train(max_epochs=40, n_samples_per_label=10, plan_kwargs={"lr": 5e-3}, check_val_every_n_epoch=1,
                batch_size=32)
    calls = model.predict()
    assert calls.shape == (90,) and set(calls) <= {"type_1", "type_2"}
    soft = model.predict(soft=True)
    assert isinstance(soft, pd.DataFrame) and soft.columns.tolist() == ["type_1", "type_2"]
    assert soft.index.equals(adata.obs_names)
    np.testing.assert_allclose(soft.sum(axis=1), 1, rtol=1e-5)
    assert (soft.columns[soft.to_numpy().argmax(1)] == calls).all()
    assert (calls == adata.obs["cell_type"]).mean() > 0.8               # two types
    assert {"train_accuracy", "train_f1_score", "train_calibration_error", "train_classification_loss",
            "validation_accuracy", "elbo_validation"} <= set(model.history)
    model.save(tmp_path / "model", save_anndata=True)
    again = SCANVI.load(tmp_path / "model")
    pd.testing.assert_frame_equal(again.predict(soft=True), soft)
    assert model.get_latent_representation().shape == (90, 3)
    assert model.get_normalized_expression(n_samples=2).shape == (90, 30)
    assert model.differential_expression(groupby="cell_type", mode="change").shape[0] == 60


def test_what_each_gene_adds_to_a_label(adata):
    model = made(adata)
    model.train(**QUICK)
    calls, attributions = model.predict(ig_interpretability=True, ig_args={"n_steps": 20}, indices=[4, 0, 7])
    assert (calls == model.predict()[[4, 0, 7]]).all() and attributions.shape == (3, 30)
    ranked = model.get_ranked_features(attrs=attributions)
    assert ranked.columns.tolist() == ["gene", "gene_idx", "attribution_mean", "attribution_std", "cells"]
    np.testing.assert_allclose(ranked["attribution_mean"], np.sort(attributions.mean(0))[::-1], rtol=1e-5, atol=1e-9)
    np.testing.assert_array_equal(ranked["gene"], adata.var_names[ranked["gene_idx"]])
    with pytest.raises(SettingError, match=r"cannot hold \['steps'\]"):
        model.predict(ig_interpretability=True, ig_args={"steps": 20})
    with pytest.raises(QueryError, match="no attributions to rank"):
        model.get_ranked_features()


def test_predictions_of_rows_of_other_data_and_of_draws(adata):
    model = made(adata)
    model.train(**QUICK)
    whole = model.predict(soft=True)
    pd.testing.assert_frame_equal(model.predict(indices=[5, 2], soft=True), whole.iloc[[5, 2]], rtol=1e-5)
    other = small_data(20, seed=5)                     # without the column of labels
    assert model.predict(other).shape == (20,)
    drawn = model.predict(soft=True, use_posterior_mean=False)
    assert np.abs(drawn - whole).to_numpy().max() > 1e-3
    with pytest.raises(QueryError, match="dataloader"):
        model.predict(dataloader=[])
    other.obs["label"] = "type_7"
    with pytest.raises(FieldError, match="not trained on: 'type_7'"):
        model.predict(other)


def test_setting_up(adata):
    SCANVI.setup_anndata(adata, "label", "Unknown", batch_key="batch", use_minified=False)
    columns = json.loads(adata.uns["latome"]["SCANVI"])
    assert (columns["labels"], columns["unlabeled"]) == ("label", "Unknown")
    model = SCANVI(adata, n_hidden=12, n_latent=3)
    assert model.fit.registry.categories["labels"] == ["type_1", "type_2"]
    assert "SCANVI" in repr(model)
    with pytest.raises(TypeError, match="batch"):
        SCANVI.setup_anndata(adata, "label", "Unknown", batch="batch")
    with pytest.raises(FieldError, match="no column 'lable'"):
        SCANVI.setup_anndata(adata, "lable", "Unknown")
    adata.obs["label"] = "Unknown"
    SCANVI.setup_anndata(adata, "label", "Unknown")
    with pytest.raises(FieldError, match="tells labels apart"):
        SCANVI(adata)


def test_options_of_training_that_are_settings_of_the_model(adata):
    model = made(adata, linear_classifier=True)
    model.train(**QUICK, adversarial_classifier=True, n_samples_per_label=4, plan_kwargs={"classification_ratio": 20})
    found = model.fit.settings
    assert (found.adversarial, found.n_samples_per_label, found.classification_ratio) == (True, 4, 20)
    assert found.linear_classifier and model.fit.module.settings is found
    model.train(**QUICK, adversarial_classifier=False, plan_config={"classification_ratio": 30})
    assert not model.fit.settings.adversarial and model.fit.settings.classification_ratio == 30
    for wrong in ({"n_samples_per_label": 0}, {"adversarial_classifier": "yes"},
                  {"plan_kwargs": {"classification_ratio": -1}}, {"plan_kwargs": {"ratio": 1}}):
        with pytest.raises(SettingError):
            model.train(**QUICK, **wrong)


def test_epochs_by_default(adata, monkeypatch):
    asked = []

    def begin(fit, data, options, **extras):
        asked.append(latome.fit.start(fit, data, options).n_epochs)
        raise KeyboardInterrupt

    monkeypatch.setattr("latome.faces.base.checkpoint.begin", begin)
    SCVI.setup_anndata(adata, batch_key="batch")
    scvi = SCVI(adata, n_hidden=12, n_latent=3)
    with pytest.warns(UserWarning, match="has not been trained"):
        child = SCANVI.from_scvi_model(scvi, "Unknown", "label")
    for model in (made(adata), child):
        with pytest.raises(KeyboardInterrupt):
            model.train()
    assert asked == [400, 10]


def test_what_from_scvi_model_refuses(adata):
    SCVI.setup_anndata(adata, batch_key="batch")
    scvi = SCVI(adata, n_hidden=12, n_latent=3)
    scvi.train(**QUICK)
    with pytest.raises(FieldError, match="without labels"):
        SCANVI.from_scvi_model(scvi, "Unknown")
    with pytest.warns(UserWarning, match="n_latent: taken from the SCVI model"):
        model = SCANVI.from_scvi_model(scvi, "Unknown", "label", n_latent=5, linear_classifier=True)
    assert model.fit.settings.n_latent == 3 and model.fit.settings.linear_classifier
    with pytest.raises(SettingError, match="no setting 'linear'"):
        SCANVI.from_scvi_model(scvi, "Unknown", "label", linear=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SCANVI.from_scvi_model(scvi, "Unknown", "label", adata=adata[:50].copy())
    mean, variance = scvi.get_latent_representation(return_dist=True)
    adata.obsm["X_latent_qzm"], adata.obsm["X_latent_qzv"] = mean, variance
    scvi.minify_adata()
    with pytest.raises(QueryError, match="minified"):
        SCANVI.from_scvi_model(scvi, "Unknown", "label")


def test_minified_data_are_classified(adata):
    model = made(adata)
    model.train(**QUICK)
    before = model.predict(soft=True)
    adata.obsm["X_latent_qzm"], adata.obsm["X_latent_qzv"] = model.get_latent_representation(return_dist=True)
    model.minify_adata()
    pd.testing.assert_frame_equal(model.predict(soft=True), before, rtol=1e-4)


def test_a_query_without_labels(adata):
    model = made(adata, encode_covariates=True)
    model.train(**QUICK)
    query = small_data(40, seed=7)
    query.obs["batch"] = "new"
    mapped = SCANVI.load_query_data(query, model)
    mapped.train(max_epochs=2, plan_kwargs={"weight_decay": 0.0})
    assert mapped.predict().shape == (40,)
    pd.testing.assert_frame_equal(mapped.predict(adata, soft=True), model.predict(soft=True))


def test_the_file_of_scvi_tools_has_its_parts(adata, tmp_path):
    model = made(adata)
    model.train(**QUICK)
    model.write_scvi_tools(tmp_path / "theirs", save_anndata=True)
    attributes = torch_archive.read(tmp_path / "theirs" / "model.pt")["attr_dict"]
    registry = attributes["registry_"]
    labels = registry["field_registries"]["labels"]["state_registry"]
    assert list(labels["categorical_mapping"]) == ["type_1", "type_2", "Unknown"]
    assert labels["unlabeled_category"] == registry["setup_args"]["unlabeled_category"] == "Unknown"
    assert attributes["unlabeled_category_"] == "Unknown" and registry["model_name"] == "SCANVI"
    again = SCANVI.load(tmp_path / "theirs")
    pd.testing.assert_frame_equal(again.predict(soft=True), model.predict(soft=True))
    assert again.fit.registry.columns == model.fit.registry.columns
