"""CellAssign of latome or scvi-tools as a worker, through the interface that both have: `cellassign.py latome|scvi`."""

import importlib
import logging
import sys
import time
import warnings

import anndata
from lines import serve

warnings.filterwarnings("ignore")
scvi = importlib.import_module(sys.argv[1])
external = importlib.import_module(sys.argv[1] + ".external")
for name in ("lightning.pytorch", "lightning.fabric"):
    logging.getLogger(name).setLevel(logging.ERROR)
scvi.settings.verbosity = logging.ERROR
held = {}


def open_files(train, markers, size, threads):
    """Read the cells, counts of marker genes alone, and set them up; their table of markers is in varm."""
    scvi.settings.num_threads = threads
    held["data"] = anndata.read_h5ad(train)
    held["markers"] = held["data"].varm[markers]
    external.CellAssign.setup_anndata(held["data"], size_factor_key=size)
    return {"versions": {"torch": sys.modules["torch"].__version__, sys.argv[1]: scvi.__version__}}


def train(seed, epochs, folder=None):
    """Seconds, and those of the processor, of one whole train() of a new model, validated each epoch as by default.

    Sets: the model in `folder`, if one is given.
    """
    scvi.settings.seed = seed
    model = external.CellAssign(held["data"], held["markers"])
    begin, worked = time.perf_counter(), time.process_time()
    model.train(max_epochs=epochs, early_stopping_patience=epochs, accelerator="cpu", enable_progress_bar=False)
    answer = {"seconds": time.perf_counter() - begin, "processor": time.process_time() - worked}
    if folder is not None:
        model.save(folder, overwrite=True)
    return answer


serve({"open": open_files, "train": train})
