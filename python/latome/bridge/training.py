"""Training, driven from R in slices of time."""

import numpy as np

from latome.analysis.latent import latent
from latome.backend import torch
from latome.bridge.answers import answers, as_list, given, is_ctrl_c, told, unpacked
from latome.data.registry import Columns, open_data
from latome.fit import check_seed, conclude, initialise
from latome.io import archive, checkpoint
from latome.modules import find
from latome.training.options import TrainingOptions
from latome.training.session import RandomStream, use_threads

__all__ = ["advance", "finish", "start"]


def roles(columns):
    """The `Columns` that R names."""
    named = given(columns)
    return Columns(batch=named.get("batch"), labels=named.get("labels"),
                   categorical=tuple(as_list(named.get("categorical"))),
                   continuous=tuple(as_list(named.get("continuous"))), size_factor=named.get("size_factor"))


@answers
def start(data, kind, settings, columns, genes, options, seed, allow_noninteger=False, document=None, weights=None):
    """A trainer, ready to be driven by `advance`; with a document and weights it continues that model."""
    options = TrainingOptions.make(**dict(options or {}))         # NULL is a choice: n_epochs_kl_warmup
    seed = check_seed(seed)
    allow = {"allow_noninteger": bool(allow_noninteger)}
    if document is None:
        settings = find(kind).Settings.make(**given(settings))
        dataset = open_data(data, roles(columns), genes=None if genes is None else as_list(genes), **allow)
        fit = initialise(settings, dataset, seed=seed)
    else:
        fit = unpacked(document, weights)
        dataset = open_data(data, registry=fit.registry, **allow)
    trainer = checkpoint.begin(fit, dataset, options)
    trainer.fit = fit
    return {"trainer": trainer, "title": find(fit.kind).title, "n_cells": dataset.n_cells, "n_genes": dataset.n_genes,
            "n_batch": fit.registry.n_batch, "n_epochs": trainer.n_epochs, "n_steps": trainer.n_steps,
            "device": str(trainer.device), "threads": options.threads or torch.get_num_threads(),
            "warnings": list(dataset.warnings)}


@answers
def advance(trainer, seconds):
    """Train for about `seconds`; a keyboard interrupt ends training with state "interrupted"."""
    try:
        now = trainer.advance(seconds)
    except RuntimeError as error:
        if is_ctrl_c(error):
            trainer.state = "interrupted"              # with the weights of the last whole epoch
        raise
    return {"state": now.state, "epoch": now.epoch, "n_epochs": now.n_epochs, "step": now.step, "n_steps": now.n_steps,
            "elbo": now.elbo, "elbo_validation": now.elbo_validation, "seconds": now.seconds}


@answers
def finish(trainer):
    """The trained model, its summary and history, and the latent of all cells of the data."""
    trainer.interrupt()                                # no effect once training has ended; else it was ended in R
    fit = conclude(trainer.fit, trainer)
    fit.module.eval().to("cpu")
    with RandomStream(fit.seed).active(), use_threads(trainer.options.threads):
        z = latent(fit.module, trainer.data)
    document, weights = archive.pack(fit)
    return {"document": document, "weights": bytearray(weights), "latent": np.asfortranarray(z, dtype=np.float64),
            **told(fit, z)}
