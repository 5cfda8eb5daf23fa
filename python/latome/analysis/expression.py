"""Normalised expression: what a model thinks a cell expresses, noise and batch taken away."""

import numpy as np

from latome.analysis.sweep import sweep
from latome.backend import torch
from latome.errors import QueryError

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
    names = [transform_batch] if transform_batch is None or isinstance(transform_batch, str) else list(transform_batch)
    codes = [None if name is None else _code(data.registry, name) for name in names]

    def query(cells):
        latents = module.draw(module.inference(cells), draw)
        values = [_decode(module, latents, _moved(cells, code), library_size) for code in codes]
        return {"expression": torch.stack(values).mean(0) if len(values) > 1 else values[0]}

    found = sweep(module, data, query, indices=indices, batch_size=batch_size)
    return found["expression"].astype(np.float32, copy=False)


def _code(registry, name):
    names = registry.batch_categories
    if name not in names:
        raise QueryError("transform_batch", problem=f"There is no batch '{name}'.",
                         hint="Batches: " + ", ".join(f"'{n}'" for n in names[:12]) + ".")
    return names.index(name)


def _moved(cells, code):
    """The same cells as if they came from batch `code`."""
    if code is None:
        return cells
    categories = cells["categories"].clone()
    categories[:, 0] = code
    return cells | {"batch": torch.full_like(cells["batch"], code), "categories": categories}


def _decode(module, latents, cells, library_size):
    counts = module.generative(latents, cells).likelihood["x"]
    return counts.rate if library_size == "latent" else counts.rho * library_size
