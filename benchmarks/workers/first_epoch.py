"""A fresh process that trains for the first time, ours or theirs: what it costs until the end.

    python first_epoch.py latome|scvi PATH THREADS EPOCHS [warm] [backed]

warm: train on a few of the cells first, so that what is loaded once does not count. backed: the counts stay in the
file. A PATH that is a folder is a store of latome's. Prints {"training": seconds of train(), "cells": seen by it,
"resident", "peak": bytes of the process at its end and at most, "over": bytes at most, over what it held once the data
were read}.
"""

import gc
import importlib
import json
import logging
import sys
import time
import warnings
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import scipy.sparse as sp

FEW = 300                                              # cells of a warm-up
STATUS = Path("/proc/self/status")


def memory(field):
    """Bytes of VmRSS, VmHWM; NaN where the system does not tell."""
    lines = STATUS.read_text().splitlines() if STATUS.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ":")), float("nan"))


def forget_peak():
    if STATUS.exists():
        Path("/proc/self/clear_refs").write_text("5")


def opened(scvi, path, backed):
    """The data, in memory or where they are."""
    if Path(path).is_dir():
        return scvi.data.open_store(path)
    return anndata.read_h5ad(path, backed="r" if backed else None)


def warm_up():
    """A few cells of nothing in particular."""
    counts = np.random.default_rng(0).poisson(1.0, (FEW, FEW)).astype(np.float32)
    return anndata.AnnData(sp.csr_matrix(counts), obs=pd.DataFrame({"batch": ["a", "b"] * (FEW // 2)},
                                                                  index=[f"cell_{i}" for i in range(FEW)]))


def train(scvi, data, epochs):
    """(seconds of train(), cells seen by it) of a new model."""
    scvi.model.SCVI.setup_anndata(data, batch_key="batch")
    model = scvi.model.SCVI(data)
    begin = time.perf_counter()
    model.train(max_epochs=epochs, accelerator="cpu", enable_progress_bar=False)
    return time.perf_counter() - begin, len(model.train_indices) * epochs


def main():
    package, path, threads, epochs, *flags = sys.argv[1:]
    warnings.filterwarnings("ignore")
    scvi = importlib.import_module(package)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    scvi.settings.verbosity = logging.ERROR
    scvi.settings.num_threads = int(threads)
    if "warm" in flags:
        train(scvi, warm_up(), 1)
        gc.collect()
    data = opened(scvi, path, "backed" in flags)
    before, peak = memory("VmRSS"), memory("VmHWM")
    forget_peak()
    seconds, cells = train(scvi, data, int(epochs))
    over = memory("VmHWM")
    print(json.dumps({"training": seconds, "cells": cells, "resident": memory("VmRSS"), "peak": max(peak, over),
                      "over": over - before}))


main()
