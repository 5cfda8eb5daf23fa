"""Questions about cells that are answered in one go: where they lie, and how well a model explains them."""

import numpy as np

from latome.analysis.latent import latent as latent_of
from latome.analysis.latent import latent_moments as moments_of
from latome.analysis.likelihood import elbo_terms
from latome.analysis.likelihood import marginal_likelihood as marginal_of
from latome.bridge.answers import answers, asked, doubts, opened, unpacked
from latome.bridge.blocks import Blocks
from latome.data.minibatches import minibatch_bounds
from latome.errors import QueryError

__all__ = ["batch_representation", "elbo", "latent", "latent_moments", "marginal_blocks", "reconstruction_error"]

BLOCK = 64                                             # cells whose marginal likelihood is estimated together


@answers
def latent(document, weights, data, options=None, seed=0):
    """The latent of an AnnData's cells under a model: (n, k)."""
    with opened(document, weights, data, seed) as (fit, dataset):
        z = latent_of(fit.module, dataset, **dict(options or {}))
        return {"latent": np.asfortranarray(z, dtype=np.float64), "warnings": doubts(fit)}


@answers
def latent_moments(document, weights, data, options=None, seed=0):
    """Mean and variance of q(z | x), before any transformation of z: (n, k) each; and the library sizes (n,)."""
    with opened(document, weights, data, seed) as (fit, dataset):
        mean, variance = moments_of(fit.module, dataset, **dict(options or {}))
        return {"mean": np.asfortranarray(mean), "variance": np.asfortranarray(variance),
                "totals": dataset.totals.astype(np.float64), "warnings": doubts(fit)}


@answers
def elbo(document, weights, data, options=None, seed=0):
    """The evidence lower bound, log p(x | z) - KL, in nats: higher is better."""
    return terms(document, weights, data, options, seed, {"reconstruction_loss": -1, "kl_local": -1})


@answers
def reconstruction_error(document, weights, data, options=None, seed=0):
    """Minus the log-likelihood, -log p(x | z), in nats: lower is better."""
    return terms(document, weights, data, options, seed, {"reconstruction_loss": 1})


def terms(document, weights, data, options, seed, signs):
    """The mean over cells of a sum of terms of the bound, each with its sign; or with return_mean = False (n,)."""
    with opened(document, weights, data, seed) as (fit, dataset):
        found = elbo_terms(fit.module, dataset)
        values = sum(sign * found[name].astype(np.float64) for name, sign in signs.items())
        mean = dict(options or {}).get("return_mean", True)
        return {"value": float(values.mean()) if mean else values, "warnings": doubts(fit)}


@answers
def marginal_blocks(document, weights, data, options=None, seed=0):
    """log p(x) of each cell by importance sampling, in nats, ready to be asked for by `next_block`: (m,)."""
    fit, dataset = asked(document, weights, data)
    options = dict(options or {})

    def blocks():
        for start, stop in minibatch_bounds(dataset.n_cells, BLOCK):
            rows = np.arange(start, stop)
            yield start, stop, marginal_of(fit.module, dataset, indices=rows, return_mean=False, **options)

    return {"work": Blocks(blocks(), lambda start, values: {"values": values}, seed), "warnings": doubts(fit)}


@answers
def batch_representation(document, weights):
    """The learnt vectors of the batches: (b, d)."""
    fit = unpacked(document, weights)
    embedding = getattr(fit.module, "embedding", None)
    if embedding is None:
        raise QueryError("batch_representation", problem="The model has no learnt vectors of the batches.",
                         hint="Train one with batch_representation = \"embedding\".")
    return {"value": np.asfortranarray(embedding.weight.detach().numpy()), "warnings": doubts(fit)}
