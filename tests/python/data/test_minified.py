"""Minified data: written as they are read, and as scvi-tools reads and writes them."""

import os
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from examples import opened, small_data, trained

from latome.analysis.latent import latent_moments
from latome.data.minified import minify, stored_posterior
from latome.data.registry import open_data
from latome.errors import FieldError, QueryError

KEYS = {"obs": {"observed_lib_size"}, "obsm": {"scvi_latent_qzm", "scvi_latent_qzv"},
        "uns": {"_scvi_adata_minify_type"}}
PARTS = ("obs", "var", "obsm", "varm", "obsp", "varp", "uns", "layers")


def rich_data():
    """Data with something in every part of the object."""
    adata = small_data()
    adata.layers["counts"] = adata.X.toarray()
    adata.raw = adata
    adata.obsm["pca"], adata.obsp["near"] = np.ones((90, 2)), sp.eye(90, format="csr")
    adata.varm["loadings"], adata.varp["pairs"] = np.ones((30, 2)), sp.eye(30, format="csr")
    adata.uns["colours"] = {"of": ["types", "batches"]}
    return adata


def posterior(n=90, k=3):
    rng = np.random.default_rng(0)
    return rng.standard_normal((n, k)), rng.random((n, k)) + 0.1, rng.random(n) * 100 + 1


@pytest.mark.parametrize("with_counts", [False, True])
@pytest.mark.parametrize("stage", ["at once", "from a file", "a view", "of a view"])
def test_what_is_written_is_read(with_counts, stage, tmp_path):
    adata, (mean, variance, totals) = rich_data(), posterior()
    rows = np.arange(0, 90, 2)
    if stage == "of a view":
        made = minify(adata[rows], mean[rows], variance[rows], totals[rows], with_counts)
    else:
        made = minify(adata, mean, variance, totals, with_counts)
    if stage == "from a file":
        made.write_h5ad(tmp_path / "cells.h5ad")
        made = anndata.read_h5ad(tmp_path / "cells.h5ad")
    made = made[rows] if stage == "a view" else made
    kept = rows if "view" in stage else np.arange(90)
    found = stored_posterior(made)
    np.testing.assert_array_equal(found.mean, mean[kept].astype(np.float32))
    np.testing.assert_array_equal(found.variance, variance[kept].astype(np.float32))
    np.testing.assert_array_equal(found.totals, totals[kept].astype(np.float32))
    assert found.with_counts is with_counts and stored_posterior(adata) is None
    for matrix, wanted in ((made.X, adata.X), (made.layers["counts"], adata.layers["counts"])):
        assert matrix.shape == (len(kept), 30)
        if with_counts:
            assert abs(matrix - wanted[kept]).sum() == 0
        else:
            assert sp.issparse(matrix) and matrix.nnz == 0
    assert (made.raw is None) is not with_counts and "View" not in str({type(v) for v in made.copy().obsm.values()})
    if stage == "of a view":
        assert not made.is_view and type(made.varm["loadings"]) is np.ndarray and type(made.uns["colours"]) is dict


@pytest.mark.parametrize("with_counts", [False, True])
def test_nothing_else_is_written_and_nothing_is_shared(with_counts):
    adata = rich_data()
    before = adata.copy()
    made = minify(adata, *posterior(), with_counts)
    for part in PARTS:
        assert set(getattr(made, part).keys()) == set(getattr(before, part).keys()) | KEYS.get(part, set())
        assert set(getattr(adata, part).keys()) == set(getattr(before, part).keys())
    pd.testing.assert_frame_equal(made.obs[before.obs.columns], before.obs)
    pd.testing.assert_frame_equal(made.var, before.var)
    made.obs["batch"], made.obsm["pca"][:], made.uns["colours"]["of"][0] = "x", 9, "none"
    made.varm["loadings"][:], made.var["base"] = 9, 0.0
    pd.testing.assert_frame_equal(adata.obs, before.obs)
    pd.testing.assert_frame_equal(adata.var, before.var)
    assert (adata.obsm["pca"] == 1).all() and adata.uns["colours"]["of"][0] == "types"
    assert (adata.varm["loadings"] == 1).all() and (adata.X != before.X).nnz == 0


@pytest.mark.parametrize("with_counts", [False, True])
def test_a_model_answers_from_it(with_counts):
    adata = small_data()
    model = trained(opened(adata))
    data = open_data(adata, registry=model.registry)
    mean, variance = latent_moments(model.module, data)
    small = open_data(minify(adata, mean, variance, data.totals, with_counts), registry=model.registry)
    np.testing.assert_array_equal(np.stack(latent_moments(model.module, small)), np.stack([mean, variance]))
    np.testing.assert_array_equal(small.totals, data.totals)
    assert small.has_counts is with_counts
    if with_counts:
        small.require_counts("this")
    else:
        with pytest.raises(QueryError, match="needs counts"):
            small.require_counts("this")


def test_a_backed_file_is_minified_without_its_counts(tmp_path):
    small_data().write_h5ad(tmp_path / "cells.h5ad")
    adata = anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    made = minify(adata, *posterior())
    assert not made.isbacked and made.X.nnz == 0 and stored_posterior(made).mean.shape == (90, 3)
    with pytest.raises(FieldError, match="backed by a file") as caught:
        minify(adata, *posterior(), with_counts=True)
    assert "to_memory" in caught.value.hint


def put(where, value):
    def change(mean, variance, totals):
        parts = {"mean": mean, "variance": variance, "totals": totals}
        parts[where].flat[4] = value
        return mean, variance, totals
    return change


WRONG = {
    "a missing mean": (put("mean", np.nan), "means of the posterior are missing"),
    "an infinite variance": (put("variance", np.inf), "variances of the posterior are missing, infinite"),
    "a variance of zero": (put("variance", 0), "variances that are not positive"),
    "a negative library": (put("totals", -1), "library sizes that are not positive"),
    "other cells": (lambda m, v, t: (m[:80], v[:80], t), r"of 90 cells has means of shape \(80, 3\)"),
    "other latents": (lambda m, v, t: (m, v[:, :2], t), r"variances of shape \(90, 2\)"),
    "no latents": (lambda m, v, t: (m[:, :0], v[:, :0], t), r"shape \(90, 0\)"),
    "one library": (lambda m, v, t: (m, v, t[:1]), "1 library sizes"),
    "text": (lambda m, v, t: (m.astype(str), np.full((90, 3), "a"), t), "no numbers"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_a_posterior(name):
    change, problem = WRONG[name]
    adata = small_data()
    with pytest.raises(FieldError, match=problem) as caught:
        minify(adata, *change(*posterior()))
    assert caught.value.hint and stored_posterior(adata) is None


@pytest.mark.parametrize(("damage", "problem"), [
    (lambda a: a.uns.__setitem__("_scvi_adata_minify_type", "some_way"), "not known: 'some_way'"),
    (lambda a: a.obsm.__delitem__("scvi_latent_qzm"), "`obsm` has no 'scvi_latent_qzm'"),
    (lambda a: a.obs.__delitem__("observed_lib_size"), "`obs` has no 'observed_lib_size'"),
    (lambda a: a.obs.__setitem__("observed_lib_size", np.nan), "library sizes of the posterior are missing"),
    (lambda a: a.obsm.__setitem__("scvi_latent_qzv", np.zeros((90, 3))), "not positive"),
])
def test_damaged_parts_are_named(damage, problem):
    adata = minify(small_data(), *posterior())
    damage(adata)
    with pytest.raises(FieldError, match=problem) as caught:
        open_data(adata)
    assert caught.value.hint


def test_scvi_tools_minified_data_are_read():
    root = Path(os.environ.get("LATOME_DATA") or Path(__file__).resolve().parents[4] / "shared" / "data")
    path = root.parent / "fixtures" / "scvi-tools" / "scvi_minified" / "model" / "adata.h5ad"
    if not path.exists():
        pytest.skip("the minified model of scvi-tools is not here")
    adata = anndata.read_h5ad(path)
    found = stored_posterior(adata)
    np.testing.assert_array_equal(found.mean, adata.obsm["X_latent_qzm"])
    np.testing.assert_array_equal(found.variance, adata.obsm["X_latent_qzv"])
    np.testing.assert_array_equal(found.totals, adata.obs["observed_lib_size"])
    data = open_data(adata)
    assert not data.has_counts and data.n_cells == 180 and data.stored["z"][0].shape == (180, 5)
