"""What the comparison of reference mapping does beside training: choosing cells and genes, and judging."""

import sys
from argparse import Namespace
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "benchmarks"))

import mapping  # noqa: E402


@pytest.fixture
def cells():
    counts = np.random.default_rng(0).poisson(1.0, (60, 20)).astype(np.float32)
    counts[:, 0] = 0
    obs = pd.DataFrame({"stim": ["a", "b"] * 30, "donor": ["x", "y", "z"] * 20, "type": ["T"] * 50 + ["unknown"] * 10},
                       index=[f"c{i}" for i in range(60)])
    return anndata.AnnData(sp.csr_matrix(counts), obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(20)]))


def given(**more):
    return Namespace(**{"data": None, "name": "x", "drop": [], "cells": None, "other": None, "split": None,
                        "query": None, "batch": ["stim", "donor"], "labels": "type", "unlabelled": "unknown",
                        "genes": 10, **more})


def test_the_new_cells_are_those_of_a_value_or_of_a_file(cells, tmp_path):
    cells.write_h5ad(tmp_path / "cells.h5ad")
    name, data, new = mapping.all_cells(given(data=tmp_path / "cells.h5ad", query="b"))
    assert name == "x" and data.n_obs == 60 and (data.obs["stim"][new] == "b").all() and new.sum() == 30
    cells[:, 5:].copy().write_h5ad(tmp_path / "other.h5ad")
    _, data, new = mapping.all_cells(given(data=tmp_path / "cells.h5ad", other=tmp_path / "other.h5ad"))
    assert data.shape == (120, 15) and new.sum() == 60 and data.obs_names.is_unique
    with pytest.raises(SystemExit, match="no 'nobody'"):
        mapping.all_cells(given(data=tmp_path / "cells.h5ad", query="nobody"))


def test_genes_are_chosen_in_the_reference_and_labels_that_nobody_knows_are_none(cells):
    new = (cells.obs["stim"] == "b").to_numpy()
    counts = cells.X.toarray()
    counts[new, 3:] = 0                                # silent in the query: they may be chosen all the same
    counts[:, 1] += 1
    cells.X = sp.csr_matrix(counts)
    chosen = mapping.prepare(cells, new, given())
    assert chosen.n_vars == 10 and (chosen.obs["batch_of_cell"] == [f"{s} {d}" for s, d in zip(
        cells.obs["stim"][chosen.obs_names], cells.obs["donor"][chosen.obs_names], strict=True)]).all()
    assert set(chosen.obs["label"]) == {"T", "none given"}


def test_labels_are_judged_where_the_reference_knows_them():
    generator = np.random.default_rng(0)
    centres = {"T": 0.0, "B": 10.0, "new": 20.0}
    labels = np.array(["T", "B"] * 40 + ["none given"] * 4 + ["T", "B", "T", "new"] * 10)
    part = np.array(["reference"] * 84 + ["query"] * 40)
    z = np.array([centres.get(label, 0.0) for label in labels])[:, None] + generator.normal(0, 0.1, (124, 2))
    query = part == "query"
    found = {"mapped_old": z[~query], "union_old": z[~query], "mapped_new": z[query], "union_new": 10 - z[query],
             "projected_new": z[query], "names": np.array(["B", "T"]), "moved": np.array([0.0, 1e-7]),
             "labels": np.stack([labels[query] == "B", labels[query] != "B"], 1).astype(float)}
    obs = pd.DataFrame({"part": part, "label": labels})
    told = mapping.judge(found, obs, {"retraining": 8.0, "mapping": 2.0}, seed=0)["metrics"]
    assert told["accuracy, 15 neighbours, mapped"] == 1 and told["accuracy, 15 neighbours, union"] == 0
    assert told["accuracy, scANVI"] == 1 and told["macro F1, scANVI"] == 1
    assert told[mapping.FASTER] == 4 and told[mapping.MOVED[1]] == 1e-7
    assert mapping.RandomForestClassifier is None or told["accuracy, random forest, mapped"] == 1


def test_votes_go_to_the_most_neighbours():
    old = np.array([[0.0], [0.1], [0.2], [5.0], [5.1]])
    assert mapping.neighbours(old, np.array(["a", "b", "b", "c", "c"]), np.array([[0.1], [5.0]]), k=3).tolist() == [
        "b", "c"]
