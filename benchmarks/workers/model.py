"""latome or scvi-tools as a worker, through the interface that both have: `model.py latome`, `model.py scvi`.

Whatever is timed is the same call on both sides; only the package differs.
"""

import importlib
import logging
import os
import sys
import time
import warnings

import anndata
from lines import serve

warnings.filterwarnings("ignore")
scvi = importlib.import_module(sys.argv[1])
SCVI = scvi.model.SCVI
for name in ("lightning.pytorch", "lightning.fabric"):
    logging.getLogger(name).setLevel(logging.ERROR)
scvi.settings.verbosity = logging.ERROR
held = {}


def open_files(train, heldout, threads, batch="batch", categorical=(), continuous=()):
    """Read the cells to train on and those kept back, and set up the first."""
    scvi.settings.num_threads = threads
    held["data"] = anndata.read_h5ad(train)
    held["heldout"] = anndata.read_h5ad(heldout) if heldout else None
    SCVI.setup_anndata(held["data"], batch_key=batch, categorical_covariate_keys=list(categorical) or None,
                       continuous_covariate_keys=list(continuous) or None)
    versions = {"torch": sys.modules["torch"].__version__}
    if sys.argv[1] == "scvi":
        return {"versions": versions | {"scvi-tools": scvi.__version__}, "pid": os.getpid()}
    kernels = importlib.import_module("latome.kernels.native").status()["instructions"]
    return {"versions": versions | {"latome": scvi.__version__}, "pid": os.getpid(), "kernels": kernels or "none"}


def train(seed, epochs, likelihood="zinb", **keywords):
    """Seconds of one whole train() of a new model, and the cells it went through; `keywords` are those of train()."""
    scvi.settings.seed = seed
    model = SCVI(held["data"], gene_likelihood=likelihood)
    begin = time.perf_counter()
    model.train(max_epochs=epochs, accelerator="cpu", enable_progress_bar=False, **keywords)
    seconds = time.perf_counter() - begin
    held["model"] = model
    return {"seconds": seconds, "cells": len(model.train_indices) * (epochs or 1)}


def elbo():
    """Mean ELBO a cell of the last model on the cells kept back; higher is better."""
    return {"elbo": -abs(float(held["model"].get_elbo(held["heldout"].copy())))}    # versions differ in its sign


def ask(method, arguments):
    """Seconds of one call of the last model."""
    begin = time.perf_counter()
    getattr(held["model"], method)(**arguments)
    return {"seconds": time.perf_counter() - begin}


serve({"open": open_files, "train": train, "elbo": elbo, "ask": ask})
