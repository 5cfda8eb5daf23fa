"""Densities in the latent space."""

import numpy as np
import pandas as pd

from latome.analysis.density import aggregated_posterior as mixture_of
from latome.analysis.density import differential_abundance as abundance_of
from latome.analysis.latent import latent_moments
from latome.backend import torch
from latome.bridge.answers import answers, as_list, doubts, opened

__all__ = ["aggregated_posterior", "differential_abundance"]

ENTRIES = 1 << 24                                      # of points x cells x latents at a time: 64 MB


@answers
def aggregated_posterior(document, weights, data, options=None, seed=0):
    """Log-density of points `at` (p, k), by default the cells' own posterior means, under the mixture: (p,)."""
    options = dict(options or {})
    at = options.pop("at", None)
    with opened(document, weights, data, seed) as (fit, dataset):
        mixture = mixture_of(fit.module, dataset, **options)
        points = latent_moments(fit.module, dataset)[0] if at is None else np.array(at, dtype=np.float32, ndmin=2)
        size = max(1, ENTRIES // (dataset.n_cells * points.shape[1]))
        parts = [mixture.log_prob(part) for part in torch.from_numpy(points).split(size)]
        return {"value": torch.cat(parts).double().numpy(), "warnings": doubts(fit)}


@answers
def differential_abundance(document, weights, data, options=None, seed=0):
    """Log-density of each cell in each sample: (n, samples). Samples come as `codes` (n,) and `levels`."""
    options = dict(options or {})
    samples = pd.Categorical.from_codes(np.asarray(options.pop("codes")).ravel().astype(np.int64),
                                        as_list(options.pop("levels")))
    with opened(document, weights, data, seed) as (fit, dataset):
        found = abundance_of(fit.module, dataset, samples, **options)
        return {"value": np.asfortranarray(found.to_numpy()), "warnings": doubts(fit)}
