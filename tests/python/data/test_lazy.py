"""Matrices that stay in their file: an AnnData holds them, and a model reads them."""

import subprocess
import sys

import anndata
import h5py
import numpy as np
import pytest
import scipy.sparse as sp
from examples import opened, options, same_history, same_weights, small_data

from latome.data.lazy import StoredMatrix, open_h5ad, read_zarr
from latome.data.on_disk import DiskCounts
from latome.data.registry import Columns, open_data
from latome.data.selection import select_genes
from latome.data.sources import open_counts
from latome.errors import FieldError
from latome.fit import fit
from latome.model import SCVI

FORMS = {"CSR": sp.csr_matrix, "array": lambda x: x.toarray(), "CSC": sp.csc_matrix}
FILES = ["h5ad", "zarr 2", "zarr 3"]


def kept(folder, file, form="CSR"):
    """Data, and the same left in a file of that kind; its counts are X and a layer."""
    adata = small_data()
    adata.X = FORMS[form](adata.X)
    adata.layers["raw"] = adata.X.copy()
    adata.obsm["adt"] = np.arange(180.0).reshape(90, 2)
    path = folder / f"cells.{file[:4]}"
    if file == "h5ad":
        adata.write_h5ad(path, compression="gzip")
        return adata, open_h5ad(path)
    zarr = pytest.importorskip("zarr")
    if file == "zarr 3" and not hasattr(anndata.settings, "zarr_write_format"):
        pytest.skip("this anndata writes format 2 alone")
    if hasattr(anndata.settings, "zarr_write_format"):
        with anndata.settings.override(zarr_write_format=int(file[-1])):
            adata.write_zarr(path)
        assert zarr.open_group(str(path), mode="r").metadata.zarr_format == int(file[-1])
    else:
        adata.write_zarr(path)
    return adata, read_zarr(path, backed="r")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("form", ["CSR", "array"])
@pytest.mark.parametrize("file", FILES)
def test_a_file_holds_the_same_counts_as_memory(tmp_path, file, form):
    adata, lazy = kept(tmp_path, file, form)
    dense, rows = np.asarray(small_data().X.todense()), np.array([80, 3, 3, 41])
    assert isinstance(lazy.X, StoredMatrix) and isinstance(lazy.layers["raw"], StoredMatrix)
    assert lazy.X.shape == adata.shape and lazy.X.dtype == adata.X.dtype
    assert lazy.obs.equals(adata.obs) and lazy.var_names.equals(adata.var_names)
    np.testing.assert_array_equal(lazy.obsm["adt"], adata.obsm["adt"])
    for layer in (None, "raw"):
        source = open_counts(lazy, layer)
        assert isinstance(source, DiskCounts)
        np.testing.assert_array_equal(source.take(rows).toarray(), dense[rows])
        np.testing.assert_array_equal(source.totals(), dense.sum(1))
        part = open_counts(lazy[[5, 2, 60], [7, 1]], layer)            # a view reads its part
        assert isinstance(part, DiskCounts)
        np.testing.assert_array_equal(part.take([1, 0]).toarray(), dense[[2, 5]][:, [7, 1]])
    assert select_genes(lazy, 12, batch="batch") == select_genes(small_data(), 12, batch="batch")
    np.testing.assert_array_equal(lazy.X.to_memory().toarray(), dense)
    np.testing.assert_array_equal(lazy.X[3:9, [4, 2]].toarray(), dense[3:9][:, [4, 2]])
    np.testing.assert_array_equal(lazy.X[7].toarray(), dense[[7]])
    np.testing.assert_array_equal(lazy[[4, 2]].copy().X.toarray(), dense[[4, 2]])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("file", FILES)
def test_training_does_not_depend_on_where_the_counts_are(tmp_path, file):
    """Of one window, a file's order of cells and memory's would differ; that of two files does not."""
    _, lazy = kept(tmp_path, file)
    (tmp_path / "other").mkdir()
    _, other = kept(tmp_path / "other", "h5ad")
    fits = [fit("scvi", open_data(data, Columns(batch="batch")), options()) for data in (lazy, other)]
    assert same_weights(*fits) and same_history(*fits)


@pytest.mark.filterwarnings("ignore")
def test_the_object_face_takes_it(tmp_path):
    adata, lazy = kept(tmp_path, "zarr 2")
    SCVI.setup_anndata(lazy, batch_key="batch", layer="raw")
    model = SCVI(lazy, n_hidden=12, n_latent=3)
    model.train(max_epochs=2, batch_size=32, accelerator="cpu")
    z = model.get_latent_representation()
    np.testing.assert_allclose(z, model.get_latent_representation(adata), rtol=1e-5, atol=1e-6)
    again = lazy.copy()                                # the counts stay where they are
    assert isinstance(again.X, StoredMatrix)
    np.testing.assert_array_equal(model.get_latent_representation(again), z)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("file", FILES)
def test_counts_gene_by_gene_name_the_way_out(tmp_path, file):
    _, lazy = kept(tmp_path, file, "CSC")
    for ask in (lambda: opened(lazy), lambda: lazy.X[:3], lambda: opened(lazy[:50])):
        with pytest.raises(FieldError, match="gene by gene") as caught:
            ask()
        assert "prepare_store" in caught.value.hint


@pytest.mark.filterwarnings("ignore")
def test_paths_that_hold_something_else(tmp_path):
    with pytest.raises(FieldError, match="no folder"):
        read_zarr(tmp_path / "none.zarr", backed="r")
    with pytest.raises(FieldError, match="no file"):
        open_h5ad(tmp_path / "none.h5ad")
    (tmp_path / "text.h5ad").write_text("cells")
    with pytest.raises(FieldError, match="cannot be read as HDF5"):
        open_h5ad(tmp_path / "text.h5ad")
    with h5py.File(tmp_path / "other.h5ad", "w") as file:
        file["x"] = 1
    with pytest.raises(FieldError, match="no AnnData"):
        open_h5ad(tmp_path / "other.h5ad")
    pytest.importorskip("zarr")
    (tmp_path / "empty.zarr").mkdir()
    with pytest.raises(FieldError, match="is no zarr folder"):
        read_zarr(tmp_path / "empty.zarr", backed="r")


@pytest.mark.filterwarnings("ignore")
def test_zarr_in_memory(tmp_path):
    adata, _ = kept(tmp_path, "zarr 2")
    found = read_zarr(tmp_path / "cells.zarr")
    np.testing.assert_array_equal(found.X.toarray(), adata.X.toarray())


def test_the_engine_starts_without_anndata_or_zarr():
    code = "import sys, latome.data.store; print({'anndata', 'zarr', 'h5py'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
