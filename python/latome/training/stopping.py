"""What follows the course of training: early stopping, and the weights of the best epoch."""

__all__ = ["BestWeights", "EarlyStopping", "Watch"]


class Watch:
    """A quantity that should fall: its best value so far, and how often it was seen since without improving.

    Arguments
    ---------
    quantity : name of a column of the history.
    min_delta : smallest fall below the best that counts.
    begin : epoch, from 0, before which it is not watched.
    """

    def __init__(self, quantity, min_delta=0.0, begin=0):
        self.quantity, self.min_delta, self.begin = quantity, min_delta, begin
        self.best, self.waited = float("inf"), 0

    def update(self, row):
        """Take up an epoch's history, a row: True where it improved, None where there was nothing to see."""
        value = row.get(self.quantity)
        if value is None or row["epoch"] < self.begin:
            return None
        if value < self.best - self.min_delta:
            self.best, self.waited = value, 0
            return True
        self.waited += 1
        return False

    def memory(self):
        """JSON-able facts from which `restore` goes on."""
        return {"best": None if self.best == float("inf") else self.best, "waited": self.waited}

    def restore(self, facts):
        """Take up a `memory`."""
        self.best = float("inf") if facts["best"] is None else facts["best"]
        self.waited = facts["waited"]


class EarlyStopping:
    """Tells when the watched quantity no longer falls.

    Arguments
    ---------
    options : `TrainingOptions`.
    """

    def __init__(self, options):
        self.active, self.patience = options.early_stopping, options.early_stopping_patience
        self.watch = Watch(options.early_stopping_monitor, options.early_stopping_min_delta,
                           options.early_stopping_warmup_epochs)

    @property
    def exhausted(self):
        """Whether it is asked for, and `patience` epochs have passed without improvement."""
        return self.active and self.watch.waited >= self.patience

    def update(self, row):
        """Take up the epoch's history, a row; True when patience is exhausted."""
        self.watch.update(row)
        return self.exhausted


class BestWeights:
    """The weights of the epoch in which the quantity that early stopping watches was best.

    Arguments
    ---------
    options : `TrainingOptions`.
    """

    def __init__(self, options):
        self.watch = Watch(options.early_stopping_monitor, begin=options.early_stopping_warmup_epochs)
        self.epoch, self.weights = None, {}

    def update(self, row, weights):
        """Take up the epoch's history, a row, and the weights {name: tensor} at its end, which are kept if best."""
        if self.watch.update(row):
            self.epoch, self.weights = row["epoch"], weights

    def memory(self):
        """({name: tensor}, JSON-able facts) from which `restore` goes on."""
        return self.weights, {"epoch": self.epoch, **self.watch.memory()}

    def restore(self, weights, facts):
        """Take up a `memory`."""
        self.weights, self.epoch = weights, facts["epoch"]
        self.watch.restore(facts)
