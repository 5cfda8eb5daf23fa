"""Time to quality: when a recipe is not worse, by hand, and what the table says of it."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "benchmarks"))

import judge  # noqa: E402
import quality  # noqa: E402


@pytest.mark.parametrize("ours, theirs, least, error, not_worse", [
    ([-10.0, -20.0], [-11.0, -21.0], 0.0, 0.0, True),                # seed by seed better, however far seeds are apart
    ([-10.0, -20.0], [-9.0, -19.0], 0.5, 0.0, False),
    ([-10.0, -20.0], [-9.5, -19.5], 0.5, 0.0, True),
    ([-12.0, -20.0], [-11.0, -20.0], 0.1, 0.5, True),                # difference -0.5, twice its error is 1
    ([-3.0], [-2.0], 0.9, 0.0, False),
])
def test_seeds_are_compared_in_pairs(ours, theirs, least, error, not_worse):
    found = judge.paired(ours, theirs, least)
    assert found["error"] == pytest.approx(error) and found["not_worse"] is not_worse
    assert found["difference"] == pytest.approx(found["ours"] - found["theirs"])


def test_when_a_level_is_reached():
    curve = [{"epoch": 10, "seconds": 1.0, "elbo": -5.0}, {"epoch": 20, "seconds": 2.0, "elbo": -3.0},
             {"epoch": 30, "seconds": 3.0, "elbo": -4.0}]
    assert judge.reached(curve, -4.5) == (2.0, 20) and judge.reached(curve, -1.0) is None


def test_options_are_read_from_a_line():
    assert quality.parsed("lr=0.01,max_epochs=20,lr_schedule=cycle,n_epochs_kl_warmup=null") == {
        "lr": 0.01, "max_epochs": 20, "lr_schedule": "cycle", "n_epochs_kl_warmup": None}


def run(name, seed, elbo, seconds):
    metrics = {"k-NN accuracy": 0.9, "batch mixing": 0.6, "NMI": 0.7, "ARI": 0.5}
    return {"data": "cells", "name": name, "seed": seed, "elbo": elbo, "reconstruction": -elbo - 10.0,
            "metrics": metrics, "seconds": seconds, "cells": 100, "genes": 20, "columns": ["batch", "type"],
            "threads": 2, "machine": {"cores": 2},
            "curve": [{"epoch": 1, "seconds": seconds, "elbo": elbo, "reconstruction": -elbo - 10.0}]}


def test_the_table_compares_seeds_that_have_both():
    runs = [run("default", 0, -100.0, 40.0), run("fast", 0, -102.5, 4.0), run("fast", 1, 0.0, 4.0)]
    text = judge.quality_table(runs, {"default": {"max_epochs": 400}, "fast": {"lr": 0.01}})
    assert "| cells | ELBO | -100.00 | -102.50 | -2.50 | 0.00 | 1.00 | **no** |" in text
    assert "| cells | k-NN accuracy | 0.900 | 0.900 | +0.000 | 0.000 | 0.010 | yes |" in text
    assert "| seconds to the last ELBO of the default | 40.0 | not by all |" in text
    assert "10.0 times less" in text and "seeds 0," in text and "fast: lr = 0.01" in text


def test_curves_stand_beside_each_other():
    panels = judge.quality_panels([run("default", 0, -100.0, 40.0), run("fast", 0, -102.5, 4.0)])
    assert [panel["curves"][1]["y"] for panel in panels] == [[-102.5], [-92.5]]       # log-likelihood: ELBO + KL of 10
    assert panels[0]["floor"] < -102.5
