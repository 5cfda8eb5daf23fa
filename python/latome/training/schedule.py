"""What changes over training: the weight of the KL divergence, and the learning rate."""

from latome.training.stopping import Watch

__all__ = ["Plateau", "kl_weight"]


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
