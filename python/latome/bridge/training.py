"""Training, driven from R in slices of time."""

import numpy as np

from latome.analysis.latent import latent
from latome.backend import torch
from latome.bridge.answers import answers, as_list, given, is_ctrl_c, told, unpacked
from latome.compose.scanvi import from_scvi, open_labelled
from latome.data.registry import Columns, open_data
from latome.fit import check_seed, conclude, initialise
from latome.io import archive, checkpoint
from latome.modules import find
from latome.training.options import TrainingOptions
from latome.training.session import RandomStream, use_threads

__all__ = ["advance", "begun", "ended", "finish", "packed", "roles", "start"]


def roles(columns):
    """The `Columns` that R names."""
    named = given(columns)
    return Columns(batch=named.get("batch"), labels=named.get("labels"),
                   categorical=tuple(as_list(named.get("categorical"))),
                   continuous=tuple(as_list(named.get("continuous"))), size_factor=named.get("size_factor"),
                   unlabeled=named.get("unlabeled"))


@answers
def start(data, kind, settings, columns, genes, options, seed, allow_noninteger=False, document=None, weights=None,
          parent=None):
    """A trainer, ready to be driven by `advance`; with a document and weights it continues that model.

    `parent` is {"document", "weights"} of a model to start from; `settings` are then those that differ from its own.
    """
    options = TrainingOptions.make(**dict(options or {}))         # NULL is a choice: n_epochs_kl_warmup
    seed, named = check_seed(seed), roles(columns)
    allow = {"allow_noninteger": bool(allow_noninteger)}
    if parent is not None:
        known = unpacked(parent["document"], parent["weights"])
        dataset = open_labelled(known, data, named.labels, named.unlabeled, **allow)
        fit = from_scvi(known, dataset, settings=dict(settings or {}), seed=seed)
    elif document is None:
        settings = find(kind).Settings.make(**dict(settings or {}))        # NULL is a choice: alpha_prior
        dataset = open_data(data, named, genes=None if genes is None else as_list(genes), **allow)
        fit = initialise(settings, dataset, seed=seed)
    else:
        fit = unpacked(document, weights)
        dataset = open_data(data, registry=fit.registry, **allow)
    return begun(fit, dataset, options)


def begun(fit, dataset, options):
    """The answer to a request that starts training: the trainer, and what it trains."""
    trainer = checkpoint.begin(fit, dataset, options)
    trainer.fit = fit
    loss = "elbo" if fit.module.encoders else "loss"
    return {"trainer": trainer, "title": find(fit.kind).title, "loss": loss, "n_cells": dataset.n_cells,
            "n_genes": dataset.n_genes, "n_batch": fit.registry.n_batch, "n_epochs": trainer.n_epochs,
            "n_steps": trainer.n_steps, "device": str(trainer.device),
            "threads": options.threads or torch.get_num_threads(), "warnings": list(dataset.warnings)}


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
            "elbo": now.elbo, "elbo_validation": now.elbo_validation, "seconds": now.seconds,
            "accuracy": trainer.history.last("accuracy_validation")}


@answers
def finish(trainer):
    """The trained model, its summary and history, and the latent of all cells of the data, if it has one."""
    fit, z = ended(trainer), None
    if fit.module.encoders:
        with RandomStream(fit.seed).active(), use_threads(trainer.options.threads):
            z = latent(fit.module, trainer.data)
    found = None if z is None else np.asfortranarray(z, dtype=np.float64)
    return packed(fit, z) | {"latent": found}


def ended(trainer):
    """The fit of a trainer, as its training ended."""
    trainer.interrupt()                                # no effect once training has ended; else it was ended in R
    fit = conclude(trainer.fit, trainer)
    fit.module.eval().to("cpu")
    return fit


def packed(fit, z=None):
    """A fit as R keeps it."""
    document, weights = archive.pack(fit)
    return {"document": document, "weights": bytearray(weights), **told(fit, z)}
