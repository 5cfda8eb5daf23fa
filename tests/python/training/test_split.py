"""The split of cells: sizes, the permutation of the reference text, and what cannot be split."""

import math

import numpy as np
import pytest

from latome.errors import SettingError, TrainingError
from latome.training.options import TrainingOptions
from latome.training.split import split_cells

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
    first, second = split_cells(n, options, 0)
    assert (len(first), len(second)) == (n_train, n_validation)
    together = np.concatenate([first, second])
    assert len(set(together.tolist())) == len(together) and together.min() >= 0 and together.max() < n


@pytest.mark.parametrize("seed", [0, 1, 42, 2**32 + 5])
def test_validation_takes_the_first_of_numpys_permutation(seed):
    order = np.random.RandomState(seed % 2**32).permutation(50)
    rows, validation = split_cells(50, TrainingOptions(train_size=0.7, validation_size=0.2), seed)
    assert validation.tolist() == order[:10].tolist()
    assert rows.tolist() == order[10:10 + math.ceil(0.7 * 50)].tolist()


def test_in_order_validation_comes_first_too():
    """As in scvi-tools 1.4, where 137 cells give validation 0 to 12 and training 13 to 136."""
    rows, validation = split_cells(137, TrainingOptions(shuffle_set_split=False), 0)
    assert validation.tolist() == list(range(13)) and rows.tolist() == list(range(13, 137))


def test_the_callers_generator_is_left_alone():
    before = np.random.get_state()[1].copy()
    split_cells(50, TrainingOptions(), 0)
    np.testing.assert_array_equal(np.random.get_state()[1], before)


@pytest.mark.parametrize(("n", "train"), [(1, None), (2, None), (20, 0.1)])
def test_too_few_cells(n, train):
    with pytest.raises(TrainingError, match="of [0-9]+ cells are left to train on") as caught:
        split_cells(n, TrainingOptions(train_size=train), 0)
    assert "at least 3" in caught.value.hint


def test_early_stopping_needs_what_it_watches():
    with pytest.raises(SettingError, match="there are none") as caught:
        split_cells(50, TrainingOptions(train_size=1.0, early_stopping=True), 0)
    assert "train_size below 1" in caught.value.hint
    split_cells(50, TrainingOptions(train_size=1.0, early_stopping=True, early_stopping_monitor="elbo_train"), 0)
