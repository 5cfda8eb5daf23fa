"""What changes over training: the weight of the KL divergence, and the learning rate."""

import math

from latome.training.stopping import Watch

__all__ = ["Plateau", "kl_weight", "learning_rate"]

RISE = 0.1                                             # share of the steps over which a cycle's rate rises
FIRST = 0.1                                            # where it begins, as a share of the highest


def kl_weight(options, epoch, step):
    """Weight at an epoch and step, both counted from 0: a line from min to max, then max. Epochs go before steps."""
    if options.n_epochs_kl_warmup:
        done = epoch / options.n_epochs_kl_warmup
    elif options.n_steps_kl_warmup:
        done = step / options.n_steps_kl_warmup
    else:
        done = 1.0
    low, high = options.min_kl_weight, options.max_kl_weight
    return low + (high - low) * min(1.0, done)


def learning_rate(options, step, n_steps):
    """Learning rate of a step, counted from 0, of `n_steps`.

    constant : lr.    cycle : from lr / 10 up to lr over the first tenth of the steps, then down along half a cosine,

        lr (1 + cos(pi t)) / 2,    t from 0 to 1 over the other steps.
    """
    if options.lr_schedule == "constant":
        return options.lr
    done = step / n_steps
    if done < RISE:
        return options.lr * (FIRST + (1 - FIRST) * done / RISE)
    return options.lr * (1 + math.cos(math.pi * (done - RISE) / (1 - RISE))) / 2


class Plateau:
    """Lowers the learning rate whenever the watched quantity has stood still for more than `patience` epochs.

    Arguments
    ---------
    options : `TrainingOptions`.
    optimizer : `FlatOptimizer` whose rate it is.
    """

    def __init__(self, options, optimizer):
        self.optimizer, self.patience = optimizer, options.lr_patience
        self.factor, self.least = options.lr_factor, options.lr_min
        self.watch = Watch(options.lr_scheduler_metric, options.lr_threshold)

    def update(self, row):
        """Take up the epoch's history, a row."""
        self.watch.update(row)
        if self.watch.waited > self.patience:
            self.optimizer.lr = min(self.optimizer.lr, max(self.optimizer.lr * self.factor, self.least))
            self.watch.waited = 0
