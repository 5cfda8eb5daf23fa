"""The split of cells: sizes, the permutation of the reference text, rows of one's own, and finding them again."""

import json
import math

import numpy as np
import pytest
from examples import opened, options, same_weights, trained, untrained

from latome.errors import SettingError, TrainingError
from latome.fit import start, train
from latome.training.options import TrainingOptions
from latome.training.split import given_split, packed, recovered_split, split_cells, split_facts, unpacked

SIZES = [  # n, train_size, validation_size, expected training and validation cells
    (100, None, None, 90, 10), (101, None, None, 91, 10), (100, 0.8, None, 80, 20), (101, 0.8, None, 81, 20),
    (100, 1.0, None, 100, 0), (100, 0.5, 0.25, 50, 25), (101, 0.5, 0.25, 51, 25), (100, None, 0.25, 75, 25),
    (100, None, 0.05, 90, 5), (100, 0.9, 0.1, 90, 10), (100, 1.0, 0.0, 100, 0), (3, 1.0, None, 3, 0),
         (7, 0.9, None, 7, 0),
]


@pytest.mark.parametrize(("n", "train", "validation", "n_train", "n_validation"), SIZES)
@pytest.mark.parametrize("shuffled", [True, False])
def test_sizes(n, train, validation, n_train, n_validation, shuffled):
    options = TrainingOptions(train_size=train, validation_size=validation, shuffle_set_split=shuffled)
    split = split_cells(n, options, 0)
    assert (len(split.train), len(split.validation)) == (n_train, n_validation)
    assert sorted(np.concatenate(split).tolist()) == list(range(n))     # the test has the rest


@pytest.mark.parametrize("seed", [0, 1, 42, 2**32 + 5])
def test_validation_takes_the_first_of_numpys_permutation(seed):
    order = np.random.RandomState(seed % 2**32).permutation(50)
    rows, validation, test = split_cells(50, TrainingOptions(train_size=0.7, validation_size=0.2), seed)
    assert validation.tolist() == order[:10].tolist() and math.ceil(0.7 * 50) == 35
    assert rows.tolist() == order[10:45].tolist() and test.tolist() == order[45:].tolist()


def test_in_order_validation_comes_first_too():
    """As in scvi-tools 1.4, where 137 cells give validation 0 to 12 and training 13 to 136."""
    rows, validation, test = split_cells(137, TrainingOptions(shuffle_set_split=False), 0)
    assert validation.tolist() == list(range(13)) and rows.tolist() == list(range(13, 137)) and test.size == 0


def test_the_callers_generator_is_left_alone():
    before = np.random.get_state()[1].copy()
    split_cells(50, TrainingOptions(), 0)
    np.testing.assert_array_equal(np.random.get_state()[1], before)


@pytest.mark.parametrize(("n", "train"), [(1, None), (2, None), (20, 0.1)])
def test_too_few_cells(n, train):
    with pytest.raises(TrainingError, match="of [0-9]+ cells are left to train on") as caught:
        split_cells(n, TrainingOptions(train_size=train), 0)
    assert "at least 3" in caught.value.hint


# -- rows of one's own -------------------------------------------------------------------------------------------------

OWN = [5, 1, 3, 8], [0, 9], [7]


@pytest.mark.parametrize("kind", [list, tuple, np.array, lambda rows: np.array(rows, np.int32), lambda rows:
                                  np.array(rows, np.float64)])
def test_given_rows_are_used_as_they_are(kind):
    split = given_split([kind(part) for part in OWN], 10)
    assert [rows.tolist() for rows in split] == [list(part) for part in OWN]
    assert all(rows.dtype == np.int64 for rows in split)


@pytest.mark.parametrize("parts", [[[0, 1, 2]], [[0, 1, 2], []], ([0, 1, 2], None, None), [[0, 1, 2], None, []]])
def test_only_rows_to_train_on_are_needed(parts):
    split = given_split(parts, 10)
    assert [len(rows) for rows in split] == [3, 0, 0]


@pytest.mark.parametrize(("parts", "problem"), [
    ([[0, 1, 2], [3, 2], []], r"Row 2 is in the train part and in the validation part \(1 such\)"),
    ([[0, 1, 2], [3, 4], [4, 3]], r"Row 4 is in the validation part and in the test part \(2 such\)"),
    ([[0, 1, 1, 2], [], []], r"The train part names row 1 twice"), ([[0, 1, 10], [], []], "names row 10, and the data"),
    ([[0, 1, 2], [-1], []], "The validation part names row -1"), ([[], [1], []], "It names 0 cells to train on"),
    ([[0, 1], [2], []], "It names 2 cells to train on"), ([[0.5, 1, 2], [], []], "no whole numbers"),
    ([["a", "b", "c"], [], []], "no whole numbers"), ([[0, 1, float("nan")], [], []], "no whole numbers"),
    ([np.array([True, False] * 5), [], []], "True and False"), ([[[0, 1], [2, 3]], [], []], "not a list of rows"),
    ([[[0, 1], [2]], [], []], "not a list of rows"), ([3, [], []], "not a list of rows"),
    ([[0, 1, 2], [3], [4], [5]], "list of one to three lists"), ([], "list of one to three lists"),
    ("012", "list of one to three lists"), ({"train": [0, 1, 2]}, "list of one to three lists"),
])
def test_rows_that_will_not_do(parts, problem):
    with pytest.raises(SettingError, match=problem) as caught:
        given_split(parts, 10)
    assert caught.value.field == "external_indexing" and caught.value.hint


@pytest.mark.parametrize("rows", [[], [0], [5, 1, 3], list(range(1000)), [2**31 - 1, 0, 7]])
def test_rows_survive_packing(rows):
    assert unpacked(packed(rows)).tolist() == rows and unpacked(packed(rows)).dtype == np.int64


def test_packed_rows_are_short():
    """Of a million cells in order: far below a byte each."""
    assert len(packed(np.arange(1_000_000))) < 20_000
    with pytest.raises(ValueError, match="damaged"):
        unpacked("no such text")


@pytest.mark.parametrize("given", [{}, {"train_size": 0.6, "validation_size": 0.2}, {"shuffle_set_split": False}])
@pytest.mark.parametrize("seed", [0, 7])
def test_a_drawn_split_is_found_again_without_storing_it(given, seed):
    options = TrainingOptions(**given)
    split = split_cells(101, options, seed)
    facts = json.loads(json.dumps(split_facts(split, 101, given=False) | {"options": options.to_json()}))
    assert "split" not in facts
    assert all(np.array_equal(a, b) for a, b in zip(split, recovered_split(facts, seed)))


def test_a_given_split_is_found_again():
    split = given_split(OWN, 10)
    facts = json.loads(json.dumps(split_facts(split, 10, given=True)))
    assert [rows.tolist() for rows in recovered_split(facts, 0)] == [list(part) for part in OWN]
    assert (facts["n_train"], facts["n_validation"], facts["n_test"]) == (4, 2, 1)


@pytest.mark.parametrize("training", [{}, {"n_train": 5, "source": "scvi-tools 1.0"}])
def test_a_split_that_is_not_known_is_none(training):
    assert recovered_split(training, 0) is None


def test_a_fit_tells_its_cells():
    data = opened()
    rows = [list(range(2, 60)), list(range(60, 80)), [0, 1]]
    fit = train(untrained(data), data, options(early_stopping=True), split=rows)
    assert [found.tolist() for found in recovered_split(fit.training, fit.seed)] == rows
    assert (fit.training["n_train"], fit.training["n_validation"], fit.training["n_test"]) == (58, 20, 2)
    drawn = trained(data, seed=3, train_size=0.5, validation_size=0.2)
    order = np.random.RandomState(3).permutation(90)
    assert recovered_split(drawn.training, 3).train.tolist() == order[18:63].tolist()
    # the same cells, drawn or named: the same model
    named = train(untrained(data), data, options(), split=list(recovered_split(trained(data).training, 0)))
    assert same_weights(named, trained(data))


def test_shares_and_rows_do_not_go_together():
    data = opened()
    with pytest.raises(SettingError, match="Both the rows of training and its share"):
        start(untrained(data), data, options(train_size=0.5), split=[[0, 1, 2]])
