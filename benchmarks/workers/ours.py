"""latome as a worker: trains its scVI as often as asked."""

import os
import time

import anndata
import numpy as np
from lines import serve

import latome
from latome.analysis.latent import latent
from latome.analysis.likelihood import elbo as mean_elbo
from latome.analysis.likelihood import elbo_terms
from latome.backend import torch
from latome.data.registry import Columns, open_data
from latome.fit import initialise
from latome.fit import train as train_fit
from latome.io.archive import pack
from latome.modules.scvi import ScviSettings
from latome.training.options import TrainingOptions
from latome.training.session import RandomStream
from latome.training.split import recovered_split

held = {}
VERSIONS = {"latome": latome.__version__, "torch": torch.__version__}
DRAWS = 5                                              # of each posterior, for the bound and its parts


def open_file(path, batch, threads):
    """Read a file."""
    held["counts"], held["batch"], held["threads"] = anndata.read_h5ad(path), batch, threads
    return {"versions": VERSIONS, "pid": os.getpid()}


def whole(seed, epochs, likelihood, batch_size):
    """Seconds from an AnnData to its latent and the packed model, and of the training within."""
    begin = time.perf_counter()
    data = open_data(held["counts"], Columns(batch=held["batch"]))
    fit = initialise(ScviSettings(gene_likelihood=likelihood), data, seed=seed)
    options = TrainingOptions(max_epochs=epochs, batch_size=batch_size, device="cpu", threads=held["threads"])
    train_fit(fit, data, options)
    latent(fit.module, data)
    pack(fit)
    return {"seconds": time.perf_counter() - begin, "training": fit.training["seconds"],
            "cells": fit.training["n_train"] * epochs}


def embed(path, batch, seed, epochs, warmup, threads, to):
    """Train a new zinb model; its latent, the posterior means, as an array at `to`.

    The KL divergence counts fully after `warmup` epochs. Also the seconds of train(), the rows kept for validation
    and their ELBO.
    """
    data = open_data(anndata.read_h5ad(path), Columns(batch=batch))
    fit = initialise(ScviSettings(), data, seed=seed)
    options = TrainingOptions(max_epochs=epochs, n_epochs_kl_warmup=warmup, device="cpu", threads=threads)
    begin = time.perf_counter()
    train_fit(fit, data, options)
    seconds = time.perf_counter() - begin
    rows = np.sort(recovered_split(fit.training, fit.seed).validation)
    np.save(to, latent(fit.module, data))
    with RandomStream(seed).active():                                  # of the draws in the ELBO
        value = mean_elbo(fit.module, data, indices=rows)
    return {"seconds": seconds, "validation": rows.tolist(), "elbo": value,
            "versions": VERSIONS}


def curve(path, batch, seed, options, threads, every, to):
    """Train a new zinb model with these options; its latent as an array at `to`, and how it came there.

    The curve has a point every so many epochs: the seconds of training, and ELBO and reconstruction error, one draw a
    cell, of the cells kept for validation. At the end both are means of several draws.
    """
    data = open_data(anndata.read_h5ad(path), Columns(batch=batch))
    fit, seconds = initialise(ScviSettings(), data, seed=seed), []
    asked = TrainingOptions.make(**{"device": "cpu", "threads": threads, "check_val_every_n_epoch": every} | options)
    begin = time.perf_counter()
    train_fit(fit, data, asked, callbacks=[lambda trainer: seconds.append(time.perf_counter() - begin)])
    history = fit.history.to_dict()
    points = [{"epoch": i + 1, "seconds": seconds[i], "elbo": -history["elbo_validation"][i],
               "reconstruction": history["reconstruction_loss_validation"][i]}
              for i in range(len(seconds)) if np.isfinite(history["elbo_validation"][i])]
    rows = np.sort(recovered_split(fit.training, fit.seed).validation)
    np.save(to, latent(fit.module, data))
    with RandomStream(seed).active():
        found = [elbo_terms(fit.module, data, indices=rows) for _ in range(DRAWS)]
    mean = {name: float(np.mean([terms[name].mean(dtype="f8") for terms in found])) for name in found[0]}
    return {"curve": points, "seconds": seconds[-1], "elbo": -sum(mean.values()),
            "reconstruction": mean["reconstruction_loss"], "versions": VERSIONS}


serve({"open": open_file, "whole": whole, "embed": embed, "curve": curve})
