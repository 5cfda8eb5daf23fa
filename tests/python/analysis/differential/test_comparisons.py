"""Comparisons: every way of asking gives the rows that it should, and every bad question an error that says why."""

import numpy as np
import pandas as pd
import pytest

from latome.analysis.differential import REST, Comparison, comparisons_of
from latome.analysis.differential.comparisons import check_comparison
from latome.errors import FieldError, QueryError

OBS = pd.DataFrame({
    "type": pd.Categorical(["b", "a", "a", "c", None, "b", "a", "c"], categories=["c", "a", "b", "unused"]),
    "cluster": [1, 0, 0, 2, 10, 1, 0, 2],
    "treated": [True, False, True, False, True, False, True, False],
    "score": [0.1, 0.5, np.nan, 0.9, 0.3, 0.2, 0.7, 0.8],
}, index=[f"cell {i}" for i in range(8)])
ROWS = {"a": [1, 2, 6], "b": [0, 5], "c": [3, 7]}


def rows(one):
    return one.rows1.tolist(), one.rows2.tolist()


def test_each_group_against_the_rest():
    found = comparisons_of(OBS, "type")
    assert [one.name for one in found] == ["a vs Rest", "b vs Rest", "c vs Rest"]
    for one in found:                                                   # cell 4 has no group
        rest = sorted(row for name, members in ROWS.items() if name != one.group1 for row in members)
        assert rows(one) == (ROWS[one.group1], rest) and one.group2 == REST
        assert one.rows1.dtype == np.int64


@pytest.mark.parametrize("group1", ["b", ["b"], ("b", "b"), {"b"}, np.array(["b"]), pd.Index(["b"])])
def test_one_group_against_another(group1):
    found, = comparisons_of(OBS, "type", group1=group1, group2="c")
    assert (found.group1, found.group2) == ("b", "c") and rows(found) == ([0, 5], [3, 7])


def test_several_groups_in_the_order_asked_for():
    found = comparisons_of(OBS, "type", group1=["c", "a"], group2="b")
    assert [one.name for one in found] == ["c vs b", "a vs b"]
    assert found[0].rows2 is found[1].rows2                             # its samples are drawn once
    assert [one.name for one in comparisons_of(OBS, "type", group2="b")] == ["a vs b", "c vs b"]


@pytest.mark.parametrize("column, given, name, members", [
    ("cluster", 0, "0", [1, 2, 6]), ("cluster", 10.0, "10", [4]), ("cluster", "1", "1", [0, 5]),
    ("treated", True, "True", [0, 2, 4, 6]), ("treated", "False", "False", [1, 3, 5, 7]),
])  # fmt: skip
def test_groups_that_are_numbers_or_truths(column, given, name, members):
    found, = comparisons_of(OBS, column, group1=given)
    assert found.group1 == name and found.rows1.tolist() == members
    assert found.rows2.tolist() == [row for row in range(8) if row not in members]


@pytest.mark.parametrize("idx1", [
    "type == 'a'", [1, 2, 6], [6, 1, 2, 1], np.isin(np.arange(8), [1, 2, 6]), pd.Series([1, 2, 6]),
    (OBS["type"] == "a"), "cluster == 0 and (treated or score > 0.4)", "cluster not in [1, 2, 10]",
], ids=str)  # fmt: skip
def test_selections(idx1):
    found, = comparisons_of(OBS, idx1=idx1, idx2="type == 'b'")
    assert rows(found) == ([1, 2, 6], [0, 5])
    assert found.group1 == (idx1 if isinstance(idx1, str) else "idx1") and found.group2 == "type == 'b'"


def test_a_selection_against_all_others():
    found, = comparisons_of(OBS, idx1=[3])
    assert rows(found) == ([3], [0, 1, 2, 4, 5, 6, 7]) and found.group2 == REST


def test_missing_values_meet_no_condition():
    found, = comparisons_of(OBS, idx1="score > 0.6", idx2="score <= 0.6")
    assert rows(found) == ([3, 6, 7], [0, 1, 4, 5])


def test_groups_of_a_subset():
    found = comparisons_of(OBS, "type", subset_idx="treated")           # rows 0, 2, 4, 6
    assert [(one.group1, *rows(one)) for one in found] == [
        ("a", [2, 6], [0, 1, 3, 5, 7]), ("b", [0], [1, 2, 3, 5, 6, 7])]  # those outside it belong to the rest
    found, = comparisons_of(OBS, "type", "a", "b", subset_idx=[0, 1, 2, 5])
    assert rows(found) == ([1, 2], [0, 5])


def test_cells_of_the_same_name_are_told_apart():
    obs = OBS.set_axis(["x"] * 8)
    assert rows(comparisons_of(obs, idx1="type == 'a'", idx2=[0])[0]) == ([1, 2, 6], [0])


@pytest.mark.parametrize("question, error, field, words, hint", [
    ({}, QueryError, "groupby", "Neither groups nor cells", "groupby="),
    ({"groupby": "type", "idx1": [0]}, QueryError, "groupby", "Both `groupby` and `idx1`", "idx1 and idx2"),
    ({"groupby": "type", "idx2": [0]}, QueryError, "idx2", "together with `groupby`", "idx1"),
    ({"idx2": [0]}, QueryError, "groupby", "Neither", "idx1"),
    ({"idx1": [0], "group1": "a"}, QueryError, "group1", "together with `idx1`", "groupby"),
    ({"idx1": [0], "subset_idx": [0]}, QueryError, "subset_idx", "together with `idx1`", "groupby"),
    ({"groupby": "typ"}, FieldError, "groupby", "no column 'typ'", "'type'"),
    ({"groupby": ["type"]}, FieldError, "groupby", "no column", "type"),
    ({"groupby": "type", "group1": "d"}, QueryError, "group1", "no group 'd'", "'a', 'b', 'c'"),
    ({"groupby": "type", "group1": "unused"}, QueryError, "group1", "no group 'unused'", "'a'"),
    ({"groupby": "type", "group1": "a", "group2": "bb"}, QueryError, "group2", "no group 'bb'", "'b'"),
    ({"groupby": "type", "group1": "a", "group2": ["b", "c"]}, QueryError, "group2", "names 2 groups", "Name one"),
    ({"groupby": "type", "group1": "a", "group2": "a"}, QueryError, "group2", "share 3 cells", "none in common"),
    ({"groupby": "type", "group1": []}, QueryError, "groupby", "no groups to compare", "two or more"),
    ({"groupby": "type", "group1": "c", "subset_idx": [0, 1]}, QueryError, "group1", "within `subset_idx`", "'a', 'b'"),
    ({"groupby": "same"}, QueryError, "group2", "no other cells", ""),
    ({"idx1": []}, QueryError, "idx1", "no cells in 'idx1'", "selected"),
    ({"idx1": "type == 'z'"}, QueryError, "idx1", "no cells in", "selected"),
    ({"idx1": np.ones(8, dtype=bool)}, QueryError, "idx2", "no other cells", "selected"),
    ({"idx1": [0, 1], "idx2": [1, 2]}, QueryError, "idx2", "share 1 cells, such as row 1", "none in common"),
    ({"idx1": [True, False]}, QueryError, "idx1", "2 entries for 8 cells", "one for each"),
    ({"idx1": [0, 8]}, QueryError, "idx1", "outside 0 to 7", "from 0"),
    ({"idx1": [-1]}, QueryError, "idx1", "outside 0 to 7", "from 0"),
    ({"idx1": [0.5]}, QueryError, "idx1", "float64", "row numbers"),
    ({"idx1": ["cell 1"]}, QueryError, "idx1", "neither a mask", "condition"),
    ({"idx1": "typ == 'a'"}, QueryError, "idx1", "cannot be read", "columns of obs"),
    ({"idx1": "type =="}, QueryError, "idx1", "cannot be read", "condition"),
    ({"idx1": "cluster"}, QueryError, "idx1", "not a condition", "Compare a column"),
    ({"idx1": "@OBS.cluster == 0"}, QueryError, "idx1", "cannot be read", "columns of obs"),
], ids=str)  # fmt: skip
def test_bad_questions(question, error, field, words, hint):
    with pytest.raises(error) as caught:
        comparisons_of(OBS.assign(same="all"), **question)
    assert caught.value.field == field and words in caught.value.problem and hint in caught.value.hint


@pytest.mark.parametrize("first, second, words", [
    ([0, 9], [1], "not ascending numbers from 0 to 7"), ([1, 0], [2], "not ascending"), ([0, 0], [2], "not ascending"),
    ([], [1], "no cells in 'x'"), ([0, 1], [1, 2], "share 1 cells"),
])  # fmt: skip
def test_comparisons_made_by_hand(first, second, words):
    made = Comparison("x", "y", np.array(first, dtype=np.int64), np.array(second, dtype=np.int64))
    with pytest.raises(QueryError, match=words):
        check_comparison(made, 8)
