"""scvi-tools as a worker: trains its SCVI as often as asked. Runs in the peer's own environment."""

import logging
import os
import time
import warnings

import anndata
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


serve({"open": open_data, "train": train, "elbo": elbo})
