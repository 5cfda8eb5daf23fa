"""Labels become groups, or the reason why they cannot is told."""

import numpy as np
import pandas as pd
import pytest
from examples import opened

from latome.analysis.groups import cell_groups
from latome.errors import QueryError

ALL = np.arange(90)


@pytest.fixture(scope="module")
def data():
    return opened()


@pytest.mark.parametrize(("labels", "names"), [
    (np.resize(["b", "a"], 90), ["a", "b"]),
    (np.resize([10, 9], 90), ["9", "10"]),
    (np.resize([1.0, 2.5], 90), ["1", "2.5"]),
    (np.resize([True, False], 90), ["False", "True"]),
    (pd.Series(np.resize(["b", "a"], 90), index=np.arange(90) + 7), ["a", "b"]),
    (pd.Categorical(np.resize(["b", "a"], 90), categories=["b", "a"]), ["b", "a"]),
    (np.array([1, "1", "x"] * 30, dtype=object), ["1", "x"]),
    (list(np.resize(["b", "a", "c"], 90)), ["a", "b", "c"]),
])
def test_groups(data, labels, names):
    found, codes = cell_groups(labels, data, ALL, field="who")
    assert found == names and codes.dtype == np.int64
    text = [str(int(v)) if isinstance(v, float) and v == int(v) else str(v) for v in np.asarray(labels, dtype=object)]
    assert [found[code] for code in codes] == text


def test_only_the_cells_asked_about_count(data):
    labels = np.array(["a"] * 30 + ["b"] * 30 + ["c"] * 29 + [None], dtype=object)
    rows = np.array([61, 3, 62])
    assert cell_groups(labels, data, rows, field="who")[0] == ["a", "c"]
    np.testing.assert_array_equal(cell_groups(labels, data, rows, field="who")[1], [1, 0, 1])
    with pytest.raises(QueryError, match="'a' of `who` has 1 of the cells; at least 2 are needed"):
        cell_groups(labels, data, rows, field="who", at_least=2)
    with pytest.raises(QueryError, match="same label in `who`"):
        cell_groups(labels, data, rows[:1], field="who")
    with pytest.raises(QueryError, match="1 of 90 cells have no label"):
        cell_groups(labels, data, ALL, field="who")
    with pytest.raises(QueryError, match="No cells are left"):
        cell_groups(labels, data, rows[:0], field="who")
