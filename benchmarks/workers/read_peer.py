"""scvi-tools as a worker that reads: minibatches of a file, from its loader of an AnnData backed by it."""

import itertools
import logging
import os
import time
import warnings
from importlib.metadata import version

import anndata
import scvi
from lines import serve
from scvi.dataloaders import AnnDataLoader

warnings.filterwarnings("ignore")
scvi.settings.verbosity = logging.ERROR
held = {}


def open_file(path):
    data = anndata.read_h5ad(path, backed="r")
    scvi.model.SCVI.setup_anndata(data, batch_key="batch")
    held["manager"] = scvi.model.SCVI(data).adata_manager
    return {"versions": {"scvi-tools": scvi.__version__, "anndata": version("anndata")}, "pid": os.getpid()}


def read(seed, size, most):
    """Seconds of reading the first `most` minibatches of an epoch, 0 for all, and the cells in them."""
    scvi.settings.seed = seed
    loader = AnnDataLoader(held["manager"], batch_size=size, shuffle=True)
    begin = time.perf_counter()
    cells = sum(len(part["X"]) for part in itertools.islice(loader, most or None))
    return {"seconds": time.perf_counter() - begin, "cells": cells}


serve({"open": open_file, "read": read})
