"""Gene selection: the formula against a dense one, simulated truth, and real blood cells."""

import os
from pathlib import Path

import anndata
import numpy as np
import pytest
import scipy.sparse as sp

from latome.data import selection
from latome.data.selection import count_zeros, poisson_gene_selection, select_genes
from latome.data.simulate import simulate
from latome.errors import FieldError, SettingError


def dense_excess(x):
    """The docstring's formula, written out."""
    x = np.asarray(x, dtype=np.float64)
    p = np.exp(-np.outer(x.sum(1), x.sum(0) / x.sum()))                            # (n, g)
    return ((x == 0).sum(0) - p.sum(0)) / np.sqrt(np.maximum((p * (1 - p)).sum(0), 1.0))


def zero_excess(counts):
    """The engine's z-scores of a CSR matrix."""
    sums, present = (np.asarray(m.sum(0), dtype=np.float64).ravel() for m in (counts, counts != 0))
    return count_zeros(np.asarray(counts.sum(1), dtype=np.float64).ravel(), sums, present).excess


def test_equals_the_dense_formula():
    data = simulate(300, 80, depth=150, seed=4)
    np.testing.assert_allclose(zero_excess(data.X), dense_excess(data.X.toarray()), rtol=1e-9, atol=1e-9)


def test_tiles_and_bins_change_next_to_nothing(monkeypatch):
    data = simulate(400, 90, depth=300, depth_sd=0.6)
    whole = zero_excess(data.X)
    monkeypatch.setattr(selection, "TILE", 1000)
    np.testing.assert_allclose(zero_excess(data.X), whole, rtol=1e-12, atol=1e-12)
    monkeypatch.setattr(selection, "MAX_TOTALS", 100)
    np.testing.assert_allclose(zero_excess(data.X), whole, rtol=1e-2, atol=1e-2)


def test_poisson_genes_have_no_excess_whatever_their_level_and_depth():
    data = simulate(4000, 300, 1, 1, marker_effect=0, batch_effect=0, depth=400, depth_sd=0.7, theta=1e5)
    z = zero_excess(data.X)
    assert abs(z.mean()) < 0.2 and np.abs(z).max() < 4
    assert abs(np.corrcoef(z, data.var["base"])[0, 1]) < 0.2


def test_markers_come_before_housekeeping_genes():
    data = simulate(3000, 600, 4, 2, depth=1000, theta=1e4, marker_effect=2.0, seed=1)
    markers = data.var["marker_of"].notna()
    chosen = select_genes(data, int(markers.sum()), batch="batch")
    assert markers[chosen].mean() > 0.9 > 2 * markers.mean()


def test_what_differs_between_batches_only_is_not_chosen():
    data = simulate(3000, 300, 4, 2, depth=1000, theta=1e4, marker_effect=2.0, batch_effect=1.0, seed=5)
    markers = data.var["marker_of"].notna()
    by_batch, pooled = (markers[select_genes(data, 60, batch=batch)].mean() for batch in ("batch", None))
    assert by_batch > 0.9 and by_batch > pooled + 0.1


def test_order_ties_and_unexpressed_genes():
    data = simulate(200, 30, depth=100)
    x = data.X.toarray()
    x[:, [3, 17]] = 0
    data.X = sp.csr_matrix(x)
    names = data.var_names
    assert select_genes(data, 28) == select_genes(data, 4000) == names.delete([3, 17]).tolist()
    chosen = select_genes(data, 10)
    assert chosen == sorted(chosen, key=names.get_loc) and len(chosen) == 10
    assert chosen == select_genes(data, 10)
    twins = anndata.AnnData(sp.csr_matrix(np.tile([[1, 1], [0, 0], [2, 2]], 3)))
    assert select_genes(twins, 2) == ["0", "1"]


def test_stored_zeros_dense_data_and_layers_give_the_same():
    data = simulate(150, 40, depth=100)
    wanted = select_genes(data, 10)
    stored = data.copy()
    stored.X = data.X.copy()
    stored.X.data[:20] = 0.0
    emptied = stored.copy()
    emptied.X.eliminate_zeros()
    assert select_genes(stored, 10) == select_genes(emptied, 10)
    dense = anndata.AnnData(data.X.toarray(), var=data.var)
    assert select_genes(dense, 10) == wanted
    layered = anndata.AnnData(np.zeros(data.shape), var=data.var, layers={"counts": data.X.tocsc()})
    assert select_genes(layered, 10, layer="counts") == wanted


def test_a_batch_of_one_cell_and_one_without_counts():
    data = simulate(100, 30, n_batches=1)
    data.obs["run"] = ["lone", "empty", *["main"] * 98]
    x = data.X.tolil()
    x[1] = 0
    data.X = x.tocsr()
    assert len(select_genes(data, 5, batch="run")) == 5


@pytest.mark.parametrize(
    ("change", "arguments", "error", "says"),
    [
        (None, {"n_top": 0}, SettingError, "at least 1; found 0"),
        (None, {"n_top": 10.0}, SettingError, "whole number"),
        (None, {"batch": "donr"}, FieldError, "no column 'donr'"),
        (None, {"layer": "counts"}, FieldError, "no layer 'counts'"),
        ("missing batch", {"batch": "batch"}, FieldError, "misses 1 value"),
        ("negative", {}, FieldError, "negative"),
        ("twice", {}, FieldError, "occur twice"),
    ],
)
def test_bad_input(change, arguments, error, says):
    data = simulate(20, 10)
    if change == "missing batch":
        data.obs.loc["cell_3", "batch"] = np.nan
    elif change == "negative":
        data.X.data[0] = -1
    elif change == "twice":
        data.var_names = ["gene_1", *data.var_names[:-1]]
    with pytest.raises(error, match=says):
        select_genes(data, **{"n_top": 5, **arguments})


def real_data(name):
    root = os.environ.get("LATOME_DATA") or Path(__file__).resolve().parents[4] / "shared" / "data"
    path = Path(root) / name
    if not path.exists():
        pytest.skip(f"{name} is not here; set LATOME_DATA to the folder that holds it")
    return anndata.read_h5ad(path)


def test_known_markers_of_blood_cells_are_found():
    data = real_data("pbmc3k.h5ad")
    known = {"LYZ", "CD74", "NKG7", "MS4A1", "PPBP", "S100A8", "GNLY", "CD79A", "FCER1A", "FCGR3A"}
    assert known <= set(select_genes(data, 1000))


def test_the_other_selection_is_the_probability_of_more_zeros(monkeypatch):
    data = simulate(300, 50, 3, 2, depth=100, seed=2)
    x = data.X.toarray().astype(np.float64)
    table = poisson_gene_selection(data, n_top_genes=12, inplace=False)
    p = np.exp(-np.outer(x.sum(1), x.sum(0) / x.sum()))                            # (n, g)
    zero = np.random.default_rng(0).random((20000, 2, 50)) < np.stack([(x == 0).mean(0), p.mean(0)])
    np.testing.assert_allclose(table["observed_fraction_zeros"], (x == 0).mean(0), rtol=1e-6)
    np.testing.assert_allclose(table["expected_fraction_zeros"], p.mean(0), rtol=1e-6)
    np.testing.assert_allclose(table["prob_zero_enrichment"], (zero[:, 0] > zero[:, 1]).mean(0), atol=0.015)
    assert table["highly_variable"].sum() == 12 and table["prob_zero_enrichment_rank"].max() == 49
    chosen = table["highly_variable"]
    assert table["prob_zero_enrichment"][chosen].min() >= table["prob_zero_enrichment"][~chosen].max()
    assert (table["prob_zero_enrichment_rank"][chosen] >= 38).all()


def test_its_columns_medians_and_places():
    data = simulate(300, 50, 3, 3, depth=100, seed=2)
    parts = [poisson_gene_selection(data[data.obs["batch"] == b].copy(), n_top_genes=9, inplace=False)
             for b in data.obs["batch"].unique()]
    before, x = set(data.uns), data.X.copy()
    assert poisson_gene_selection(data, n_top_genes=9, batch_key="batch") is None
    for column in ("observed_fraction_zeros", "expected_fraction_zeros", "prob_zero_enrichment",
                   "prob_zero_enrichment_rank"):
        np.testing.assert_allclose(data.var[column], np.median([part[column] for part in parts], axis=0), rtol=1e-6)
    among = np.sum([part["highly_variable"] for part in parts], axis=0)
    np.testing.assert_array_equal(data.var["prob_zero_enriched_nbatches"], among)
    assert among[data.var["highly_variable"]].min() >= among[~data.var["highly_variable"]].max()
    assert data.uns["hvg"] == {"flavor": "poisson_zeros"} and set(data.uns) == before | {"hvg"}
    assert (data.X != x).nnz == 0 and data.var["highly_variable"].sum() == 9
    poisson_gene_selection(data, n_top_genes=9, batch_key="batch", subset=True, n_samples=5, silent=True)
    assert data.n_vars == 9 and data.var["highly_variable"].all()


def test_a_chosen_gene_is_one_that_few_cells_hold_all_of():
    data = simulate(500, 40, 1, 1, marker_effect=0, depth=400, theta=1e5, seed=3)
    x = data.X.toarray()
    j = int(x.sum(0).argsort()[-3])
    x[:, j] = np.where(np.arange(500) < 50, 10 * x[:, j], 0)
    data.X = sp.csr_matrix(x)
    assert select_genes(data, 1) == [data.var_names[j]]
    assert poisson_gene_selection(data, n_top_genes=1, inplace=False)["highly_variable"].to_numpy().argmax() == j
