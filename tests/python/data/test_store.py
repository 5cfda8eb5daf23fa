"""A store holds what was given, whatever it came from, and is whole or an error."""

import json
import os
import tracemalloc

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from examples import opened, options, same_history, same_weights, small_data, trained

from latome.analysis.latent import latent
from latome.data import by_gene, entries, on_disk, store_files, values
from latome.data.entries import RawEntries
from latome.data.on_disk import DiskCounts
from latome.data.registry import Columns, open_data
from latome.data.sources import open_counts
from latome.data.store import open_store, prepare_store
from latome.data.store_files import StoreWriter
from latome.errors import ArchiveError, FieldError
from latome.fit import fit
from latome.model import SCVI


@pytest.fixture
def adata():
    data = small_data()
    data.obs["flag"] = np.arange(90) % 2 == 0
    data.obs["age"] = data.obs["age"].astype("float32")
    data.obs["rank"] = pd.Categorical(np.arange(90) % 3, categories=[2, 0, 1], ordered=True)
    data.obs["text"] = ["é", None, "x"] * 30
    data.obsm["adt"] = np.arange(180.0).reshape(90, 2)
    data.obsm["table"] = pd.DataFrame({"a": np.arange(90), "b": 1.5}, index=data.obs_names)
    return data


def csc(data):
    data = data.copy()
    data.X = sp.csc_matrix(data.X)
    return data


def backed(data, folder, **how):
    data.write_h5ad(folder / "cells.h5ad", **how)
    return anndata.read_h5ad(folder / "cells.h5ad", backed="r")


GIVEN = {
    "memory": lambda data, folder: data,
    "memory by gene": lambda data, folder: csc(data),
    "float64": lambda data, folder: anndata.AnnData(data.X.astype("float64"), data.obs, data.var, obsm=data.obsm),
    "dense": lambda data, folder: anndata.AnnData(data.X.toarray(), data.obs, data.var, obsm=data.obsm),
    "view": lambda data, folder: data[np.arange(90)],
    "backed": backed,
    "backed by gene": lambda data, folder: backed(csc(data), folder, compression="gzip"),
    "path": lambda data, folder: backed(data, folder).filename,
    "path by gene": lambda data, folder: str(backed(csc(data), folder).filename),
    "store": lambda data, folder: prepare_store(data, folder / "first"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("small", [False, True])
@pytest.mark.parametrize("given", GIVEN)
def test_a_store_holds_what_was_given(adata, tmp_path, given, small, monkeypatch):
    if small:                                          # blocks of a few cells, piles of a few entries
        for module, name in ((entries, "CHUNK"), (values, "CHUNK"), (by_gene, "ENTRIES"), (by_gene, "PILE")):
            monkeypatch.setattr(module, name, 100)
    found = open_store(prepare_store(GIVEN[given](adata, tmp_path), tmp_path / "store"))
    source = open_counts(found)
    assert isinstance(source, DiskCounts)
    np.testing.assert_array_equal(source.take(np.arange(90)).toarray(), adata.X.toarray())
    np.testing.assert_array_equal(source.totals(), adata.X.sum(1).A1)
    np.testing.assert_array_equal(source.detected(), (adata.X.sum(0) > 0).A1)
    np.testing.assert_array_equal(source.genes([3, 1]).totals(), adata.X[:, [3, 1]].sum(1).A1)
    assert list(found.obs_names) == list(adata.obs_names) and list(found.var_names) == list(adata.var_names)
    for name in ("flag", "age", "cell_type", "kit"):
        assert found.obs[name].dtype == adata.obs[name].dtype and (found.obs[name] == adata.obs[name]).all()
    assert found.obs["rank"].equals(adata.obs["rank"])
    assert found.obs["text"].astype(object).where(found.obs["text"].notna(), None).tolist() == ["é", None, "x"] * 30
    np.testing.assert_array_equal(found.obsm["adt"], adata.obsm["adt"])
    assert found.obsm["table"].equals(adata.obsm["table"].astype(float)) and list(found.obsm["table"]) == ["a", "b"]
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


@pytest.mark.parametrize(("dtype", "counts", "held"), [
    ("float32", [1, 255], "uint8"), ("int64", [1, 256], "uint16"), ("float64", [65536, 1], "uint32"),
    ("float64", [2.0**40, 1], "float32"), ("uint8", [200, 200], "uint8"), ("bool", [1, 1], "uint8"),
    ("float32", [0.5, 3], "float32"), (">f4", [1, 2], "uint8"), ("float32", [0, 2], "uint8")])
def test_values_are_held_in_the_smallest_type(tmp_path, dtype, counts, held):
    x = sp.csr_matrix(np.eye(300, 2) + 1)
    x.data = np.r_[np.ones(len(x.data) - 2), counts].astype(dtype)
    found = open_counts(open_store(prepare_store(anndata.AnnData(x), tmp_path / "s", allow_noninteger=True)))
    assert found.store.data.dtype == held and found.store.indices.dtype == np.uint16
    wanted = x.astype("float64").toarray()
    np.testing.assert_array_equal(found.take(np.arange(300)).toarray(), wanted.astype("float32"))
    assert found.store.offsets[-1] == np.count_nonzero(wanted)         # explicit zeros are left out
    if counts[0] == 0.5:
        with pytest.raises(FieldError, match="not whole"):
            found.check()


def test_a_large_count_that_comes_late_widens_what_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(store_files, "BLOCK", 16)
    parts = [np.full((4, 70000), 0.0) for _ in range(4)]
    for part, count in zip(parts, (3, 300, 70000, 2)):
        part[:, [0, 69999]] = count
    writer = StoreWriter(tmp_path / "s", 70000)
    for part in parts:
        writer.add(sp.csr_matrix(part))
    genes = [f"g{i}" for i in range(70000)]
    found = open_store(writer.finish([f"c{i}" for i in range(16)], genes, pd.DataFrame(index=range(16))))
    assert found.X.rows.data.dtype == np.uint32 and found.X.rows.indices.dtype == np.uint32
    np.testing.assert_array_equal(found.X.to_memory().toarray(), np.concatenate(parts))


def test_untidy_counts_are_put_in_order(tmp_path):
    x = sp.csr_matrix((np.array([200, 200, 1], np.uint8), np.array([2, 2, 0]), np.array([0, 3, 3])), shape=(2, 3))
    writer = StoreWriter(tmp_path / "s", 3)
    writer.add(x)
    found = open_store(writer.finish("ab", "xyz", pd.DataFrame(index=range(2))))
    assert found.X[:].toarray().tolist() == [[1, 0, 400], [0, 0, 0]]
    assert x.indices.tolist() == [2, 2, 0]             # what was given is left as it was


def test_a_layer_and_some_columns(adata, tmp_path):
    adata.layers["raw"] = adata.X.copy()
    adata.X.data += 0.5
    adata.obs["day"] = pd.Timestamp("2020-01-01")
    with pytest.warns(UserWarning, match="neither groups nor numbers: day"):
        found = open_store(prepare_store(adata, tmp_path / "all", layer="raw"))
    assert "day" not in found.obs and "kit" in found.obs
    found = open_store(prepare_store(adata, tmp_path / "some", layer="raw", columns=["kit"]))
    assert list(found.obs) == ["kit"]
    np.testing.assert_array_equal(found.X[:].toarray(), adata.layers["raw"].toarray())
    with pytest.raises(FieldError, match="no column 'kitt'") as caught:
        prepare_store(adata, tmp_path / "none", columns=["kitt"])
    assert "kit" in caught.value.hint
    adata.obs = adata.obs.drop(columns="day")
    del adata.obs["text"]
    adata.write_h5ad(tmp_path / "cells.h5ad")
    found = open_store(prepare_store(tmp_path / "cells.h5ad", tmp_path / "of file", layer="raw"))
    np.testing.assert_array_equal(found.X[:].toarray(), adata.layers["raw"].toarray())


def test_a_model_trains_from_a_store_as_from_a_file(adata, tmp_path, monkeypatch):
    monkeypatch.setattr(on_disk, "RUN", 4096)          # so that cells are shuffled alike, however the file is cut
    path = prepare_store(adata, tmp_path / "store")
    found = [fit("scvi", open_data(data, Columns(batch="batch")), options())
             for data in (open_store(path), backed(adata, tmp_path))]
    assert same_weights(*found) and same_history(*found)
    model = trained(opened(adata))
    np.testing.assert_allclose(latent(model.module, opened(open_store(path))), latent(model.module, opened(adata)),
                               rtol=1e-5, atol=1e-6)


def test_the_object_face_takes_it(adata, tmp_path):
    found = open_store(prepare_store(adata, tmp_path / "store"))
    SCVI.setup_anndata(found, batch_key="batch")
    model = SCVI(found, n_hidden=12, n_latent=3)
    model.train(max_epochs=2, batch_size=32, accelerator="cpu")
    z = model.get_latent_representation()
    np.testing.assert_allclose(model.get_latent_representation(adata), z, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model.get_latent_representation(found[[5, 3]]), z[[5, 3]], rtol=1e-5, atol=1e-6)
    model.save(tmp_path / "model")
    again = SCVI.load(tmp_path / "model", adata=open_store(tmp_path / "store"))
    np.testing.assert_array_equal(again.get_latent_representation(), z)


@pytest.mark.parametrize(("value", "message"), [(np.nan, "missing"), (-1, "negative"), (0.5, "not whole numbers")])
@pytest.mark.parametrize("row", [0, 89])
def test_what_is_no_count_leaves_nothing_behind(adata, tmp_path, value, message, row, monkeypatch):
    monkeypatch.setattr(values, "CHUNK", 100)
    adata.X = adata.X.toarray()
    adata.X[row, 3] = value
    with pytest.raises(FieldError, match=f"X holds .*{message}"):
        prepare_store(adata, tmp_path / "store")
    assert list(tmp_path.iterdir()) == []


def test_a_crash_leaves_the_old_store(adata, tmp_path, monkeypatch):
    path = prepare_store(adata, tmp_path / "store")

    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(store_files, "checksum", full)
    with pytest.raises(OSError, match="no space"):
        prepare_store(adata[:5].copy(), path, overwrite=True)
    monkeypatch.undo()
    assert open_store(path).n_obs == 90 and [entry.name for entry in tmp_path.iterdir()] == ["store"]
    rename = os.rename

    def to_its_place(old, new):
        if old.name.startswith(".") and len(calls) < 2:
            calls.append(new)
            full()
        calls.append(new)
        rename(old, new)

    calls = []
    monkeypatch.setattr(os, "rename", to_its_place)    # the new store cannot be put in its place
    with pytest.raises(OSError, match="no space"):
        prepare_store(adata[:5].copy(), path, overwrite=True)
    monkeypatch.undo()
    assert open_store(path).n_obs == 90 and [entry.name for entry in tmp_path.iterdir()] == ["store"]


def test_folders_that_are_taken(adata, tmp_path):
    path = prepare_store(adata, tmp_path / "store")
    with pytest.raises(ArchiveError, match="already holds a store") as caught:
        prepare_store(adata, path)
    assert "overwrite" in caught.value.hint
    assert open_store(prepare_store(adata[:40].copy(), path, overwrite=True)).n_obs == 40
    for other in (tmp_path, tmp_path / "file"):
        (tmp_path / "file").write_text("mine")
        with pytest.raises(ArchiveError, match="holds something else"):
            prepare_store(adata, other, overwrite=True)
    assert (tmp_path / "file").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    assert open_store(prepare_store(adata, tmp_path / "empty")).n_obs == 90


@pytest.mark.parametrize("name", ["values", "genes", "offsets", "totals", "detected", "names.json", "obs-0", "obsm-0"])
def test_every_damage_is_named(adata, tmp_path, name):
    path = prepare_store(adata, tmp_path / "store")
    content = (path / name).read_bytes()
    for spoilt, message in ((content[:-1], f"has {len(content) - 1:,} bytes, not"), (content + b"x", "bytes, not"),
                            (bytes([content[0] ^ 1]) + content[1:], "damaged: its checksum")):
        (path / name).write_bytes(spoilt)
        with pytest.raises(ArchiveError, match=f"{name} .*{message}|{name} is {message}") as caught:
            open_store(path)
        assert "prepare_store" in caught.value.hint
    (path / name).unlink()
    with pytest.raises(ArchiveError, match=f"lacks its file .*{name}"):
        open_store(path)


@pytest.mark.parametrize("change", [
    {"format": "other"}, {"version": "1"}, {"version": None}, {"arrays": {}}, {"n_cells": None, "n_genes": 7},
    {"obs": [{"name": "kit"}]}, {"n_entries": 3}, {"obsm": 3}])
def test_a_header_that_is_of_something_else(adata, tmp_path, change):
    path = prepare_store(adata, tmp_path / "store")
    header = json.loads((path / "store.json").read_text())
    (path / "store.json").write_text(json.dumps({**header, **change}))
    with pytest.raises(ArchiveError) as caught:
        open_store(path)
    assert str(path) in caught.value.problem and "prepare_store" in caught.value.hint


def test_other_headers_and_folders(adata, tmp_path):
    path = prepare_store(adata, tmp_path / "store")
    header = json.loads((path / "store.json").read_text())
    (path / "store.json").write_text(json.dumps({**header, "version": 99}))
    with pytest.raises(ArchiveError, match="newer latome"):
        open_store(path)
    for text in ("{", "[1]", "null", '"latome store"'):
        (path / "store.json").write_text(text)
        with pytest.raises(ArchiveError, match="damaged, or of something else"):
            open_store(path)
    (path / "store.json").unlink()
    with pytest.raises(ArchiveError, match="holds no store"):
        open_store(path)
    with pytest.raises(ArchiveError, match="no folder"):
        open_store(tmp_path / "nothing")


def test_a_gene_beyond_the_last_is_an_error_not_a_crash(adata, tmp_path):
    path = prepare_store(adata, tmp_path / "store")
    (path / "genes").write_bytes(b"\xff" * (path / "genes").stat().st_size)
    source = open_counts(open_store(path, verify=False))
    with pytest.raises(FieldError, match="damaged: an entry is of gene 65535 of 30"):
        source.take([0])


def test_a_store_that_is_gone(adata, tmp_path):
    path = prepare_store(adata, tmp_path / "store")
    data = opened(open_store(path))
    path.rename(tmp_path / "elsewhere")
    with pytest.raises(FieldError, match="closed"):
        data.source.take([0])


def test_memory_stays_flat(tmp_path, monkeypatch):
    for module, name in ((entries, "CHUNK"), (values, "CHUNK"), (by_gene, "ENTRIES"), (by_gene, "PILE")):
        monkeypatch.setattr(module, name, 1 << 15)
    monkeypatch.setattr(store_files, "BLOCK", 1 << 16)
    n, g = 20000, 200
    x = sp.random(n, g, 0.4, format="csr", dtype=np.float32, random_state=0)               # 1.6e6 entries: 12.8 MB
    x.data = np.ceil(x.data * 500)
    size = x.data.nbytes + x.indices.nbytes
    for name, matrix in (("by cell", x), ("by gene", sp.csc_matrix(x))):
        anndata.AnnData(matrix).write_h5ad(tmp_path / f"{name}.h5ad", compression="gzip")
    del x, matrix
    for name in ("by cell", "by gene"):
        lazy = anndata.read_h5ad(tmp_path / f"{name}.h5ad", backed="r")
        tracemalloc.start()
        try:
            prepare_store(lazy, tmp_path / name)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 0.45 * size
    first, second = (open_store(tmp_path / name).X.to_memory() for name in ("by cell", "by gene"))
    assert (first != second).nnz == 0


def test_a_store_reads_what_it_is_asked_for(adata, tmp_path, monkeypatch):
    source = open_counts(open_store(prepare_store(adata, tmp_path / "store")))
    asked = []
    read = RawEntries.read
    monkeypatch.setattr(RawEntries, "read", lambda self, begins, ends: asked.append((ends - begins).sum())
                        or read(self, begins, ends))
    monkeypatch.setattr("latome.data.on_disk.NEAR", 0)
    source.check()
    source.totals()
    source.detected()
    assert not asked                                   # the store knows
    source.take([7, 80])
    assert asked == [source.store.offsets[8] - source.store.offsets[7]
                     + source.store.offsets[81] - source.store.offsets[80]] * 2
