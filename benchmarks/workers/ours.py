"""latome as a worker: trains its scVI as often as asked."""

import os
import time

import anndata
import numpy as np
from lines import serve

import latome
from latome.analysis.latent import latent
from latome.analysis.likelihood import elbo as mean_elbo
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


def open_files(train, heldout, batch, threads):
    """Read both files and register the first."""
    held["counts"], held["batch"] = anndata.read_h5ad(train), batch
    held["data"] = open_data(held["counts"], Columns(batch=batch))
    held["heldout"] = open_data(anndata.read_h5ad(heldout), registry=held["data"].registry)
    held["threads"] = threads
    return {"versions": {"latome": latome.__version__, "torch": torch.__version__}, "pid": os.getpid(),
            "threads": threads}


def train(seed, epochs, likelihood, batch_size):
    """Seconds of one whole train() of a new model."""
    fit = initialise(ScviSettings(gene_likelihood=likelihood), held["data"], seed=seed)
    options = TrainingOptions(max_epochs=epochs, batch_size=batch_size, device="cpu", threads=held["threads"])
    begin = time.perf_counter()
    held["fit"] = train_fit(fit, held["data"], options)
    seconds = time.perf_counter() - begin
    return {"seconds": seconds, "cells": held["fit"].training["n_train"] * epochs}


def elbo():
    """Mean ELBO per cell of the last model on the held-out cells; higher is better."""
    return {"elbo": mean_elbo(held["fit"].module, held["heldout"])}


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
            "versions": {"latome": latome.__version__, "torch": torch.__version__}}


serve({"open": open_files, "train": train, "elbo": elbo, "whole": whole, "embed": embed})
