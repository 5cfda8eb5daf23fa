"""Early stopping: when the watched quantity no longer falls."""

__all__ = ["EarlyStopping"]


class EarlyStopping:
    """Remembers the best value so far; `update` tells whether to stop.

    Arguments
    ---------
    options : `TrainingOptions`.
    """

    def __init__(self, options):
        self.monitor = options.early_stopping_monitor
        self.patience = options.early_stopping_patience
        self.min_delta = options.early_stopping_min_delta
        self.warmup = options.early_stopping_warmup_epochs
        self.best = float("inf")
        self.waited = 0

    @property
    def exhausted(self):
        """Whether `patience` epochs have passed without improvement."""
        return self.waited >= self.patience

    def update(self, epoch, row):
        """Take up the epoch's history, a row; True when patience is exhausted."""
        value = row.get(self.monitor)
        if value is None or epoch < self.warmup:
            return False
        if value < self.best - self.min_delta:
            self.best, self.waited = value, 0
        else:
            self.waited += 1
        return self.exhausted
