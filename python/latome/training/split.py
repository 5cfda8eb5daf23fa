"""Which cells to train on, and which to validate on."""

import math

import numpy as np

from latome.errors import SettingError, TrainingError

__all__ = ["split_cells"]

DEFAULT_TRAIN_SIZE = 0.9


def split_cells(n, options, seed):
    """(training rows, validation rows) of n cells, in the order drawn.

    Validation takes the first rows of a permutation, training the next: numpy's RandomState(seed), as in
    the reference text, so the same seed splits alike there and here. Unshuffled, the order is that of the cells.
    """
    train_size = DEFAULT_TRAIN_SIZE if options.train_size is None else options.train_size
    if options.train_size is None and options.validation_size is not None:
        train_size = min(train_size, 1 - options.validation_size)
    n_train = math.ceil(train_size * n)
    rest = n - n_train
    n_validation = rest if options.validation_size is None else min(rest, math.floor(options.validation_size * n))
    if n_train < 3:
        raise TrainingError("train_size", problem=f"{n_train} of {n} cells are left to train on.",
                            hint="Give at least 3: more cells, or a larger train_size.")
    if options.early_stopping and options.early_stopping_monitor.endswith("_validation") and n_validation == 0:
        raise SettingError("early_stopping", problem="Early stopping watches validation cells, but there are none.",
                           hint="Choose train_size below 1, or switch early stopping off.")
    order = np.random.RandomState(seed % 2**32).permutation(n) if options.shuffle_set_split else np.arange(n)
    return order[n_validation:n_validation + n_train], order[:n_validation]
