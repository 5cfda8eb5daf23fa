"""The object face: the interface of the papers, over the engine."""

import json
import warnings

import anndata
import numpy as np
import pandas as pd
import pytest
from examples import random_state, small_data

import latome
from latome.analysis.latent import latent_moments
from latome.errors import ArchiveError, FieldError, QueryError, SettingError, TrainingError
from latome.model import SCVI

TRAINING = {"max_epochs": 4, "batch_size": 32, "accelerator": "cpu"}


@pytest.fixture
def adata():
    return small_data()


@pytest.fixture
def model(adata):
    SCVI.setup_anndata(adata, batch_key="batch", labels_key="cell_type", categorical_covariate_keys=["kit"],
                       continuous_covariate_keys=["age"])
    made = SCVI(adata, n_hidden=12, n_latent=3)
    made.train(**TRAINING)
    return made


def test_the_script_of_the_papers(tmp_path):
    small_data().write_h5ad(tmp_path / "cells.h5ad")
    adata = latome.data.read_h5ad(tmp_path / "cells.h5ad")
    latome.model.SCVI.setup_anndata(adata, batch_key="batch")
    model = latome.model.SCVI(adata, n_hidden=12)
    model.train(max_epochs=2)
    latent = model.get_latent_representation()
    adata.obsm["X_scvi"] = latent
    assert latent.shape == (90, 10) and latent.dtype == np.float32
    assert np.isfinite(model.get_elbo()) and model.get_elbo() < 0
    model.save(tmp_path / "save_dir")
    again = latome.model.SCVI.load(tmp_path / "save_dir", adata=adata)
    np.testing.assert_array_equal(again.get_latent_representation(), latent)
    assert again.is_trained and again.adata is adata


def test_setting_up_writes_one_text_and_nothing_else(adata):
    before = adata.copy()
    SCVI.setup_anndata(adata, layer=None, batch_key="batch", continuous_covariate_keys=["age"])
    assert adata.uns.keys() == before.uns.keys() | {"latome"} and set(adata.uns["latome"]) == {"SCVI"}
    stored = json.loads(adata.uns["latome"]["SCVI"])
    assert stored["batch"] == "batch" and stored["continuous"] == ["age"] and stored["labels"] is None
    pd.testing.assert_frame_equal(adata.obs, before.obs)
    pd.testing.assert_frame_equal(adata.var, before.var)
    assert adata.obsm.keys() == before.obsm.keys() and adata.layers.keys() == before.layers.keys()
    SCVI(adata, n_hidden=12).train(max_epochs=1)
    assert set(adata.uns["latome"]) == {"SCVI"} and not adata.obsm


def test_the_set_up_travels(adata, tmp_path):
    SCVI.setup_anndata(adata, batch_key="batch")
    adata.write_h5ad(tmp_path / "cells.h5ad")
    for other in (adata.copy(), anndata.read_h5ad(tmp_path / "cells.h5ad"), adata[:50], adata[10:60].copy()):
        made = SCVI(other, n_hidden=12)
        made.train(max_epochs=1)
        assert made.get_latent_representation().shape == (other.n_obs, 10)
        assert made.fit.registry.columns.batch == "batch"


def test_a_view_may_be_set_up_and_leaves_its_parent_alone(adata):
    view = adata[:50]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")                # anndata says that the view becomes a copy
        SCVI.setup_anndata(view, batch_key="batch")
    assert "latome" not in adata.uns and SCVI(view, n_hidden=12).fit.registry.n_batch == 2


def test_setting_up_again_replaces(adata):
    SCVI.setup_anndata(adata, batch_key="batch")
    SCVI.setup_anndata(adata, batch_key="kit")
    assert SCVI(adata, n_hidden=12).fit.registry.n_batch == 3


def test_the_latent_of_rows_and_of_other_data(model, adata):
    z = model.get_latent_representation()
    np.testing.assert_allclose(model.get_latent_representation(indices=[3, 70]), z[[3, 70]], rtol=1e-4, atol=1e-5)
    mask = np.arange(90) < 5
    np.testing.assert_allclose(model.get_latent_representation(indices=mask, batch_size=3), z[:5], rtol=1e-4, atol=1e-5)
    other = adata[::-2, ::-1].copy()
    del other.uns["latome"]                            # a query needs no set-up: names are enough
    np.testing.assert_allclose(model.get_latent_representation(other), z[::-2], rtol=1e-4, atol=1e-5)
    mean, variance = model.get_latent_representation(return_dist=True)
    expected = latent_moments(model.fit.module, model._data)
    np.testing.assert_array_equal(mean, expected[0])
    np.testing.assert_array_equal(variance, expected[1])


def test_draws_repeat_and_leave_the_callers_generators_alone(model):
    before = random_state()
    one, two = (model.get_latent_representation(give_mean=False) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert np.abs(one - model.get_latent_representation()).max() > 0.01
    assert model.get_elbo() == model.get_elbo()
    assert all(np.array_equal(a, b) for a, b in zip(before, random_state()))


def test_the_seed_of_the_settings_counts(adata):
    SCVI.setup_anndata(adata, batch_key="batch")
    found = {}
    try:
        for seed in (0, 0, 1):
            latome.settings.seed = seed
            made = SCVI(adata, n_hidden=12)
            made.train(max_epochs=1)
            found.setdefault(seed, []).append(made.get_latent_representation())
    finally:
        latome.settings.seed = 0
    np.testing.assert_array_equal(*found[0])
    assert np.abs(found[0][0] - found[1][0]).max() > 0


def test_training_again_continues_and_history_is_a_table(model):
    assert model.is_trained and isinstance(model.history, pd.DataFrame) and len(model.history) == 4
    model.train(max_epochs=2)
    assert model.history.index.tolist() == list(range(6)) and "elbo_train" in model.history
    assert "trained for 6 epochs" in repr(model) and "30 genes, 2 batches, 3 latent" in repr(model)


def test_an_interrupt_keeps_the_model_and_says_so(adata, monkeypatch):
    SCVI.setup_anndata(adata, batch_key="batch")
    model = SCVI(adata, n_hidden=12)
    loss, calls = type(model.fit.module).loss, []

    def interrupted(module, *arguments):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return loss(module, *arguments)

    monkeypatch.setattr(type(model.fit.module), "loss", interrupted)
    with pytest.warns(UserWarning, match="interrupted after .* the model is kept"):
        model.train(**TRAINING)
    assert model.is_trained and model.get_latent_representation().shape == (90, 10)


def test_an_untrained_model_answers_with_a_warning(adata):
    SCVI.setup_anndata(adata, batch_key="batch")
    model = SCVI(adata, n_hidden=12)
    assert not model.is_trained and "not trained" in repr(model)
    for ask in (model.get_latent_representation, model.get_elbo):
        with pytest.warns(UserWarning, match="has not been trained"):
            ask()


def test_saving_with_data_and_loading_with_and_without(model, tmp_path):
    model.save(tmp_path / "with", save_anndata=True)
    np.testing.assert_array_equal(SCVI.load(tmp_path / "with").get_latent_representation(),
                                  model.get_latent_representation())
    model.save(tmp_path / "without")
    with pytest.raises(ArchiveError, match="holds no data") as caught:
        SCVI.load(tmp_path / "without")
    assert "adata=False" in caught.value.hint
    alone = SCVI.load(tmp_path / "without", adata=False)
    np.testing.assert_array_equal(alone.get_latent_representation(model.adata), model.get_latent_representation())
    with pytest.raises(QueryError, match="loaded without data"):
        alone.get_latent_representation()
    with pytest.raises(TrainingError, match="loaded without data"):
        alone.train()
    with pytest.raises(ArchiveError, match="already holds a model"):
        model.save(tmp_path / "with")
    model.save(tmp_path / "with", overwrite=True)


def test_a_model_of_another_class(model, tmp_path):
    class OTHER(SCVI):
        kind = "other"

    model.save(tmp_path / "m")
    with pytest.raises(ArchiveError, match="holds a scvi model, not other") as caught:
        OTHER.load(tmp_path / "m", adata=False)
    assert caught.value.hint


def test_doubts_about_the_data_are_warnings(adata):
    adata.obs["age"] = 1.0
    with pytest.warns(UserWarning, match="'age' is the same in every cell"):
        SCVI.setup_anndata(adata, continuous_covariate_keys=["age"])


@pytest.mark.parametrize(("arguments", "error", "problem"), [
    ({"size_factor_key": "lib"}, FieldError, "no column 'lib'"),
    ({"batch_key": "bach"}, FieldError, "no column 'bach'"),
    ({"layer": "counts"}, FieldError, "no layer 'counts'"),
])
def test_a_wrong_set_up(adata, arguments, error, problem):
    with pytest.raises(error, match=problem):
        SCVI.setup_anndata(adata, **arguments)
    assert "latome" not in adata.uns


def test_a_model_needs_its_set_up(adata):
    with pytest.raises(FieldError, match="not set up for SCVI") as caught:
        SCVI(adata)
    assert "SCVI.setup_anndata(adata" in caught.value.hint
    with pytest.raises(FieldError, match="needs an AnnData"):
        SCVI()
    SCVI.setup_anndata(adata)
    with pytest.raises(SettingError, match="no setting 'n_latents'"):
        SCVI(adata, n_latents=3)


def test_continuous_covariates_enter_the_first_layer_alone(model, adata):
    assert model.fit.settings.continuous_in == "first"
    assert SCVI(adata, n_hidden=12, continuous_in="every").fit.settings.continuous_in == "every"


def test_a_checkpoint_may_be_asked_for(adata, tmp_path):
    SCVI.setup_anndata(adata, batch_key="batch")
    SCVI(adata, n_hidden=12).train(**TRAINING, checkpoint=str(tmp_path / "state"))
    assert (tmp_path / "state" / "checkpoint.safetensors").exists()


def test_one_covariate_may_be_named_by_a_text(adata):
    SCVI.setup_anndata(adata, categorical_covariate_keys="kit", continuous_covariate_keys="age")
    columns = json.loads(adata.uns["latome"]["SCVI"])
    assert (columns["categorical"], columns["continuous"]) == (["kit"], ["age"])
