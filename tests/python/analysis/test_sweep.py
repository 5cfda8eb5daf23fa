"""The inference loop: every cell once, in its place, whatever the minibatches."""

import numpy as np
import pytest
from examples import opened, untrained

from latome.analysis.sweep import rows_of, sweep
from latome.errors import QueryError, SettingError


@pytest.fixture(scope="module")
def data():
    return opened()


@pytest.fixture(scope="module")
def module(data):
    return untrained(data).module


def query(cells):
    return {"index": cells["index"], "total": cells["x"].totals()}


@pytest.mark.parametrize("batch_size", [1, 7, 44, 89, 90, 1000])
@pytest.mark.parametrize("indices", [None, [5, 3, 88, 3], np.arange(90) % 2 == 0, np.array([0])])
def test_rows_arrive_in_order(data, module, indices, batch_size):
    found = sweep(module, data, query, indices=indices, batch_size=batch_size)
    rows = np.arange(90)[slice(None) if indices is None else indices]
    np.testing.assert_array_equal(found["index"], rows)
    np.testing.assert_array_equal(found["total"], data.source.totals()[rows])


def test_the_module_is_asked_in_evaluation_mode_and_left_as_it_was(data, module):
    seen = []
    for mode in (True, False):
        module.train(mode)
        sweep(module, data, lambda cells: seen.append(module.training) or query(cells))
        assert module.training is mode
    assert seen == [False, False]


@pytest.mark.parametrize("batch_size", [-5, 2.5, "all"])
def test_a_batch_size_that_is_none(data, module, batch_size):
    with pytest.raises(SettingError, match="`batch_size`"):
        sweep(module, data, query, batch_size=batch_size)


@pytest.mark.parametrize(("indices", "problem"), [
    ([], "No cells are left"), (np.zeros(90, bool), "No cells are left"), ([90], "outside 0 to 89"),
    ([-1], "outside 0 to 89"), (np.ones(3, bool), "3 entries for 90 cells"), ([0.5], "float64, not row numbers"),
    (["cell_1"], "not row numbers"),
])
def test_rows_that_do_not_exist(data, module, indices, problem):
    with pytest.raises(QueryError, match=problem) as caught:
        sweep(module, data, query, indices=indices)
    assert caught.value.field == "indices" and caught.value.hint


def test_rows_of_all(data):
    assert rows_of(data, None).tolist() == list(range(90))
