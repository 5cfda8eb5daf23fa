"""Which cells to train on, which to validate on, and which to keep for tests."""

import base64
import binascii
import math
import zlib
from typing import NamedTuple

import numpy as np

from latome.errors import SettingError, TrainingError

__all__ = ["Split", "given_split", "recovered_split", "split_cells", "split_facts"]

DEFAULT_TRAIN_SIZE = 0.9
SMALLEST = 3                                           # cells to train on
PARTS = ("train", "validation", "test")


class Split(NamedTuple):
    """Rows of the dataset, (n,) int64 each, in the order drawn or given."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def split_cells(n, options, seed):
    """The `Split` of n cells that `options` ask for.

    Validation takes the first rows of a permutation, training the next, the test the rest: numpy's
    RandomState(seed), as in the reference text, so the same seed splits alike there and here. Unshuffled, the
    order is that of the cells.
    """
    n_train, n_validation = split_sizes(n, options.train_size, options.validation_size)
    if n_train < SMALLEST:
        raise TrainingError("train_size", problem=f"{n_train} of {n} cells are left to train on.",
                            hint=f"Give at least {SMALLEST}: more cells, or a larger train_size.")
    return _drawn(n, n_train, n_validation, options.shuffle_set_split, seed)


def split_sizes(n, train_size=None, validation_size=None):
    """(training cells, validation cells) of n; training takes 0.9 of them, or what validation leaves."""
    if train_size is None:
        train_size = min(DEFAULT_TRAIN_SIZE, 1 - (validation_size or 0.0))
    n_train = math.ceil(train_size * n)
    rest = n - n_train
    return n_train, rest if validation_size is None else min(rest, math.floor(validation_size * n))


def _drawn(n, n_train, n_validation, shuffled, seed):
    order = np.random.RandomState(seed % 2**32).permutation(n) if shuffled else np.arange(n)
    return Split(order[n_validation:n_validation + n_train], order[:n_validation], order[n_validation + n_train:])


def given_split(parts, n):
    """The `Split` of rows that the user names.

    Arguments
    ---------
    parts : [training rows, validation rows, test rows]; the latter two may be empty, None or left out.
    n : cells of the dataset.

    Raises SettingError when a row is none of the dataset, or occurs twice.
    """
    hint = "Give [training rows, validation rows, test rows], whole numbers from 0; the latter two may be empty."
    if not isinstance(parts, list | tuple) or not 1 <= len(parts) <= 3:
        raise SettingError("external_indexing", problem="The rows to train on are not a list of one to three lists.",
                           hint=hint)
    parts = [*parts, None, None][:3]
    split = Split(*(_rows(part, name, n, hint) for part, name in zip(parts, PARTS, strict=True)))
    if len(split.train) < SMALLEST:
        raise SettingError("external_indexing", problem=f"It names {len(split.train)} cells to train on.",
                           hint=f"Give at least {SMALLEST}.")
    seen = np.full(n, -1, dtype=np.int8)
    for code, (rows, name) in enumerate(zip(split, PARTS, strict=True)):
        clash = rows[seen[rows] >= 0]
        if clash.size:
            raise SettingError("external_indexing", problem=f"Row {clash[0]} is in the {PARTS[seen[clash[0]]]} part "
                               f"and in the {name} part ({clash.size} such).", hint="Put each cell into one part.")
        seen[rows] = code
    return split


def _rows(part, name, n, hint):
    """The rows of one part, (n_part,) int64."""
    try:
        rows = np.asarray([] if part is None else part)
    except ValueError:                                 # lists of unequal lengths
        rows = np.empty((0, 0))
    if rows.ndim != 1:
        raise SettingError("external_indexing", problem=f"The {name} part is not a list of rows.", hint=hint)
    if rows.dtype.kind == "b":
        raise SettingError("external_indexing", problem=f"The {name} part holds True and False, not rows.",
                           hint="Give np.flatnonzero(mask).")
    if rows.size and (rows.dtype.kind not in "iuf" or not (np.isfinite(rows) & (rows == np.floor(rows))).all()):
        raise SettingError("external_indexing", problem=f"The {name} part holds what are no whole numbers.", hint=hint)
    beyond = rows[(rows < 0) | (rows >= n)]
    if beyond.size:
        raise SettingError("external_indexing", problem=f"The {name} part names row {beyond[0]:.0f}, and the data have "
                           f"rows 0 to {n - 1}.", hint=hint)
    rows = rows.astype(np.int64)
    values, counts = np.unique(rows, return_counts=True)
    if (counts > 1).any():
        raise SettingError("external_indexing", problem=f"The {name} part names row {values[counts > 1][0]} twice "
                           f"({(counts > 1).sum()} such).", hint="Name each cell once.")
    return rows


def split_facts(split, n, given):
    """What a saved model keeps of a split, JSON-able: sizes, and the rows themselves only if they were `given`.

    A split that was drawn is drawn again from the seed and the options by `recovered_split`.
    """
    facts = {"n_cells": n} | {f"n_{name}": len(rows) for name, rows in zip(PARTS, split, strict=True)}
    return facts | ({"split": [packed(rows) for rows in split]} if given else {})


def recovered_split(training, seed):
    """The `Split` of a model's last training, or None where it is not known.

    Arguments
    ---------
    training : facts of the training, `Fit.training`, with those of `split_facts` and the options.
    seed : of the fit.
    """
    if "split" in training:
        return Split(*(unpacked(text) for text in training["split"]))
    if "n_cells" not in training:
        return None
    sizes = training["n_train"], training["n_validation"]
    return _drawn(training["n_cells"], *sizes, training["options"]["shuffle_set_split"], seed)


def packed(rows):
    """Rows as a short text: their differences, compressed."""
    steps = np.diff(np.asarray(rows, dtype="<i8"), prepend=0)
    return base64.b64encode(zlib.compress(steps.astype("<i4").tobytes(), 6)).decode()


def unpacked(text):
    """The reverse of `packed`: (n,) int64. Raises ValueError for a damaged text."""
    try:
        return np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype="<i4").cumsum(dtype=np.int64)
    except (binascii.Error, zlib.error, TypeError) as error:
        raise ValueError(f"the rows of the training are damaged: {error}") from None
