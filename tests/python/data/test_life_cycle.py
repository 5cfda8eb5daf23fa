"""The life of an AnnData with a model: views, copies, files, changed columns and counts, and every way to hold them."""

import warnings
from copy import deepcopy

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from examples import small_data
from set_up import ROLES, made

from latome.errors import FieldError, QueryError
from latome.model import SCVI

PARTS = ("obs", "var", "obsm", "varm", "obsp", "varp", "layers", "uns")


class Other(SCVI):
    """A second class of models."""


@pytest.fixture
def adata():
    return small_data()


def same(one, other):
    """Whether two values of an AnnData are equal, to the bottom."""
    if sp.issparse(one):
        return type(one) is type(other) and one.shape == other.shape and one.dtype == other.dtype \
            and (one != other).nnz == 0
    if isinstance(one, pd.DataFrame | pd.Series):
        return type(one) is type(other) and one.equals(other) and one.index.equals(other.index)
    if hasattr(one, "items"):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and one.strides == other.strides and np.array_equal(one, other)
    return one == other


def picture(adata):
    """All that an AnnData holds, copied."""
    return {"X": deepcopy(adata.X), "raw": None if adata.raw is None else deepcopy(adata.raw.X),
            **{part: {key: deepcopy(value) for key, value in getattr(adata, part).items()} for part in PARTS},
            "index": (list(adata.obs_names), list(adata.var_names))}


# nothing is written ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("form", ["CSR", "CSC", "array", "Fortran", "untidy"])
def test_nothing_but_the_set_up_is_written(adata, form):
    x = adata.X.toarray()
    adata.X = {"CSR": adata.X, "CSC": adata.X.tocsc(), "array": x, "Fortran": np.asfortranarray(x),
               "untidy": sp.csr_matrix((np.r_[adata.X.data, 0.0], np.r_[adata.X.indices[::-1], 0],
                                        np.r_[adata.X.indptr[:-1], adata.X.nnz + 1]), shape=x.shape)}[form]
    adata.raw = adata
    adata.layers["other"] = x
    adata.obsm["pca"], adata.obsp["near"] = np.ones((90, 2)), sp.eye(90, format="csr")
    adata.uns["nested"] = {"deep": [1, 2], "table": pd.DataFrame({"a": [1]})}
    before = picture(adata)
    model = made(adata, **ROLES)
    model.get_latent_representation()
    model.get_normalized_expression(n_samples=2)
    model.differential_expression(groupby="cell_type", mode="change")
    model.get_elbo()
    after = picture(adata)
    assert list(after["uns"].pop("latome")) == ["SCVI"]
    for part in before:
        assert same(before[part], after[part]), part


# set up, and then ---------------------------------------------------------------------------------------------
def test_the_set_up_of_the_parent_serves_its_views_and_their_copies(adata):
    SCVI.setup_anndata(adata, **ROLES)
    rows, genes = np.arange(90) % 3 != 0, adata.var_names[5:25]
    for part in (adata[rows], adata[rows].copy(), adata[:, genes], adata[rows][:, genes], adata[10:5:-1].copy()):
        model = SCVI(part, n_hidden=12)
        assert model.fit.registry.n_cells == part.n_obs and model.fit.registry.genes == tuple(part.var_names)
        assert "latome" in adata.uns and model.adata is part


def test_a_copy_is_set_up_on_its_own(adata):
    SCVI.setup_anndata(adata, batch_key="batch")
    copy = adata.copy()
    SCVI.setup_anndata(copy, batch_key="kit")
    assert SCVI(adata, n_hidden=12).fit.registry.n_batch == 2 and SCVI(copy, n_hidden=12).fit.registry.n_batch == 3


def test_a_subset_is_asked_about_with_the_model_of_the_whole(adata):
    model = made(adata, **ROLES)
    z = model.get_latent_representation()
    for rows in (np.arange(30, 60), np.array([80, 2, 41])):
        for part in (adata[rows], adata[rows].copy()):                 # of another size and order than the model's own
            np.testing.assert_allclose(model.get_latent_representation(part), z[rows], rtol=1e-4, atol=1e-5)
    one = adata[adata.obs["batch"] == "batch_2"].copy()                # the first category is gone
    assert list(one.obs["batch"].cat.categories) == ["batch_2"]
    rows = (adata.obs["batch"] == "batch_2").to_numpy()
    np.testing.assert_allclose(model.get_elbo(one), model.get_elbo(indices=rows), rtol=0.1)


def test_two_classes_set_up_on_one_object(adata):
    SCVI.setup_anndata(adata, batch_key="batch")
    Other.setup_anndata(adata, batch_key="kit", labels_key="cell_type")
    assert set(adata.uns["latome"]) == {"SCVI", "Other"}
    one, two = SCVI(adata, n_hidden=12), Other(adata, n_hidden=12)
    assert (one.fit.registry.n_batch, two.fit.registry.n_batch) == (2, 3)
    assert one.fit.registry.columns.labels is None


def test_after_concatenation_the_data_are_set_up_anew(adata):
    SCVI.setup_anndata(adata, batch_key="batch")
    both = anndata.concat([adata, small_data(seed=2)], label="study", index_unique="-")
    with pytest.raises(FieldError, match="not set up for SCVI"):
        SCVI(both)
    model = made(both, batch_key="study")
    assert model.get_latent_representation().shape == (180, 3)
    kept = anndata.concat([adata[:40], adata[40:]], uns_merge="same")
    assert SCVI(kept, n_hidden=12).fit.registry.n_cells == 90


def test_a_file_keeps_the_set_up_and_the_answers(adata, tmp_path):
    model = made(adata, **ROLES)
    adata.write_h5ad(tmp_path / "cells.h5ad")
    again = anndata.read_h5ad(tmp_path / "cells.h5ad")
    np.testing.assert_array_equal(model.get_latent_representation(again), model.get_latent_representation())
    assert SCVI(again, n_hidden=12).fit.registry.to_json() == model.fit.registry.to_json()


def test_a_backed_file_may_be_set_up_trained_and_asked(adata, tmp_path):
    adata.write_h5ad(tmp_path / "cells.h5ad")
    content = (tmp_path / "cells.h5ad").read_bytes()
    backed = anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    model = made(backed, **ROLES)
    assert model.get_latent_representation().shape == (90, 3) and np.isfinite(model.get_elbo())
    assert model.get_normalized_expression(gene_list=["gene_3"]).shape == (90, 1)
    assert len(model.differential_expression(groupby="cell_type", mode="change")) == 60
    memory = model.get_latent_representation(adata)
    np.testing.assert_array_equal(model.get_latent_representation(), memory)
    part = backed[::4]
    np.testing.assert_allclose(model.get_latent_representation(part), memory[::4], rtol=1e-4, atol=1e-5)
    assert SCVI(part, n_hidden=12).fit.registry.n_cells == 23
    backed.file.close()                                # anndata opens it again when it is asked for X
    np.testing.assert_array_equal(model.get_latent_representation(), memory)
    backed.file.close()
    assert (tmp_path / "cells.h5ad").read_bytes() == content


def test_a_backed_file_is_saved_beside_the_model_and_stays_where_it_is(adata, tmp_path):
    adata.write_h5ad(tmp_path / "cells.h5ad")
    backed = anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    model = made(backed, **ROLES)
    model.save(tmp_path / "model", save_anndata=True)
    assert str(backed.filename) == str(tmp_path / "cells.h5ad")
    z = model.get_latent_representation()
    np.testing.assert_array_equal(SCVI.load(tmp_path / "model").get_latent_representation(), z)
    backed.obsm["X_latent_qzm"], backed.obsm["X_latent_qzv"] = model.get_latent_representation(return_dist=True)
    model.minify_adata()
    np.testing.assert_array_equal(model.get_latent_representation(), z)


def test_a_view_of_a_backed_file_cannot_be_set_up(adata, tmp_path):
    adata.write_h5ad(tmp_path / "cells.h5ad")
    with pytest.raises(FieldError, match="view of an AnnData that is backed") as caught:
        SCVI.setup_anndata(anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r")[:50])
    assert "the whole object" in caught.value.hint


# columns change -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("change", "problem"), [
    (lambda a: a.obs.rename(columns={"batch": "lab"}, inplace=True), "no column 'batch'"),
    (lambda a: a.obs.drop(columns="age", inplace=True), "no column 'age'"),
    (lambda a: a.obs.__setitem__("age", "old"), "'age' is of type .*, not numeric"),
    (lambda a: a.obs.__setitem__("batch", [None] * 90), "'batch' has 90 missing values"),
])
def test_columns_that_went_after_the_set_up(adata, change, problem):
    model = made(adata, **ROLES)
    spoilt = adata.copy()
    change(spoilt)
    for act in (lambda: SCVI(spoilt), lambda: model.get_latent_representation(spoilt)):
        with pytest.raises(FieldError, match=problem) as caught:
            act()
        assert caught.value.hint


def test_columns_and_genes_in_another_order_are_the_same_data(adata):
    model = made(adata, **ROLES)
    moved = adata[:, adata.var_names[::-1]].copy()
    moved.obs = moved.obs[moved.obs.columns[::-1]]
    np.testing.assert_allclose(model.get_latent_representation(moved), model.get_latent_representation(), rtol=1e-4,
                               atol=1e-5)


def test_categories_that_no_cell_has(adata):
    adata.obs["kit"] = adata.obs["kit"].astype("category")
    part = adata[adata.obs["kit"] != "kit_2"].copy()
    part.obs["kit"] = pd.Categorical(part.obs["kit"].astype(str), categories=["kit_9", "kit_2", "kit_1", "kit_3"])
    SCVI.setup_anndata(part, categorical_covariate_keys=["kit"])
    assert list(SCVI(part, n_hidden=12).fit.registry.categories["kit"]) == ["kit_1", "kit_3"]
    model = made(adata, **ROLES)
    rows = (adata.obs["kit"] != "kit_2").to_numpy()
    np.testing.assert_allclose(model.get_latent_representation(part), model.get_latent_representation()[rows],
                               rtol=1e-4, atol=1e-5)


def test_cells_of_the_same_name(adata):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")                # anndata says that the names are not unique
        adata.obs_names = ["cell"] * 90
        model = made(adata, **ROLES)
        table = model.get_normalized_expression()
    assert model.get_latent_representation().shape == (90, 3) and list(table.index) == ["cell"] * 90


# counts change ------------------------------------------------------------------------------------------------
def in_place(change):
    def act(adata):
        if sp.issparse(adata.X):
            adata.X.data[:] = change(adata.X.data)
        else:
            adata.X[:] = change(adata.X)
    return act


CHANGES = {
    "other values in place": in_place(lambda x: 2 * x),
    "another matrix": lambda a: setattr(a, "X", a.X * 2),
    "fewer cells": lambda a: a._inplace_subset_obs(np.arange(90) % 2 == 0),
}


@pytest.mark.parametrize("form", ["CSR", "array", "CSC"])
@pytest.mark.parametrize("name", CHANGES)
def test_answers_are_about_the_counts_as_they_are(adata, name, form):
    adata.X = {"CSR": sp.csr_matrix, "array": lambda x: x.toarray(), "CSC": sp.csc_matrix}[form](adata.X)
    model = made(adata, **ROLES)
    before = model.get_latent_representation(), model.differential_expression(groupby="cell_type", mode="change")
    CHANGES[name](adata)
    with pytest.warns(UserWarning, match="counts have changed since they were opened: X is read again"):
        z = model.get_latent_representation()
    with warnings.catch_warnings():
        warnings.simplefilter("error")                 # said once
        np.testing.assert_array_equal(z, model.get_latent_representation(adata.copy()))
        table, other = (model.differential_expression(data, groupby="cell_type", mode="change")
                        for data in (None, adata.copy()))
    pd.testing.assert_frame_equal(table, other)
    assert z.shape[0] == adata.n_obs and not np.array_equal(z, before[0])
    assert not np.allclose(table["raw_mean1"].sort_index(), before[1]["raw_mean1"].sort_index())
    assert list(model.get_normalized_expression().index) == list(adata.obs_names)


def test_counts_that_were_normalised_are_noticed(adata):
    model = made(adata, **ROLES)
    np.log1p(adata.X.data, out=adata.X.data)
    with pytest.warns(UserWarning) as told:
        model.get_latent_representation()
    assert ["read again" in str(told[0].message), "not whole numbers" in str(told[1].message)] == [True, True]


def test_genes_that_were_taken_away_are_missed(adata):
    model = made(adata, **ROLES)
    adata._inplace_subset_var(np.arange(30) < 20)
    with pytest.raises(QueryError, match="10 of 30 genes are not in the data"):
        model.get_latent_representation()


def test_what_is_added_beside_the_counts_changes_nothing(adata):
    model = made(adata, layer=None, **ROLES)
    z = model.get_latent_representation()
    adata.obsm["X_scvi"], adata.obs["cluster"], adata.layers["log"] = z, "a", np.log1p(adata.X.toarray())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(model.get_latent_representation(), z)
