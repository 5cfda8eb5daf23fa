"""Counts and columns are the same however an AnnData holds them: layouts, types of number, types of column."""

import warnings

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from examples import small_data
from set_up import ROLES, made

from latome.model import SCVI


@pytest.fixture
def adata():
    return small_data()


def read_only(x):
    csr = sp.csr_matrix(x)
    for part in (csr.data, csr.indices, csr.indptr):
        part.flags.writeable = False
    return csr


def wide(x):
    """A matrix that is every second column of a larger one."""
    larger = np.full((x.shape[0], 2 * x.shape[1]), -7.0)
    larger[:, ::2] = x
    return larger[:, ::2]


def matrix(x):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")                # numpy says that it is not recommended
        return np.matrix(x)


def float16(x):
    csr = sp.csr_matrix(x)
    csr.data = csr.data.astype(np.float16)
    return csr


HELD = {
    "array": np.asarray, "Fortran order": np.asfortranarray, "not contiguous": wide,
    "reversed": lambda x: np.ascontiguousarray(x[::-1])[::-1],
    "np.matrix": matrix, "CSC": sp.csc_matrix, "CSR array": sp.csr_array, "CSC array": sp.csc_array,
    "read-only": read_only, "read-only array": lambda x: np.frombuffer(x.tobytes()).reshape(x.shape),
    **{f"{kind} of {dtype}": lambda x, hold=hold, dtype=dtype: hold(x.astype(dtype))
       for kind, hold in (("array", np.asarray), ("CSR", sp.csr_matrix))
       for dtype in ("float16", "float32", "uint8", "int8", "uint16", "int64", "uint64", ">f4", ">i2")
       if kind == "array" or dtype[0] not in ">" and dtype != "float16"},                # others scipy refuses
    "CSR that was given float16": float16,
    "long pointers": lambda x: sp.csr_matrix(
        tuple(part.astype(np.int64) for part in (lambda c: (c.data, c.indices, c.indptr))(sp.csr_matrix(x))), x.shape),
}


@pytest.fixture(scope="module")
def known():
    """Counts that fit into one byte, a model of them, and its answers."""
    adata = small_data()
    adata.X = adata.X.minimum(100)
    model = made(adata, **ROLES)
    return adata, model, model.get_latent_representation()


@pytest.mark.parametrize("where", ["X", "layer", "raw beside"])
@pytest.mark.parametrize("name", HELD)
def test_counts_are_the_same_however_they_are_held(known, name, where):
    adata, model, z = known
    if name in ("CSR array", "CSC array") and not hasattr(anndata, "io"):
        pytest.skip("this anndata holds no sparse arrays")
    held = HELD[name](adata.X.toarray().astype(np.float64))
    if where == "layer":
        other = anndata.AnnData(None, adata.obs, adata.var, layers={"counts": held})
        again = made(other, layer="counts", **ROLES)
        assert other.X is None and again.fit.registry.columns.layer == "counts"
        np.testing.assert_array_equal(again.get_latent_representation(), z)
        return
    other = anndata.AnnData(held, adata.obs, adata.var)
    if where == "raw beside":
        other.raw = anndata.AnnData(np.full((90, 5), -1.5), adata.obs)               # is nobody's business
    np.testing.assert_array_equal(model.get_latent_representation(other), z)


def test_accessibility_as_logical_values(adata):
    binary = adata.X.toarray() > 0
    zs = []
    for held in (binary, sp.csr_matrix(binary), binary.astype(np.float32)):
        zs.append(made(anndata.AnnData(held, adata.obs, adata.var), **ROLES).get_latent_representation())
    np.testing.assert_array_equal(zs[0], zs[2])
    np.testing.assert_array_equal(zs[1], zs[2])


def arrow(values):
    return pd.array(values, dtype=pd.ArrowDtype(pytest.importorskip("pyarrow").string()))


COLUMNS = {
    "object": lambda v: pd.array(v, dtype=object), "category": pd.Categorical, "arrow": arrow,
    "string": lambda v: pd.array(v, "string"),
    "ordered": lambda v: pd.Categorical(v, ordered=True, categories=sorted(set(v), reverse=True)),
}


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize("numbers", ["float64", "Float64", "int64", "Int64", "float16"])
def test_columns_are_the_same_however_they_are_held(adata, name, numbers):
    adata.obs["age"] = np.arange(90) % 7
    model = made(adata, **ROLES)
    other = adata.copy()
    for column in ("batch", "cell_type", "kit"):
        other.obs[column] = COLUMNS[name](adata.obs[column].astype(str).tolist())
    other.obs["age"] = pd.array(adata.obs["age"], dtype=numbers)
    again = made(other, **ROLES)
    np.testing.assert_array_equal(again.get_latent_representation(), model.get_latent_representation())
    assert again.fit.registry.to_json()["categories"] == model.fit.registry.to_json()["categories"]


def test_logical_columns(adata):
    adata.obs["treated"] = np.arange(90) % 2 == 0
    registries = []
    for dtype in ("bool", "boolean", object):
        adata.obs["treated"] = adata.obs["treated"].astype(dtype)
        SCVI.setup_anndata(adata, categorical_covariate_keys=["treated"])
        registries.append(SCVI(adata, n_hidden=12).fit.registry.to_json())
    assert registries[0]["categories"]["treated"] == ["False", "True"] and registries.count(registries[0]) == 3


def test_labels_that_no_cell_has(adata):
    adata.obs["none"] = pd.array([None] * 90, dtype=object)
    SCVI.setup_anndata(adata, labels_key="none")
    assert SCVI(adata, n_hidden=12).fit.registry.n_labels == 0
