"""Mapping new cells onto a reference, in the interface of the papers."""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from examples import small_data

from latome.errors import FieldError, QueryError
from latome.model import AUTOZI, SCANVI, SCVI, LinearSCVI

TRAINING = {"max_epochs": 4, "batch_size": 32, "accelerator": "cpu"}
ROLES = {"batch_key": "batch", "labels_key": "cell_type", "categorical_covariate_keys": ["kit"],
         "continuous_covariate_keys": ["age"]}
FOR_MAPPING = {"n_hidden": 12, "n_latent": 3, "encode_covariates": True, "use_layer_norm": "both",
               "use_batch_norm": "none"}
CASE = Path(__file__).resolve().parents[1] / "fixtures" / "scvi_query"


def reference(**settings):
    adata = small_data()
    SCVI.setup_anndata(adata, **ROLES)
    model = SCVI(adata, **{**FOR_MAPPING, **settings})
    model.train(**TRAINING)
    return model


def new_cells():
    adata = small_data(seed=2)
    adata.obs["batch"] = [f"new {batch}" for batch in adata.obs["batch"].astype(str)]
    return adata


@pytest.fixture(scope="module")
def made():
    return reference()


def quiet(*arguments, **keywords):
    """The model of new cells, of which nothing is to be warned."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return SCVI.load_query_data(*arguments, **keywords)


def test_the_script_of_scarches(made, tmp_path):
    made.save(tmp_path / "reference")
    adata = new_cells()
    before = made.get_latent_representation(), made.get_normalized_expression()
    query = quiet(adata, str(tmp_path / "reference"))
    assert isinstance(query, SCVI) and not query.is_trained and query.adata is adata
    assert query.fit.registry.batch_categories == ["batch_1", "batch_2", "new batch_1", "new batch_2"]
    query.train(**TRAINING, plan_kwargs={"weight_decay": 0.01}, check_val_every_n_epoch=2)
    assert query.is_trained and query.get_latent_representation().shape == (90, 3)
    np.testing.assert_array_equal(query.get_latent_representation(made.adata), before[0])
    np.testing.assert_array_equal(query.get_normalized_expression(made.adata), before[1])
    query.save(tmp_path / "query", save_anndata=True)
    again = SCVI.load(tmp_path / "query")
    again.train(**TRAINING)
    np.testing.assert_array_equal(again.get_latent_representation(made.adata), before[0])


def test_a_model_or_its_folder_is_a_reference(made, tmp_path):
    made.save(tmp_path / "reference")
    one, other = quiet(new_cells(), made), quiet(new_cells(), tmp_path / "reference")
    np.testing.assert_array_equal(one.fit.module.decoder.logits.weight.detach(),
                                  other.fit.module.decoder.logits.weight.detach())


def test_the_query_s_own_set_up_counts(made):
    adata = new_cells()
    adata.obs = adata.obs.rename(columns={"batch": "donor"})
    with pytest.raises(FieldError, match="no column 'batch'"):
        SCVI.load_query_data(adata, made)
    SCVI.setup_anndata(adata, **{**ROLES, "batch_key": "donor"})
    assert quiet(adata, made).fit.registry.batch_categories[2:] == ["new batch_1", "new batch_2"]


@pytest.mark.parametrize("flag", ["unfrozen", "freeze_expression", "freeze_decoder_first_layer",
                                  "freeze_batchnorm_encoder", "freeze_batchnorm_decoder"])
def test_a_flag_that_frees_weights_voids_the_guarantee_and_says_so(flag):
    model = reference(use_batch_norm="both", use_layer_norm="none")
    with pytest.warns(UserWarning, match="Weights of the reference are not frozen"):
        query = SCVI.load_query_data(new_cells(), model, **{flag: flag == "unfrozen"})
    query.train(**TRAINING)
    changed = [name for name, ask in (("latent", SCVI.get_latent_representation),
                                      ("expression", lambda m, adata: m.get_normalized_expression(adata).to_numpy()))
               if not np.array_equal(ask(query, model.adata), ask(model, model.adata))]
    assert changed == (["expression"] if "decoder" in flag else ["latent", "expression"])


def test_flags_without_what_they_free_change_nothing(made):
    assert quiet(new_cells(), made, freeze_batchnorm_decoder=False, freeze_batchnorm_encoder=False,
                 freeze_classifier=False).fit.held == quiet(new_cells(), made).fit.held
    assert quiet(new_cells(), made, freeze_dropout=True).fit.settings.dropout_rate == 0


def test_a_reference_without_covariates_in_its_encoder_is_told_of():
    model = reference(encode_covariates=False)
    with pytest.warns(UserWarning, match="encoder of the reference takes no covariates"):
        query = SCVI.load_query_data(new_cells(), model)
    assert query.is_trained
    before = query.get_latent_representation()
    query.train(**TRAINING)                            # the decoder's rows
    np.testing.assert_array_equal(query.get_latent_representation(), before)
    with pytest.warns(UserWarning, match="bring no new category"):
        query = SCVI.load_query_data(small_data(seed=2), model)
    with pytest.warns(UserWarning, match="nothing to train"):
        query.train(**TRAINING)


def test_missing_genes_are_zeros_and_told_of(made):
    adata = new_cells()
    with pytest.warns(UserWarning, match="3 of the reference's 30 genes are not in the data, and count as zero.$"):
        query = SCVI.load_query_data(adata[:, 3:].copy(), made)
    assert query.adata.n_vars == 30
    with pytest.warns(UserWarning, match="Only 33% are there"):
        SCVI.load_query_data(adata[:, :10].copy(), made)
    adata.var_names = [f"other{i}" for i in range(30)]
    with pytest.raises(QueryError, match="0 of the model's 30 genes"):
        SCVI.load_query_data(adata, made)


def test_genes_may_be_taken_out_in_place(made):
    adata = new_cells()
    wider = adata[:, [*range(30), 0, 1]].copy()
    wider.var_names = [*adata.var_names, "more", "and more"]
    quiet(wider, made)
    assert wider.n_vars == 32
    quiet(wider, made, inplace_subset_query_vars=True)
    assert list(wider.var_names) == list(adata.var_names)


def test_prepare_query_anndata(made, tmp_path):
    adata = new_cells()[:, 29:1:-1].copy()
    counts = adata.to_df()
    with pytest.warns(UserWarning, match="2 of the reference's 30 genes"):
        other = SCVI.prepare_query_anndata(adata, made, inplace=False)
    assert adata.n_vars == 28 and list(other.var_names) == list(made.adata.var_names)
    with pytest.warns(UserWarning, match="2 of the reference's 30 genes"):
        assert SCVI.prepare_query_anndata(adata, made) is None
    assert list(adata.var_names) == list(made.adata.var_names) == list(
        SCVI.prepare_query_anndata(adata, made, return_reference_var_names=True))
    np.testing.assert_array_equal(adata.to_df()[counts.columns], counts)
    quiet(adata, made)
    adata.write_h5ad(tmp_path / "prepared.h5ad")
    with pytest.raises(QueryError, match="view"):
        SCVI.prepare_query_anndata(new_cells()[:, ::-1], made)


def test_a_reference_of_scvi_tools(tmp_path):
    adata = SCVI.load(CASE / "model").adata
    model = SCVI.load(CASE / "model_ref")
    query = quiet(adata, CASE / "model_ref")
    query.train(**TRAINING)
    np.testing.assert_array_equal(query.get_latent_representation(model.adata), model.get_latent_representation())


def test_what_is_no_reference_is_refused(made):
    with pytest.raises(QueryError, match="given as an AnnData"):
        SCVI.load_query_data(None, made)
    with pytest.raises(QueryError, match="is of type NoneType"):
        SCVI.load_query_data(new_cells())
    made.fit.kind = "another"
    try:
        with pytest.raises(QueryError, match="of the kind another, not scvi"):
            SCVI.load_query_data(new_cells(), made)
    finally:
        made.fit.kind = "scvi"


def test_labels_of_new_cells_come_from_a_scanvi():
    adata = small_data(150)
    adata.obs["kind"] = adata.obs["cell_type"].astype(str)
    adata.obs.loc[adata.obs_names[:20], "kind"] = "Unknown"
    SCVI.setup_anndata(adata, batch_key="batch", labels_key="kind")
    scvi = SCVI(adata, **FOR_MAPPING)
    scvi.train(**TRAINING)
    model = SCANVI.from_scvi_model(scvi, "Unknown")
    model.train(**TRAINING | {"max_epochs": 20})
    query = new_cells()
    query.obs["kind"] = "Unknown"
    before = model.predict(soft=True)
    mapped = SCANVI.load_query_data(query, model)
    mapped.train(**TRAINING, plan_kwargs={"weight_decay": 0.0})
    assert set(mapped.predict()) <= {"type_1", "type_2"} and mapped.predict(soft=True).shape == (90, 2)
    pd.testing.assert_frame_equal(mapped.predict(adata, soft=True), before)
    with pytest.warns(UserWarning, match="Weights of the reference are not frozen"):
        freed = SCANVI.load_query_data(query, model, freeze_classifier=False)
    assert any(name.startswith("classifier.") for name, _ in freed.fit.module.named_parameters()
               if name not in freed.fit.held)
    query.obs["kind"] = "never seen"
    with pytest.raises(FieldError, match="not trained on: 'never seen'"):
        SCANVI.load_query_data(query, model)


@pytest.mark.parametrize("face", [LinearSCVI, AUTOZI])
def test_other_models_of_the_family_are_references_as_well(face):
    adata = small_data()
    face.setup_anndata(adata, batch_key="batch")
    model = face(adata, n_hidden=12, n_latent=3)
    model.train(**TRAINING)
    with pytest.warns(UserWarning, match="encoder of the reference takes no covariates"):
        query = face.load_query_data(new_cells(), model)
    query.train(**TRAINING)
    np.testing.assert_array_equal(query.get_latent_representation(adata), model.get_latent_representation())
    np.testing.assert_array_equal(query.get_normalized_expression(adata), model.get_normalized_expression())
