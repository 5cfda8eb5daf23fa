"""SOLO and CellAssign in the interface of the papers."""

import warnings

import numpy as np
import pandas as pd
import pytest
from examples import small_data

import latome
from latome.errors import ArchiveError, FieldError, QueryError, SettingError
from latome.external import SOLO, CellAssign
from latome.model import SCVI

QUIET = {"accelerator": "cpu", "enable_progress_bar": False}


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The model has not been trained")
        yield


@pytest.fixture(scope="module")
def vae():
    adata = small_data()
    SCVI.setup_anndata(adata, batch_key="batch", categorical_covariate_keys=["kit"], continuous_covariate_keys=["age"])
    model = SCVI(adata, n_hidden=12, n_latent=3)
    model.train(max_epochs=2, **QUIET)
    return model


def table(adata):
    return pd.DataFrame({"one": [1, 1, 0, 0], "two": [0, 0, 1, 1]}, index=adata.var_names[:4])


def test_several_batches_are_told_once_and_one_is_not(vae):
    with pytest.warns(UserWarning, match="of 2 batches"):              # it never comes in scvi-tools
        SOLO.from_scvi_model(vae)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SOLO.from_scvi_model(vae, restrict_to_batch=vae.adata.obs["batch"].iloc[0])


def test_solo_from_a_model_with_covariates(vae, tmp_path):
    batch = vae.adata.obs["batch"].iloc[0]
    here = vae.adata.obs_names[vae.adata.obs["batch"] == batch]
    solo = SOLO.from_scvi_model(vae, restrict_to_batch=batch, doublet_ratio=3, n_hidden=8)
    solo.train(max_epochs=2, **QUIET)
    found = solo.predict()
    assert list(found.columns) == ["doublet", "singlet"] and list(found.index) == list(here)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
    assert len(solo.predict(include_simulated_doublets=True)) == 4 * len(here)
    logits = solo.predict(return_logits=True).to_numpy()
    np.testing.assert_allclose(1 / (1 + np.exp(logits[:, 1] - logits[:, 0])), found["doublet"], rtol=1e-4)
    labels = solo.predict(soft=False)
    assert isinstance(labels, pd.Series) and (labels == found.idxmax(axis=1)).all()
    assert solo.history["elbo_validation"].notna().all()                # early stopping watches it by default
    solo.save(tmp_path / "solo", save_anndata=True)
    assert SOLO.load(tmp_path / "solo").predict().equals(found)


def test_other_cells_of_the_same_genes(vae):
    other = small_data(seed=2)[:30].copy()
    solo = SOLO.from_scvi_model(vae, adata=other, restrict_to_batch=other.obs["batch"].iloc[0])
    assert set(solo.predict().index) <= set(other.obs_names)


def test_solo_refuses(vae):
    with pytest.raises(QueryError, match="no batch 'lane 9'"):
        SOLO.from_scvi_model(vae, restrict_to_batch="lane 9")
    with pytest.raises(SettingError, match="no setting 'n_hiddens'"):
        SOLO.from_scvi_model(vae, restrict_to_batch="batch_1", n_hiddens=3)
    with pytest.raises(FieldError, match="not made of data alone"):
        SOLO(vae.adata)
    with pytest.raises(FieldError, match="from an SCVI model"):
        SOLO.setup_anndata(vae.adata)


def test_cellassign(tmp_path):
    adata = small_data()
    CellAssign.setup_anndata(adata, batch_key="batch", continuous_covariate_keys=["age"])
    model = CellAssign(adata, table(adata))
    model.train(max_epochs=3, batch_size=32, **QUIET)
    found = model.predict()
    assert list(found.columns) == ["one", "two"]
    assert list(found.index) == list(adata.obs_names)                   # scvi-tools numbers them
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
    model.save(tmp_path / "model", save_anndata=True)
    assert CellAssign.load(tmp_path / "model").predict().equals(found)
    few = CellAssign.load(tmp_path / "model", adata=adata[:7].copy()).predict()
    np.testing.assert_allclose(few, found[:7], rtol=1e-4, atol=1e-6)
    assert "2 labels (one, two)" in repr(model)


def test_cellassign_takes_its_markers_from_all_genes():
    adata = small_data()
    CellAssign.setup_anndata(adata)
    assert CellAssign(adata, table(adata)).fit.registry.genes == tuple(adata.var_names[:4])
    with pytest.warns(UserWarning, match="1 of 4 marker genes are not in the data"):
        CellAssign(adata, table(adata).rename(index={adata.var_names[0]: "absent"}))
    with pytest.raises(FieldError, match="holds 5"):
        CellAssign(adata, table(adata) * 5)
    with pytest.raises(FieldError, match="not set up"):
        CellAssign(small_data(), table(adata))


def test_what_neither_has(vae):
    adata = small_data()
    CellAssign.setup_anndata(adata)
    solo = SOLO.from_scvi_model(vae, restrict_to_batch="batch_1")
    for model in (CellAssign(adata, table(adata)), solo):
        with pytest.raises(QueryError, match="has no latent"):
            model.get_latent_representation()
        with pytest.raises(QueryError, match="has no latent"):
            model.minify_adata()
        with pytest.raises(ArchiveError, match="cannot be written"):
            model.write_scvi_tools("/nowhere")


def test_checkpoints_of_scvi_tools_are_read(pytestconfig):
    folder = pytestconfig.rootpath / "tests" / "python" / "fixtures"
    assert len(SOLO.load(folder / "solo" / "model").predict()) == 150
    model = CellAssign.load(folder / "cellassign" / "model")
    assert model.predict().shape == (160, 4) and model.fit.n_parameters < 300          # and not its unused scVI
    assert latome.external.CellAssign is CellAssign
