"""The latent representation of cells."""

from latome.analysis.sweep import sweep

__all__ = ["latent", "latent_moments"]


def latent_moments(module, data, *, indices=None, batch_size=None, name="z"):
    """(mean, variance) of q(z | x): (n, k) float32 each."""

    def query(cells):
        q = module.inference(cells)[name]
        return {"mean": q.mean, "variance": q.variance.expand_as(q.mean)}

    found = sweep(module, data, query, indices=indices, batch_size=batch_size)
    return found["mean"], found["variance"]


def latent(module, data, *, indices=None, batch_size=None, give_mean=True):
    """(n, k) float32: the posterior mean of each cell's z, or one draw from its posterior."""

    def query(cells):
        q = module.inference(cells)["z"]
        return {"z": q.mean if give_mean else q.rsample()}

    return sweep(module, data, query, indices=indices, batch_size=batch_size)["z"]
