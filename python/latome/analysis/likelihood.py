"""How well a model explains cells."""

from latome.analysis.sweep import sweep

__all__ = ["elbo", "elbo_terms"]


def elbo_terms(module, data, *, indices=None, batch_size=None, draw="sample"):
    """{"reconstruction_loss", "kl_local"}: (n,) each, in nats.

    `draw` is "sample" (one draw from each posterior) or "mean" (the posterior mean: deterministic).
    """

    def query(cells):
        terms = module.terms(cells, draw)
        return {"reconstruction_loss": terms.reconstruction(), "kl_local": terms.divergences()}

    return sweep(module, data, query, indices=indices, batch_size=batch_size)


def elbo(module, data, *, indices=None, batch_size=None, draw="sample"):
    """The evidence lower bound, log p(x | z) - KL, mean over cells in nats: higher is better."""
    found = elbo_terms(module, data, indices=indices, batch_size=batch_size, draw=draw)
    return -float((found["reconstruction_loss"].astype("f8") + found["kl_local"]).mean())
