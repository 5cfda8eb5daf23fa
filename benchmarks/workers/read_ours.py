"""latome as a worker that reads: minibatches of a file, as an epoch of training takes them."""

import os
import time
from importlib.metadata import version

import anndata
import numpy as np
from lines import serve

import latome
from latome.data.fields import Columns
from latome.data.minibatches import Minibatches
from latome.data.registry import open_data

held = {}


def open_file(path):
    held["data"] = open_data(anndata.read_h5ad(path, backed="r"), Columns(batch="batch"))
    return {"versions": {"latome": latome.__version__, "anndata": version("anndata")}, "pid": os.getpid()}


def read(seed, size, most):
    """Seconds of reading the first `most` minibatches of an epoch, 0 for all, and the cells in them."""
    data, begin = held["data"], time.perf_counter()
    rows = data.source.shuffled(np.arange(data.n_cells), np.random.default_rng(seed))
    rows = rows[:most * size] if most else rows
    cells = sum(len(part["index"]) for part in Minibatches(data, rows, size))
    return {"seconds": time.perf_counter() - begin, "cells": cells}


serve({"open": open_file, "read": read})
