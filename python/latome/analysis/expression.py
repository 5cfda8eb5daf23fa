"""Normalised expression: what a model thinks a cell expresses, noise and batch taken away."""

import numpy as np

from latome.analysis.decoding import batch_codes, decode, moved
from latome.analysis.sweep import sweep
from latome.backend import torch

__all__ = ["normalized_expression"]


def normalized_expression(module, data, *, transform_batch=None, library_size=1.0, draw="sample", indices=None,
                          batch_size=None):
    """(n, g) float32: expression fractions rho times the library size, mean over the batches asked for.

    Arguments
    ---------
    transform_batch : name of a batch, or several, to decode every cell under; None for its own.
    library_size : counts a cell; "latent" for the expected counts of the cell itself.
    draw : "sample" decodes a draw of z, "mean" its posterior mean.
    """
    codes = batch_codes(data.registry, transform_batch)

    def query(cells):
        latents = module.draw(module.posterior(cells), draw)
        counts = [decode(module, latents, moved(cells, code)) for code in codes]
        values = [c.rate if library_size == "latent" else c.rho * library_size for c in counts]
        return {"expression": torch.stack(values).mean(0) if len(values) > 1 else values[0]}

    found = sweep(module, data, query, indices=indices, batch_size=batch_size)
    return found["expression"].astype(np.float32, copy=False)
