"""The table of speeds: its rows, its verdicts by hand, and the files it is measured on."""

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import anndata
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "benchmarks"))

import counts  # noqa: E402
import growth  # noqa: E402
import report  # noqa: E402
import rows  # noqa: E402
import speed  # noqa: E402
from measures import MEASURES  # noqa: E402

from latome.data import open_store  # noqa: E402

GOAL = rows.Goal("seconds", 4.0, 8.0)


def test_each_row_can_be_measured_and_judged():
    assert len({row.name for row in rows.ROWS}) == len(rows.ROWS)
    for row in rows.ROWS:
        assert row.measure in MEASURES and row.what
        for goal in row.goals:
            assert goal.shown in report.FORMS
            assert (goal.must is None) == (goal.aim is None) and (goal.must is None or goal.must <= goal.aim)


def test_rows_are_chosen_by_name():
    assert [row.name for row in rows.rows_named("latent, zinb")] == ["zinb", "latent"]   # in the order of the table
    assert rows.rows_named() == list(rows.ROWS)
    with pytest.raises(ValueError, match="no row zimb"):
        rows.rows_named("nb,zimb")


@pytest.mark.parametrize("row", rows.ROWS, ids=lambda row: row.name)
def test_a_small_row_is_the_same_row_with_less_work(row):
    small = rows.smaller(row)
    assert small.counts.cells * small.counts.genes <= row.counts.cells * row.counts.genes / 10
    same = replace(small, counts=row.counts, options=row.options)
    assert same == row and set(small.options) == set(row.options)


@pytest.mark.parametrize("low, expected", [
    (3.59, "**not met**"), (3.6, "met"), (7.1, "met"), (7.2, "met, and the aim")])     # 0.9 of 4 and of 8
def test_the_lower_quartile_decides(low, expected):
    assert report.verdict([low, 100.0, 100.0], GOAL) == expected


def test_no_goal_no_verdict():
    assert report.verdict([0.0, 0.0, 0.0], rows.Goal("peak", None, None, "MB")) == ""


def test_ratios_are_taken_round_by_round():
    figures = {"ours": [{"s": 1.0}, {"s": 2.0}, {"s": 4.0}], "theirs": [{"s": 3.0}, {"s": 4.0}, {"s": 4.0}]}
    assert report.ratio_of(figures, ("ours", "theirs"), "s") == [1.5, 2.0, 2.5]        # of 3, 2, 1


@pytest.mark.parametrize("form, value, words", [
    ("cells/s", 1e-4, "10,000 cells/s"), ("s", 0.01234, "0.0123 s"), ("s", 1234.5, "1,234 s"),
    ("MB", 3 * 2**20, "3 MB")])
def test_figures_in_words(form, value, words):
    assert report.FORMS[form](value) == words


def test_elbos_in_words():
    assert report.elbo_words(None) == ""
    assert report.elbo_words({"ours": [-10.0], "theirs": [-12.0]}) == "-10.0, -12.0"
    assert report.elbo_words({"ours": [-9.0, -11.0], "theirs": [-12.0, -12.0]}) == "-10.0, -12.0 (+2.00 ± 1.00)"


def result_of(row, ours, theirs):
    figures = {side: [dict.fromkeys((goal.figure for goal in row.goals), value)] * 2
               for side, value in zip(row.sides, (ours, theirs), strict=True)}
    return {"figures": figures, "counts": asdict(row.counts), "options": row.options, "filled": 0.1, "threads": 2,
            "machine": {"cores": 2}, "instructions": ["avx2"], "about": {"us": {"versions": {"latome": "1.2"}}}}


def test_the_table_is_made_of_what_is_there(tmp_path):
    zinb, latent = rows.rows_named("zinb,latent")
    (tmp_path / "zinb.json").write_text(json.dumps(result_of(zinb, 1e-4, 5e-4)))
    (tmp_path / "latent.json").write_text(json.dumps(result_of(latent, 1.0, 2.0)))
    text = report.speed_table(tmp_path)
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert "10,000 cells/s | 2,000 cells/s | **5.00** | 5.00 to 5.00 | 4.5 | 8 | met |" in lines[1]
    assert lines[2].startswith("| latent | 1 s | 2 s | **2.00** |") and "**not met**" in lines[2]
    assert "latome 1.2" in text and "Not measured: nb," in text and "20,000 cells x 2,000 genes" in text


def test_a_row_is_done_with_its_rounds(tmp_path):
    zinb, memory = rows.rows_named("zinb,memory")
    assert not speed.done(zinb, tmp_path, 1)
    for row in (zinb, memory):
        (tmp_path / f"{row.name}.json").write_text(json.dumps(result_of(row, 1.0, 2.0)))    # of two rounds
    assert speed.done(zinb, tmp_path, 2) and not speed.done(zinb, tmp_path, 7)
    assert not speed.done(memory, tmp_path, 7) and memory.most == 3


# ---- files

SMALL = rows.Counts(60, 40, types=3, categorical=2, continuous=1, kept=0.2)


def test_files_hold_what_a_row_asks_for(tmp_path):
    paths = counts.write_counts(SMALL, tmp_path)
    train, heldout = (anndata.read_h5ad(paths[part]) for part in ("train", "heldout"))
    assert train.shape == (60, 40) and heldout.shape == (12, 40)
    assert not set(train.obs_names) & set(heldout.obs_names)
    names = counts.covariates_of(SMALL)
    assert {"batch", "cell_type", *names["categorical"], *names["continuous"]} <= set(train.obs)
    assert (len(names["categorical"]), len(names["continuous"])) == (2, 1)
    assert counts.write_counts(SMALL, tmp_path) == paths                    # made once
    assert counts.write_counts(replace(SMALL, kept=0.0), tmp_path)["heldout"] is None


def test_rows_are_split_without_loss():
    first, others = counts.split_rows(100, 30)
    assert len(first) == 30 and sorted([*first, *others]) == list(range(100))
    assert (np.diff(first) > 0).all() and (np.diff(others) > 0).all()


def test_the_vectors_for_r_are_those_of_the_counts(tmp_path):
    data = counts.simulated(SMALL)
    counts.write_vectors(data, tmp_path)
    about = json.loads((tmp_path / "about.json").read_text())
    assert (about["cells"], about["genes"], about["nnz"]) == (*data.shape, data.X.nnz)
    for name, kind, expected in (("x", np.float64, data.X.data), ("i", np.int32, data.X.indices),
                                 ("p", np.int32, data.X.indptr)):
        np.testing.assert_array_equal(np.fromfile(tmp_path / name, kind), expected)


@pytest.mark.parametrize("n", [7, 72, 200])
def test_cells_are_repeated(n):
    data = counts.simulated(SMALL)                                          # 72 cells
    more = growth.repeated(data, n)
    rows_of = np.arange(n) % 72
    assert more.shape == (n, 40) and more.obs_names.is_unique
    np.testing.assert_array_equal(more.X.toarray(), data.X[rows_of].toarray())
    assert list(more.obs["batch"]) == list(data.obs["batch"].iloc[rows_of])


def test_growth_sees_as_many_cells_at_each_size(tmp_path):
    asked = []

    def first_epoch(path, epochs, flags):
        n = (open_store(path) if path.endswith(".store") else anndata.read_h5ad(path)).n_obs
        asked.append((n, epochs, flags))
        return {"training": 2.0, "cells": n * epochs, "over": n * 2**20}

    found = growth.measure_growth(counts.simulated(SMALL), {"sizes": [50, 100], "cells": 100}, tmp_path, first_epoch)
    assert asked == [(n, 100 // n, growth.FLAGS[kind]) for n in (50, 100) for kind in found]
    assert growth.growth_rows(found) == [["50", *["20000.0"] * 3, *["50"] * 3], ["100", *["20000.0"] * 3, *["100"] * 3]]
    assert not list(tmp_path.iterdir())
