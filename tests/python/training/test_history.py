"""The history is one numeric table, a row an epoch."""

import json

import numpy as np
import pytest

from latome.backend import torch
from latome.protocol import Term, Terms
from latome.training.history import History, add_terms, plain_sums, summarise, sums_from_plain


@pytest.fixture
def history():
    made = History()
    made.append({"epoch": 0, "elbo_train": 5, "elbo_validation": None})
    made.append({"epoch": 1, "elbo_train": np.float32(4.5), "elbo_validation": 6.0})
    made.append({"epoch": 2, "elbo_train": 4.0})
    return made


def test_columns(history):
    found = history.to_dict()
    assert list(found) == ["epoch", "elbo_train", "elbo_validation"] and len(history) == 3
    assert all(values.dtype == np.float64 and values.shape == (3,) for values in found.values())
    np.testing.assert_array_equal(found["elbo_validation"], [np.nan, 6.0, np.nan])
    assert (history.last("elbo_train"), history.last("elbo_validation"), history.last("other")) == (4.0, 6.0, None)


def test_frame(history):
    frame = history.frame()
    assert frame.index.name == "epoch" and frame.index.tolist() == [0, 1, 2]
    assert frame.columns.tolist() == ["elbo_train", "elbo_validation"]
    assert frame["elbo_train"].tolist() == [5.0, 4.5, 4.0]


def test_round_trip_through_json(history):
    document = json.dumps(history.to_json(), allow_nan=False)
    again = History.from_json(json.loads(document))
    assert json.dumps(again.to_json()) == document and again.last("elbo_validation") == 6.0
    again.append({"epoch": 3, "elbo_train": 3.0})
    assert len(again) == 4 and len(history) == 3


def test_empty():
    assert len(History()) == 0 and History().to_dict() == {} and History().last("elbo_train") is None
    assert History.from_json(History().to_json()).frame().empty


def test_what_is_not_finite_is_no_json_number():
    assert History({"epoch": [0, 1], "loss": [np.inf, 2.0]}).to_json() == {"epoch": [0, 1], "loss": [None, 2.0]}


class Counting:
    """A module that makes numbers of two tallies."""

    @staticmethod
    def tallied(sums):
        seen = sums["seen"]
        return {"share": sums["right"].sum() / seen, "loss": sums["right"][0, 1]} if seen else {}


def terms(values, right, seen, loss):
    likelihood = {"x": Term(-torch.tensor(values))}
    return Terms(likelihood, {}, {"loss": (torch.tensor(loss), 3.0)},
                 {"right": torch.tensor(right), "seen": torch.tensor(seen)})


@pytest.mark.parametrize("paused", [False, True])
def test_tallies_are_summed_over_minibatches_of_any_size(paused):
    sums = {}
    add_terms(sums, terms([1.0, 2.0, 3.0], [[1.0, 2.0], [0.0, 1.0]], 8.0, 5.0))
    if paused:                                         # sums travel through a file, and go on
        sums = sums_from_plain(json.loads(json.dumps(plain_sums(sums))), "cpu")
    add_terms(sums, terms([6.0], [[0.0, 1.0], [1.0, 0.0]], 2.0, 9.0))
    row = summarise(sums, "train", Counting())
    assert row == {"elbo_train": 3.0, "reconstruction_loss_train": 3.0, "kl_local_train": 0.0,
                   "loss_train": 3.0, "share_train": 0.6}               # the tallied loss, not the mean (15 + 9) / 4


def test_a_metric_that_cannot_be_told_is_left_out():
    sums = {}
    add_terms(sums, terms([1.0], [[0.0, 0.0], [0.0, 0.0]], 0.0, 4.0))
    assert "share_validation" not in summarise(sums, "validation", Counting())
    assert summarise(sums, "validation", Counting())["loss_validation"] == 4
