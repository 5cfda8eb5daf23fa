"""What a model predicts: counts, the parameters of their distribution, library sizes, correlations of genes."""

import numpy as np

from latome.analysis import predictive
from latome.bridge.answers import answers, doubts, for_r, opened, triplet

__all__ = ["feature_correlation", "latent_library_size", "likelihood_parameters", "posterior_samples"]


@answers
def posterior_samples(document, weights, data, options=None, seed=0):
    """Counts drawn from the posterior predictive distribution: [{"x", "i", "p"}], one for each of `n_samples`."""
    options = dict(options or {})
    n_samples = int(options.pop("n_samples", 1))
    with opened(document, weights, data, seed) as (fit, dataset):
        drawn = (predictive.posterior_predictive(fit.module, dataset, **options) for _ in range(n_samples))
        return {"samples": [triplet(one) for one in drawn], "warnings": doubts(fit)}


@answers
def likelihood_parameters(document, weights, data, options=None, seed=0):
    """{name: (g', n), or (g', n, s)} of the parameters that the likelihood has."""
    with opened(document, weights, data, seed) as (fit, dataset):
        found = predictive.likelihood_parameters(fit.module, dataset, **dict(options or {}))
        return {"parameters": {name: for_r(values) for name, values in found.items()}, "warnings": doubts(fit)}


@answers
def latent_library_size(document, weights, data, options=None, seed=0):
    """The library size of each cell, in counts: (n,)."""
    with opened(document, weights, data, seed) as (fit, dataset):
        found = predictive.latent_library_size(fit.module, dataset, **dict(options or {}))
        return {"value": found.ravel().astype(np.float64), "warnings": doubts(fit)}


@answers
def feature_correlation(document, weights, data, options=None, seed=0):
    """Correlations of genes: (g', g')."""
    with opened(document, weights, data, seed) as (fit, dataset):
        found = predictive.feature_correlation(fit.module, dataset, **dict(options or {}))
        return {"value": np.asfortranarray(found), "warnings": doubts(fit)}
