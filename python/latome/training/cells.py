"""The cells of a training: their split, and the minibatches of each epoch."""

import numpy as np

from latome.data.minibatches import Minibatches, minibatch_bounds
from latome.errors import SettingError
from latome.training.options import limited
from latome.training.split import given_split, split_cells, split_facts

__all__ = ["TrainingCells"]


class TrainingCells:
    """Which cells are trained and validated on, and in which minibatches.

    Arguments
    ---------
    data : a `Dataset`.
    options : `TrainingOptions`.
    seed : of the split, and of the order of the cells in each epoch.
    rows : [training rows, validation rows, test rows], or None: drawn as `options` say.
    device : where the minibatches go.
    """

    def __init__(self, data, options, seed, rows=None, device="cpu"):
        self.data, self.size, self.seed, self.device = data, options.batch_size, seed, device
        if rows is not None and (options.train_size, options.validation_size) != (None, None):
            raise SettingError("external_indexing", problem="Both the rows of training and its share were given.",
                               hint="Leave out train_size and validation_size.")
        self.split = split_cells(data.n_cells, options, seed) if rows is None else given_split(rows, data.n_cells)
        self.facts = split_facts(self.split, data.n_cells, rows is not None)
        full = self._full(self.split.train) if options.drop_last else self.split.train
        self.training = self._minibatches(full, options.limit_train_batches)
        self.validation = self._minibatches(self.split.validation, options.limit_val_batches)
        if options.watches and not len(self.validation):
            name, quantity = next(iter(options.watches.items()))
            raise SettingError(name, problem=f"`{name}` watches {quantity}, but there are no validation cells.",
                               hint=f"Choose train_size below 1, or switch {name} off.")

    def _full(self, rows):
        """As many rows as fill whole minibatches."""
        if len(rows) < self.size:
            raise SettingError("drop_last", problem=f"The {len(rows)} cells to train on fill no minibatch of "
                               f"{self.size}.", hint="Lower batch_size, or keep the last minibatch.")
        return rows[:len(rows) // self.size * self.size]

    def _minibatches(self, rows, limit=None):
        n = limited(minibatch_bounds(len(rows), self.size), limit)
        return Minibatches(self.data, rows[:n], self.size, self.device)

    def in_new_order(self, epoch):
        """The minibatches of an epoch: other cells each time where not all are taken."""
        order = self.data.source.shuffled(self.split.train, np.random.default_rng([self.seed, epoch]))
        return self.training.shuffled(order[:len(self.training.rows)])

    def streams(self, module, epoch):
        """{name: endless minibatches} of the further cells that a module reads in an epoch."""
        drawn = module.streams(self.data, self.split.train, np.random.default_rng([self.seed, epoch, 1]))
        return {name: endless(self._minibatches(rows)) for name, rows in drawn.items()}


def endless(batches):
    """Minibatches over and over, read anew each time."""
    while True:
        yield from batches
