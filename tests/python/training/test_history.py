"""The history is one numeric table, a row an epoch."""

import json

import numpy as np
import pytest

from latome.training.history import History


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
