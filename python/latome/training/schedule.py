"""The weight of the KL divergence over training."""

__all__ = ["kl_weight"]


def kl_weight(options, epoch, step):
    """Weight at an epoch and step, both counted from 0: a line from min to max, then max."""
    if options.n_epochs_kl_warmup:
        done = epoch / options.n_epochs_kl_warmup
    elif options.n_steps_kl_warmup:
        done = step / options.n_steps_kl_warmup
    else:
        done = 1.0
    low, high = options.min_kl_weight, options.max_kl_weight
    return low + (high - low) * min(1.0, done)
