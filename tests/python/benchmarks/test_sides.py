"""What the comparisons of benchmarks/ do beside training: choosing cells, labels and genes, keeping, judging."""

import argparse
import json
import sys
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "benchmarks"))

import annotation  # noqa: E402
import doublets  # noqa: E402
import markers  # noqa: E402
import nuisance  # noqa: E402
import predicted  # noqa: E402
import sides  # noqa: E402


def test_labels_are_kept_by_share_within_each_label_and_only_where_allowed():
    labels = np.repeat(["a", "b", "c"], [200, 100, 4])
    allowed = np.arange(304) % 2 == 0
    kept = annotation.keep_labels(labels, allowed, 0.1, seed=3)
    assert allowed[kept].all() and np.unique(labels[kept], return_counts=True)[1].tolist() == [10, 5, 1]
    assert np.array_equal(kept, annotation.keep_labels(labels, allowed, 0.1, seed=3))
    assert not np.array_equal(kept, annotation.keep_labels(labels, allowed, 0.1, seed=4))


def test_hidden_labels_are_judged_as_a_whole_and_in_the_batch_without_labels():
    table = pd.DataFrame({"a": [0.9, 0.2, 0.6, 0.7], "b": [0.1, 0.8, 0.4, 0.3]})
    hidden, apart = np.array([False, True, True, True]), np.array([False, False, True, True])
    found = annotation.judge(table, np.array(["a", "b", "a", "b"]), hidden, apart)["metrics"]
    assert found["accuracy"] == pytest.approx(2 / 3) and found["accuracy, unlabelled batch"] == 0.5


def test_judged_labels_hold_the_figure():
    table = pd.DataFrame({"a": [0.95, 0.05], "b": [0.05, 0.95]})
    found = predicted.judge_labels(table, np.array(["a", "a"]))
    assert found["metrics"]["accuracy"] == 0.5
    assert found["metrics"]["calibration error"] == pytest.approx(0.45)
    assert found["curve"] == {"share": [1.0], "confidence": [0.95], "right": [0.5]}


def test_doublets_are_judged_batch_by_batch():
    """Each batch is ranked rightly; scores that differ between the batches do not matter."""
    table = pd.DataFrame({"doublet": [0.2, 0.1, 0.9, 0.8]})
    found = doublets.judge(table, np.array([True, False, True, False]), np.array(["x", "x", "y", "y"]))
    assert found["metrics"] == {"AUROC": 1.0, "average precision": 1.0}
    assert found["curve"]["precision"][:25] == [1.0] * 25 and found["curve"]["precision"][-1] == round(2 / 3, 4)


@pytest.fixture
def marked():
    table = pd.DataFrame({"x": [1, 0, 0, 0], "y": [1, 1, 0, 0], "w": [0, 0, 1, 0]}, index=list("abcd"))
    counts = np.array([[3, 0, 1, 4], [0, 2, 2, 0], [1, 1, 1, 1]], dtype=np.float32)
    return anndata.AnnData(counts, obs=pd.DataFrame({"line": ["x", "y", "other"]}, index=list("123")),
                           var=pd.DataFrame(index=list("abcd")), varm={"table": table})


def options_of(**values):
    return argparse.Namespace(**{"labels": "line", "markers": "table", "match": [], "batch": None, **values})


def test_markers_of_absent_types_are_dropped_with_their_genes(marked):
    """Markers of w alone mark nothing when no label is w's, and the cell of another line has no type."""
    chosen, table, truth = markers.prepare(marked, options_of(match=["x=x", "y=y"]))
    assert list(table.columns) == ["x", "y"] and list(chosen.var_names) == ["a", "b"] and list(truth) == ["x", "y"]
    assert chosen.obs[markers.SIZE].tolist() == pytest.approx([8 / 6, 4 / 6])          # over all four genes
    with pytest.raises(SystemExit, match="no type"):
        markers.prepare(marked, options_of(match=["z=x"]))


def test_markers_are_read_from_a_file(marked, tmp_path):
    marked.varm["table"].rename(index={"b": "not there"}).to_csv(tmp_path / "m.csv")
    assert list(markers.marker_table(marked, str(tmp_path / "m.csv")).index) == ["a", "c"]
    with pytest.raises(SystemExit, match="No file"):
        markers.marker_table(marked, "nowhere.csv")


def test_simulated_sets_are_moved_by_one_factor_alone():
    options = argparse.Namespace(name=None, seeds=[0])
    name, data = nuisance.simulated(options)
    level, slope = data.varm["sex_effect"].iloc[:, 1] != 0, data.varm["cycle_effect"]["slope"] != 0
    marker = data.var["marker_of"].notna()
    moved = {"cycle_genes": (slope, level | marker), "sex_genes": (level, slope | marker),
             "marker_genes": (marker, level | slope)}
    assert name == "simulated" and set(moved) == {*options.nuisance, *options.markers}
    for column, (by, not_by) in moved.items():
        rows = data.var[column]
        assert rows.sum() >= nuisance.SET and by[rows].all() and not not_by[rows].any()


def test_neighbours_among_alike_are_alike():
    groups = np.array(["u", "v"] * 30)
    nearest = nuisance.among_alike(groups, 7)
    assert nearest.shape == (60, 7) and (groups[nearest] == groups[:, None]).all()


def trial(tmp_path, monkeypatch, **design):
    """A task whose peer is never asked."""
    monkeypatch.setattr(sides, "PEER", tmp_path)
    data = anndata.AnnData(np.ones((4, 3), np.float32))
    options = argparse.Namespace(seeds=[0], threads=1, rerun=False, only="scvi-tools")
    return sides.Task("data", "model", data, {"epochs": 5, **design}, "verb", {}, None, options)


def test_what_the_peer_found_is_used_again_for_the_same_design_only(tmp_path, monkeypatch):
    task = trial(tmp_path, monkeypatch)
    (tmp_path / "data_model_0.json").write_text(json.dumps({"design": task.design, "metrics": {"m": 1.0}}))
    assert task.runs()["scvi-tools"][0]["metrics"] == {"m": 1.0}
    with pytest.raises(SystemExit, match="epochs"):
        trial(tmp_path, monkeypatch, epochs=6).runs()


def test_cells_are_dropped_and_drawn(tmp_path):
    cells = pd.DataFrame({"kind": ["good", "bad"] * 20}, index=[f"c{i}" for i in range(40)])
    anndata.AnnData(np.ones((40, 2), np.float32), obs=cells).write_h5ad(tmp_path / "d.h5ad")
    options = argparse.Namespace(data=str(tmp_path / "d.h5ad"), drop=["kind=bad"], cells=5, name=None)
    name, data = sides.read_counts(options, ["kind", None])
    assert name == "d" and data.n_obs == 5 and set(data.obs["kind"]) == {"good"}
    with pytest.raises(SystemExit, match="no column"):
        sides.read_counts(options, ["absent"])


def test_verdicts_know_which_side_is_better_and_where_neither_is():
    runs = {"scvi-tools": [{"metrics": {"up": 0.5, "down": 0.1, "none": 0.9}}],
            "latome": [{"metrics": {"up": 0.4, "down": 0.3, "none": 0.1}}]}
    rows, compared = sides.compared_rows(runs, lower=("down",), neutral=("none",))
    assert [row[-1] for row in rows] == ["**no**", "**no**", ""] and rows[1][5] == "+0.200"
    assert compared["down"]["difference"] == pytest.approx(-0.2)
