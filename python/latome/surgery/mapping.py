"""A fit for new cells, from the fit of a reference."""

import dataclasses
from fnmatch import fnmatchcase

import numpy as np

from latome.data.registry import open_data
from latome.fit import Fit, check_seed
from latome.surgery.genes import align_genes, check_overlap
from latome.surgery.growth import grow
from latome.surgery.roles import extend_registry
from latome.training.held import Held

__all__ = ["grows", "learns", "map_query"]


def map_query(fit, adata, columns=None, *, min_overlap=0.5, free=(), settings=None, seed=None,
              allow_noninteger=False):
    """A fit for new cells, and these, opened for it: `train` then learns the new rows alone.

    Where `learns` says no, training could not move the latent of the new cells, and the fit is ready as it is.
    Mapping further cells onto the result works alike; the rows of the first query are then held as well.

    Arguments
    ---------
    fit : of the reference; it is left as it is.
    adata : AnnData of the new cells.
    columns : their `Columns`, default those of the reference; see `extend_registry`.
    min_overlap : smallest share of the reference's genes that the data must have; the others are zero.
    free : patterns (*) of names of tensors that are trained as well. The reference's answers then change.
    settings : {name: value} to change, such as dropout_rate.
    seed : of training; default that of the reference.
    allow_noninteger : accept counts that are not whole numbers.

    Returns (`Fit`, `Dataset`).
    Raises QueryError where genes are missing, FieldError where a column is, or a label that is not known.

    Example
    -------
    >>> mapped, data = map_query(fit, query)
    >>> train(mapped, data, TrainingOptions(max_epochs=200))
    >>> z = latent(mapped.module, data)
    """
    registry = extend_registry(fit.registry, adata, columns)
    if check_overlap(adata, registry.genes, min_overlap) < 1:
        adata, _ = align_genes(adata, registry.genes, min_overlap=min_overlap)
    data = open_data(adata, registry=registry, allow_noninteger=allow_noninteger)
    settings = dataclasses.replace(fit.settings, **(settings or {}))
    module, held = grow(fit.module, settings, registry)
    if any(held[name] is not None for name, _ in module.named_buffers()):
        held_now = Held(module, held)                   # the prior of the library: known batches keep theirs
        module.prepare(data, np.arange(data.n_cells))
        held_now.put_back()
    held = {name: n for name, n in held.items() if not any(fnmatchcase(name, pattern) for pattern in free)}
    seed = fit.seed if seed is None else check_seed(seed)
    mapped = Fit(fit.kind, settings, registry, module, seed=seed, held=held)
    if fit.trained and not learns(mapped):
        mapped.training = {"stopped": "finished", "epochs": 0}
    return mapped, data


def learns(fit):
    """Whether training can move the latent of the new cells: whether an encoder has rows for their categories.

    A model whose encoder takes no covariates (encode_covariates = False), or cells without a new category, are
    projected onto the reference as they are.
    """
    encoders = tuple(f"{name}." for name in fit.module.encoders)
    return any(name.startswith(encoders) for name in trained_parameters(fit))


def grows(fit):
    """Whether training would change anything in a fit: whether not all of it is held."""
    return bool(trained_parameters(fit))


def trained_parameters(fit):
    """Names of the parameters that are not held whole."""
    return [name for name, _ in fit.module.named_parameters() if fit.held.get(name, 0) is not None]
