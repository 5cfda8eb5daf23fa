"""What R calls to read files of cells: an .h5ad with all it may hold, and one joined from parts in a zip."""

import hashlib
import os
import zipfile
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from latome import bridge

DATA = Path(os.environ.get("LATOME_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))


def cells(n=6, g=4, names=None):
    counts = np.random.default_rng(n).poisson(1.0, (n, g)).astype(np.float32)
    obs = pd.DataFrame(index=names or [f"c{i}" for i in range(n)])
    return ad.AnnData(sp.csr_matrix(counts), obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(g)]))


def test_all_that_an_h5ad_holds_comes_in_the_types_of_r(tmp_path):
    adata = cells()
    adata.obs["type"] = pd.Categorical(["b", None, "a", "b", "a", "b"], categories=["b", "never", "a"])
    adata.obs["n"] = [1, 2, 3, 4, 5, 6]
    adata.obs["good"] = [True, False] * 3
    adata.obs["note"] = ["x", "y", "z", "u", "v", "w"]
    adata.var["symbol"] = list("ABCD")
    adata.obsm["spatial"] = np.arange(12.0).reshape(6, 2)
    adata.obsm["protein_counts"] = pd.DataFrame({"CD3": range(6), "CD4": range(6)}, index=adata.obs_names)
    adata.varm["markers"] = np.eye(4)
    adata.write_h5ad(tmp_path / "a.h5ad", convert_strings_to_categoricals=False)
    found = bridge.read_h5ad(str(tmp_path / "a.h5ad"))
    assert found["ok"], found
    rebuilt = sp.csc_matrix((found["x"], found["i"], found["p"]), shape=(4, 6))               # as R's dgCMatrix
    np.testing.assert_array_equal(rebuilt.toarray(), adata.X.toarray().T)
    assert found["cells"] == list(adata.obs_names) and found["genes"] == list(adata.var_names)
    kind = found["obs"]["type"]
    assert kind["levels"] == ["b", "never", "a"] and kind["codes"].tolist() == [0, -1, 2, 0, 2, 0]
    assert found["obs"]["n"]["values"].tolist() == [1, 2, 3, 4, 5, 6]
    assert found["obs"]["good"]["values"].dtype == bool
    assert found["obs"]["note"] == {"strings": ["x", "y", "z", "u", "v", "w"]}
    assert found["var"]["symbol"]["strings"] == ["A", "B", "C", "D"]
    np.testing.assert_array_equal(found["obsm"]["spatial"]["values"], adata.obsm["spatial"])
    assert found["obsm"]["spatial"]["names"] is None and found["obsm"]["protein_counts"]["names"] == ["CD3", "CD4"]
    assert found["varm"]["markers"]["values"].flags.f_contiguous


def test_a_file_that_is_no_h5ad_is_told():
    refused = bridge.read_h5ad(__file__)
    assert not refused["ok"] and refused["kind"] == "FieldError" and "cannot be read" in refused["problem"]


def test_the_checksum_is_that_of_the_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"abc" * 700000)
    assert bridge.file_checksum(str(tmp_path / "a"))["sha256"] == hashlib.sha256(b"abc" * 700000).hexdigest()


def zipped(folder, **parts):
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        for name, part in parts.items():
            part.write_h5ad(folder / f"{name}.h5ad")
            archive.write(folder / f"{name}.h5ad", f"inside/{name}.h5ad")
    return str(folder / "a.zip"), {name: f"inside/{name}.h5ad" for name in parts}


def test_parts_in_a_zip_become_one_file(tmp_path):
    barcodes = ["AAACCCGGGTTTAC", "CCCAAAGGGTTTAC", "GGGTTTAAACCCAC"]
    first = cells(3, 5, [f"ctrl{code}-1" for code in barcodes])
    second = cells(2, 5, [f"{code}.1" for code in barcodes[:2]])
    for part in (first, second):
        part.var_names = ["g0", "g1", "g1", "g3", "g4"]
        part.X = part.X.toarray()
        part.X[:, 4] = 0
    first.X[0, 4] = 3                                  # one cell of all has this gene
    archive, members = zipped(tmp_path, ctrl=first, stim=second)
    reply = bridge.join_h5ad(archive, members, "stim", str(tmp_path / "all.h5ad"), 2)
    assert reply["ok"], reply
    joined = ad.read_h5ad(tmp_path / "all.h5ad")
    named = [f"{group}_{code}-1" for group, n in (("ctrl", 3), ("stim", 2)) for code in barcodes[:n]]
    assert list(joined.obs_names) == named
    assert list(joined.obs["stim"]) == ["ctrl"] * 3 + ["stim"] * 2 == list(joined.obs["batch"])
    both = np.vstack([first.X, second.X])
    enough = (both > 0).sum(0) >= 2
    assert not enough[4]
    assert list(joined.var_names) == list(np.array(["g0", "g1", "g1-1", "g3", "g4"])[enough])
    np.testing.assert_array_equal(joined.X.toarray(), both[:, enough])
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".h5ad"] * 3 + [".zip"]


def test_parts_with_different_genes_are_refused(tmp_path):
    first, second = cells(3, 4, ["AAAAAAAAC", "AAAAAAAAG", "AAAAAAAAT"]), cells(1, 4, ["AAAAAAAAC"])
    second.var_names = ["g1", "g0", "g2", "g3"]
    archive, members = zipped(tmp_path, one=first, two=second)
    refused = bridge.join_h5ad(archive, members, "part", str(tmp_path / "all.h5ad"))
    assert not refused["ok"] and "same genes" in refused["problem"] and not (tmp_path / "all.h5ad").exists()


@pytest.mark.skipif(not DATA.exists(), reason="no folder of real data")
@pytest.mark.parametrize("name", ["cite_wnn_3donors_224adt", "visium_lymph_node_1000spots", "mixology_mixtures"])
def test_real_files_come_whole(name):
    found, adata = bridge.read_h5ad(str(DATA / f"{name}.h5ad")), ad.read_h5ad(DATA / f"{name}.h5ad")
    assert found["x"].sum() == adata.X.sum(dtype=np.float64) and len(found["cells"]) == adata.n_obs
    assert set(found["obs"]) == set(adata.obs) and set(found["obsm"]) == set(adata.obsm)
