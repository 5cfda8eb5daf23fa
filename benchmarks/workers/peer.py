"""scvi-tools as a worker: trains its SCVI as often as asked. Runs in the peer's own environment."""

import logging
import os
import time
import warnings

import anndata
import numpy as np
import scvi
import torch
from lines import serve

warnings.filterwarnings("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
scvi.settings.verbosity = logging.ERROR
held = {}


def open_data(train, heldout, batch, threads):
    """Read both files and set the number of threads."""
    torch.set_num_threads(threads)
    held["data"], held["heldout"], held["batch"] = anndata.read_h5ad(train), anndata.read_h5ad(heldout), batch
    scvi.model.SCVI.setup_anndata(held["data"], batch_key=batch)
    return {"versions": {"scvi-tools": scvi.__version__, "torch": torch.__version__}, "pid": os.getpid(),
            "threads": torch.get_num_threads()}


def train(seed, epochs, likelihood, batch_size):
    """Seconds of one whole train() of a new model."""
    scvi.settings.seed = seed
    model = scvi.model.SCVI(held["data"], gene_likelihood=likelihood)
    begin = time.perf_counter()
    model.train(max_epochs=epochs, batch_size=batch_size, accelerator="cpu", enable_progress_bar=False)
    seconds = time.perf_counter() - begin
    held["model"] = model
    return {"seconds": seconds, "cells": len(model.train_indices) * epochs}


def elbo():
    """Mean ELBO per cell of the last model on the held-out cells; higher is better."""
    value = float(held["model"].get_elbo(held["heldout"].copy()))
    return {"elbo": -abs(value)}                       # its sign has changed between versions


def embed(path, batch, seed, epochs, warmup, threads, to):
    """Train a new zinb model; its latent, the posterior means, as an array at `to`.

    The KL divergence counts fully after `warmup` epochs. Also the seconds of train(), the rows kept for validation
    and their ELBO.
    """
    torch.set_num_threads(threads)
    data = anndata.read_h5ad(path)
    scvi.settings.seed = seed
    scvi.model.SCVI.setup_anndata(data, batch_key=batch)
    model = scvi.model.SCVI(data)
    begin = time.perf_counter()
    model.train(max_epochs=epochs, accelerator="cpu", enable_progress_bar=False,
                plan_kwargs={"n_epochs_kl_warmup": warmup})
    seconds = time.perf_counter() - begin
    rows = np.sort(model.validation_indices)
    np.save(to, model.get_latent_representation())
    value = -abs(float(model.get_elbo(indices=rows)))
    return {"seconds": seconds, "validation": rows.tolist(), "elbo": value,
            "versions": {"scvi-tools": scvi.__version__, "torch": torch.__version__}}


serve({"open": open_data, "train": train, "elbo": elbo, "embed": embed})
