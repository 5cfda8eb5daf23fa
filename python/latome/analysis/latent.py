"""The latent representation of cells."""

from latome.analysis.sweep import ELEMENTS, sweep
from latome.distributions import LogisticNormal
from latome.protocol.settings import check_setting

__all__ = ["latent", "latent_moments"]


def latent_moments(module, data, *, indices=None, batch_size=None, name="z"):
    """(mean, variance) of q(z | x): (n, k) float32 each."""

    def query(cells):
        q = module.posterior(cells)[name]
        return {"mean": q.mean, "variance": q.variance.expand_as(q.mean)}

    found = sweep(module, data, query, indices=indices, batch_size=batch_size, elements=ELEMENTS)
    return found["mean"], found["variance"]


def latent(module, data, *, indices=None, batch_size=None, give_mean=True, mc_samples=5000):
    """(n, k) float32: the posterior mean of each cell's z, or one draw from its posterior.

    The mean of a logistic-normal has no closed form: it is that of `mc_samples` draws.
    """
    mc_samples = check_setting("mc_samples", mc_samples, int, {"ge": 1})

    def query(cells):
        q = module.posterior(cells)["z"]
        return {"z": _mean(q, mc_samples) if give_mean else q.rsample()}

    return sweep(module, data, query, indices=indices, batch_size=batch_size, elements=ELEMENTS)["z"]


def _mean(q, mc_samples):
    if not isinstance(q, LogisticNormal):
        return q.mean
    size = max(1, min(mc_samples, ELEMENTS // q.mean.numel()))         # draws held at a time
    sizes = [size] * (mc_samples // size) + [mc_samples % size] * bool(mc_samples % size)
    return sum(q.rsample((part,)).sum(0) for part in sizes) / mc_samples
