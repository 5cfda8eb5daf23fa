"""The cells of a training: their split, and the minibatches of each epoch."""

from itertools import islice

import numpy as np

from latome.data.minibatches import Minibatches, minibatch_bounds
from latome.errors import SettingError, TrainingError
from latome.training.options import limited
from latome.training.ranks import Ranks, Slices
from latome.training.split import given_split, split_cells, split_facts

__all__ = ["TrainingCells"]


class TrainingCells:
    """Which cells are trained and validated on, and in which minibatches; with several ranks, in those of this one.

    Arguments
    ---------
    data : a `Dataset`.
    options : `TrainingOptions`.
    seed : of the split, and of the order of the cells in each epoch.
    rows : [training rows, validation rows, test rows], or None: drawn as `options` say.
    device : where the minibatches go.
    ranks : the `Ranks` that train.
    """

    def __init__(self, data, options, seed, rows, device, ranks):
        self.data, self.seed, self.device, self.ranks = data, seed, device, ranks
        self.size, self.step_size = options.batch_size, options.batch_size * ranks.size
        if rows is not None and (options.train_size, options.validation_size) != (None, None):
            raise SettingError("external_indexing", problem="Both the rows of training and its share were given.",
                               hint="Leave out train_size and validation_size.")
        self.split = split_cells(data.n_cells, options, seed) if rows is None else given_split(rows, data.n_cells)
        self.facts = split_facts(self.split, data.n_cells, rows is not None)
        if len(self.split.train) < ranks.size:
            raise TrainingError("ranks", problem=f"{len(self.split.train)} cells cannot be shared by {ranks.size} "
                                "processes.", hint="Start fewer.")
        full = self._full(self.split.train) if options.drop_last else self.split.train
        self.training = self._minibatches(full, options.limit_train_batches)
        self.validation = self._minibatches(self.split.validation, options.limit_val_batches)
        if options.watches and not len(self.validation):
            name, quantity = next(iter(options.watches.items()))
            raise SettingError(name, problem=f"`{name}` watches {quantity}, but there are no validation cells.",
                               hint=f"Choose train_size below 1, or switch {name} off.")

    def _full(self, rows):
        """As many rows as fill whole minibatches."""
        if len(rows) < self.step_size:
            raise SettingError("drop_last", problem=f"The {len(rows)} cells to train on fill no minibatch of "
                               f"{self.step_size}.", hint="Lower batch_size, or keep the last minibatch.")
        return rows[:len(rows) // self.step_size * self.step_size]

    def _minibatches(self, rows, limit=None):
        n = limited(minibatch_bounds(len(rows), self.step_size), limit)
        if self.ranks.alone:
            return Minibatches(self.data, rows[:n], self.size, self.device)
        return Slices(self.ranks, self.data, rows[:n], self.size, self.device)

    def in_new_order(self, epoch):
        """The minibatches of an epoch: other cells each time where not all are taken."""
        order = self.data.source.shuffled(self.split.train, np.random.default_rng([self.seed, epoch]))
        return self.training.shuffled(order[:len(self.training.rows)])

    def streams(self, module, epoch, done=0):
        """{name: endless minibatches} of the further cells that a module reads in an epoch, after `done` of them."""
        drawn = module.streams(self.data, self.split.train, np.random.default_rng([self.seed, epoch, 1]))
        return {name: islice(endless(self._further(rows)), done, None) for name, rows in drawn.items()}

    def _further(self, rows):
        """Minibatches of a stream; rows that are too few to be shared go to every rank."""
        if self.ranks.alone or len(rows) < 3 * self.ranks.size:
            return Minibatches(self.data, rows, self.size, self.device)
        return Slices(Ranks(self.ranks.rank, self.ranks.size), self.data, rows, self.size, self.device)


def endless(batches):
    """Minibatches over and over, read anew each time."""
    while True:
        yield from batches
