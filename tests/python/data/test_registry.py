"""Data opened for a model: genes by name, categories by name, and doubts told."""

import dataclasses
import json
import re

import anndata
import numpy as np
import pandas as pd
import pytest
from examples import small_data

from latome.data.registry import Columns, Registry, open_data
from latome.errors import FieldError, QueryError

ALL = Columns(batch="batch", labels="cell_type", categorical=("kit",), continuous=("age",))


@pytest.fixture(scope="module")
def adata():
    return small_data()


def test_what_is_registered(adata):
    data = open_data(adata, ALL)
    registry = data.registry
    assert registry.genes == tuple(adata.var_names) and data.cells == list(adata.obs_names)
    assert (data.n_cells, data.n_genes) == adata.shape
    assert registry.batch_categories == sorted(adata.obs["batch"].unique())
    assert registry.category_sizes == (2, 3) and (registry.n_batch, registry.n_labels) == (2, 2)
    assert registry.n_continuous == 1
    names = np.array(registry.batch_categories)
    assert (names[data.codes["batch"]] == adata.obs["batch"]).all()
    assert (np.array(registry.categories["labels"])[data.codes["labels"]] == adata.obs["cell_type"]).all()
    assert (data.categories[:, 0] == data.codes["batch"]).all()
    assert (np.array(registry.categories["kit"])[data.categories[:, 1]] == adata.obs["kit"]).all()
    np.testing.assert_allclose(data.continuous[:, 0], adata.obs["age"], rtol=1e-6)


def test_without_columns_there_is_one_batch_and_no_label(adata):
    data = open_data(adata)
    assert data.registry.category_sizes == (1,) and (data.codes["batch"] == 0).all()
    assert (data.codes["labels"] == -1).all() and data.continuous.shape == (adata.n_obs, 0)


def test_nothing_is_written_into_the_object(adata):
    before = adata.copy()
    open_data(adata, ALL)
    pd.testing.assert_frame_equal(adata.obs, before.obs)
    pd.testing.assert_frame_equal(adata.var, before.var)
    assert (adata.X != before.X).nnz == 0 and adata.uns.keys() == before.uns.keys()


def test_round_trip_through_json(adata):
    registry = open_data(adata, ALL).registry
    again = Registry.from_json(json.loads(json.dumps(registry.to_json())))
    assert again.to_json() == registry.to_json()
    assert again.genes == registry.genes and again.columns == registry.columns
    assert again.category_sizes == registry.category_sizes
    data = open_data(adata, registry=again)
    np.testing.assert_array_equal(data.categories, open_data(adata, ALL).categories)


def test_genes_are_matched_by_name(adata):
    registry = open_data(adata, ALL, genes=["gene_9", "gene_2", "gene_30"]).registry
    expected = adata[:, ["gene_9", "gene_2", "gene_30"]].X.toarray()
    order = np.random.default_rng(0).permutation(adata.n_vars)
    for query in (adata, adata[:, order].copy(), adata[:, order], adata[:, ["gene_2", "gene_9", "gene_30"]].copy()):
        data = open_data(query, registry=registry)
        np.testing.assert_array_equal(data.source.csr.toarray(), expected)
        assert data.source.csr.has_sorted_indices
    with pytest.raises(QueryError, match="1 of 3 genes are not in the data: 'gene_30'"):
        open_data(adata[:, :20].copy(), registry=registry)


def test_categories_are_matched_by_name(adata):
    registry = open_data(adata, ALL).registry
    query = adata[adata.obs["batch"] == registry.batch_categories[1]].copy()
    query.obs["kit"] = pd.Categorical(query.obs["kit"].astype(str), categories=registry.categories["kit"][::-1])
    data = open_data(query, registry=registry)
    assert (data.codes["batch"] == 1).all()                           # not 0, though it is the only one here
    assert (np.array(registry.categories["kit"])[data.categories[:, 1]] == query.obs["kit"]).all()


def test_labels_may_be_absent_from_a_query_or_partly_missing(adata):
    some = adata.copy()
    some.obs["cell_type"] = some.obs["cell_type"].astype(object).where(np.arange(some.n_obs) % 3 != 0)
    data = open_data(some, ALL)
    assert data.registry.n_labels == 2 and ((data.codes["labels"] == -1) == (np.arange(some.n_obs) % 3 == 0)).all()
    bare = adata.copy()
    del bare.obs["cell_type"]
    assert (open_data(bare, registry=data.registry).codes["labels"] == -1).all()


def test_a_value_may_stand_for_no_label(adata):
    adata.obs["known"] = adata.obs["cell_type"].astype(object)
    adata.obs.loc[adata.obs_names[::3], "known"] = "unknown"
    adata.obs.loc[adata.obs_names[1], "known"] = np.nan
    data = open_data(adata, dataclasses.replace(ALL, labels="known", unlabeled="unknown"))
    none = (np.arange(adata.n_obs) % 3 == 0) | (np.arange(adata.n_obs) == 1)
    assert data.registry.categories["labels"] == ["type_1", "type_2"]
    assert ((data.codes["labels"] == -1) == none).all()
    again = Registry.from_json(json.loads(json.dumps(data.registry.to_json())))
    assert again.columns.unlabeled == "unknown"
    np.testing.assert_array_equal(open_data(adata, registry=again).codes["labels"], data.codes["labels"])
    other = open_data(adata, dataclasses.replace(again.columns, unlabeled="type_1"))
    assert other.registry.categories["labels"] == ["type_2", "unknown"]
    with pytest.raises(FieldError, match="not trained on: 'unknown'"):
        open_data(adata, dataclasses.replace(again.columns, unlabeled=None), registry=again)


def test_columns_of_older_documents(adata):
    document = open_data(adata, ALL).registry.to_json()
    del document["columns"]["unlabeled"]
    assert Registry.from_json(document).columns == ALL


def test_counts_of_the_chosen_genes_alone_must_be_counts(adata):
    spoilt = adata.copy()
    spoilt.X = spoilt.X.toarray()
    spoilt.X[0, 5] = 0.5
    with pytest.raises(FieldError, match="not whole"):
        open_data(spoilt)
    assert open_data(spoilt, genes=list(adata.var_names[6:])).n_genes == 24
    assert open_data(spoilt, allow_noninteger=True).source.csr[0, 5] == 0.5


DOUBTS = {
    "a gene without counts": (lambda a: a.X.__setitem__((slice(None), 4), 0), Columns(),
                              "1 of 30 genes have no counts"),
    "a rare batch": (lambda a: a.obs.__setitem__("batch", ["x"] + ["y"] * 89), Columns(batch="batch"),
                     "1 categories have fewer than 3 cells .such as 'x'"),
    "a constant covariate": (lambda a: a.obs.__setitem__("age", 2.0), Columns(continuous=("age",)),
                             "same in every cell"),
    "a constant covariate that float32 rounds": (lambda a: a.obs.__setitem__("age", 0.1), Columns(continuous=("age",)),
                                                 "same in every cell"),
    "a large covariate": (lambda a: a.obs.__setitem__("age", np.arange(90) * 10.0), Columns(continuous=("age",)),
                          "reaches 890.*standardise"),
}


@pytest.mark.parametrize("name", DOUBTS)
def test_doubts_are_told_and_not_fatal(adata, name):
    change, columns, message = DOUBTS[name]
    assert open_data(adata, columns).warnings == []
    data = anndata.AnnData(adata.X.toarray(), obs=adata.obs.copy(), var=adata.var)
    change(data)
    found = open_data(data, columns).warnings
    assert len(found) == 1 and re.search(message, found[0])


@pytest.mark.parametrize(("change", "field"), [
    ({"batch": None}, "batch"), ({"categorical": ()}, "categorical"), ({"categorical": ("cell_type",)}, "categorical"),
    ({"continuous": ()}, "continuous"), ({"continuous": ("library",)}, "continuous"),
])
def test_the_roles_of_a_query_are_those_of_the_model(adata, change, field):
    """Else its cells would be taken for the first batch, or its covariates for others."""
    registry = open_data(adata, ALL).registry
    with pytest.raises(FieldError, match="the model was made with") as caught:
        open_data(adata, dataclasses.replace(ALL, **change), registry=registry)
    assert caught.value.field == field


def test_a_query_may_hold_its_counts_in_another_layer(adata):
    registry = open_data(adata, ALL).registry
    query = adata.copy()
    query.layers["raw"], query.X = query.X.copy(), query.X * 0.5
    data = open_data(query, dataclasses.replace(ALL, layer="raw"), registry=registry)
    np.testing.assert_array_equal(data.categories, open_data(adata, ALL).categories)
    assert (data.source.csr != adata.X).nnz == 0
