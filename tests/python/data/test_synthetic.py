"""Counts without structure: as documented, and nothing to be learnt."""

import anndata
import numpy as np
import pytest
import scipy.sparse as sp
from scipy.stats import chisquare, nbinom

import latome
from latome.data.synthetic import synthetic_iid
from latome.errors import SettingError


def test_the_object_is_as_documented():
    adata = latome.data.synthetic_iid()
    assert adata.shape == (400, 100) and isinstance(adata.X, np.ndarray) and adata.X.dtype == np.int64
    assert adata.obs.columns.tolist() == ["batch", "labels"]
    assert adata.obs["batch"].tolist() == ["batch_0"] * 200 + ["batch_1"] * 200
    assert adata.obs["labels"].cat.categories.tolist() == ["label_0", "label_1", "label_2"]
    assert set(adata.obsm) == {"protein_expression", "accessibility"}
    assert all(matrix.shape == (400, 100) for matrix in adata.obsm.values())
    assert adata.uns["protein_names"].tolist() == [f"protein_{i}" for i in range(100)]
    assert adata.var_names[[0, 99]].tolist() == ["gene_0", "gene_99"] and adata.obs_names[0] == "0"


def test_the_counts_are_negative_binomial_and_some_are_dropped():
    adata = synthetic_iid(1000, 200, 200, 50, dropout_ratio=0.6)
    law = nbinom(5, 0.3)
    for values, kept in ((adata.X, 0.6), (adata.obsm["accessibility"], 0.6), (adata.obsm["protein_expression"], 1.0)):
        expected = kept * law.pmf(np.arange(40))
        expected[0] += 1 - kept
        found = np.bincount(np.minimum(values.ravel(), 40), minlength=41)
        assert chisquare(found, np.r_[expected, 1 - expected.sum()] * values.size).pvalue > 1e-3
    share = np.bincount(adata.obs["labels"].cat.codes)
    assert chisquare(share).pvalue > 1e-3
    correlation = np.corrcoef(adata.X.T)[np.triu_indices(200, 1)]
    assert abs(correlation.mean()) < 0.002 and np.abs(correlation).max() < 0.15


@pytest.mark.parametrize("name", ["csr_matrix", "csc_matrix", "csr_array"])
def test_all_matrices_have_the_format_asked_for(name):
    if name == "csr_array" and not hasattr(anndata, "io"):
        pytest.skip("this anndata holds no sparse arrays")
    adata, dense = synthetic_iid(sparse_format=name), synthetic_iid()
    for matrix, wanted in ((adata.X, dense.X), *((adata.obsm[key], dense.obsm[key]) for key in dense.obsm)):
        assert type(matrix) is getattr(sp, name)
        np.testing.assert_array_equal(matrix.toarray(), wanted)


def test_parts_may_be_left_out_or_added():
    bare = synthetic_iid(7, 4, 0, 0, n_batches=3, n_labels=1, generate_coordinates=True)
    assert bare.shape == (21, 4) and set(bare.obsm) == {"coordinates"} and not bare.uns
    assert bare.obsm["coordinates"].shape == (21, 2) and bare.obs["labels"].nunique() == 1


def test_the_seed_decides():
    one, same, other = (synthetic_iid(seed=seed).X for seed in (0, 0, 1))
    assert (one == same).all() and (one != other).any()


@pytest.mark.parametrize(("arguments", "problem"), [
    ({"return_mudata": True}, "MuData objects are not supported"), ({"sparse_format": "foo"}, "cannot be 'foo'"),
    ({"n_genes": 0}, "at least 1; found 0"), ({"n_batches": 2.0}, "whole number"),
    ({"dropout_ratio": 2}, "from 0 to 1"),
])
def test_bad_input(arguments, problem):
    with pytest.raises(SettingError, match=problem) as caught:
        synthetic_iid(**arguments)
    assert caught.value.field in arguments
