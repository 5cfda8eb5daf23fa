"""How well a model explains cells: its bound on their log-probability, the parts of that, and the thing itself."""

import math

from latome.analysis.sweep import ELEMENTS, sweep
from latome.backend import torch
from latome.errors import QueryError
from latome.protocol.settings import check_setting

__all__ = ["elbo", "elbo_terms", "marginal_likelihood", "reconstruction_error"]


def elbo_terms(module, data, *, indices=None, batch_size=None, draw="sample"):
    """{"reconstruction_loss", "kl_local"}: (n,) each, in nats.

    `draw` is "sample" (one draw from each posterior) or "mean" (the posterior mean: deterministic).
    """
    data.require_counts("The likelihood of the counts")

    def query(cells):
        terms = module.terms(cells, draw)
        return {"reconstruction_loss": terms.reconstruction(), "kl_local": terms.divergences()}

    return sweep(module, data, query, indices=indices, batch_size=batch_size)


def elbo(module, data, *, indices=None, batch_size=None, draw="sample"):
    """The evidence lower bound, log p(x | z) - KL, mean over cells in nats: higher is better."""
    found = elbo_terms(module, data, indices=indices, batch_size=batch_size, draw=draw)
    return -float((found["reconstruction_loss"].astype("f8") + found["kl_local"]).mean())


def reconstruction_error(module, data, *, indices=None, batch_size=None, draw="sample"):
    """{"reconstruction_loss"}: minus the log-likelihood, -log p(x | z), mean over cells in nats: lower is better."""
    found = elbo_terms(module, data, indices=indices, batch_size=batch_size, draw=draw)
    return {"reconstruction_loss": float(found["reconstruction_loss"].mean(dtype="f8"))}


def marginal_likelihood(module, data, *, n_mc_samples=1000, n_mc_samples_per_pass=None, return_mean=True, indices=None,
                        batch_size=None):
    """log p(x) by importance sampling from the posterior, over all latents: higher is better.

        log p(x) ~ log 1/S sum_s p(x | z_s) p(z_s) / q(z_s | x),   z_s ~ q(z | x)

    Its exponential is unbiased; the logarithm lies below log p(x) on average, the less the more samples.

    Arguments
    ---------
    n_mc_samples : draws of the latents of each cell, S.
    n_mc_samples_per_pass : of these, how many are decoded together; None for as many as keep the decoded
        minibatch within some megabytes. It changes nothing but memory and time.
    return_mean : the mean over cells, or one number a cell.

    Returns
    -------
    A float in nats, or (n,) float64 in the order of `indices`.

    Example
    -------
    >>> marginal_likelihood(fit.module, data, n_mc_samples=100)
    """
    n_samples = check_setting("n_mc_samples", n_mc_samples, int, {"ge": 1})
    per_pass = check_setting("n_mc_samples_per_pass", n_mc_samples_per_pass, int | None, {"ge": 1})
    return_mean = check_setting("return_mean", return_mean, bool, {})
    data.require_counts("The marginal likelihood")

    def query(cells):
        posterior = module.posterior(cells)
        size = per_pass or max(1, ELEMENTS // (len(cells["index"]) * data.n_genes))
        total = None                                                    # (m,) log of the sum of the weights so far
        for start in range(0, n_samples, size):
            weights = _log_weights(module, posterior, cells, min(size, n_samples - start)).logsumexp(0)
            total = weights if total is None else torch.logaddexp(total, weights)
        return {"log_p": total - math.log(n_samples)}

    found = sweep(module, data, query, indices=indices, batch_size=batch_size)["log_p"]
    return float(found.mean()) if return_mean else found


def _log_weights(module, posterior, cells, n_samples):
    """(s, m) float64: log p(x | z) p(z) / q(z | x) of draws from q, the densities those of the normal variables."""
    normal = {name: q.rsample_normal((n_samples,)) for name, q in posterior.items()}        # (s, m, k)
    generated = module.generative({name: q.transform(normal[name]) for name, q in posterior.items()}, cells)
    if generated.posterior:
        raise QueryError("n_mc_samples", problem=f"{module.title or type(module).__name__} draws latents while it "
                         f"decodes ({', '.join(generated.posterior)}), whose weights are not known.",
                         hint="Ask for the ELBO, a bound on the marginal likelihood.")
    weights = sum(p.log_prob(cells[name]).double() for name, p in generated.likelihood.items())
    for name, q in posterior.items():
        weights = weights + generated.prior[name].log_prob(normal[name]).double() - q.log_prob(normal[name]).double()
    return weights.expand(n_samples, -1)               # likelihoods that no latent enters have no samples of their own
