"""What R calls. Every answer is a plain dict; errors are values, nothing is printed, nothing raises.

A model crosses as two things: `document`, a JSON text, and `weights`, safetensors bytes.
"""

import functools
import sys
import traceback
import warnings
from importlib.metadata import version as package_version

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from latome import __version__
from latome.analysis.latent import latent as latent_of
from latome.analysis.likelihood import elbo as elbo_of
from latome.backend import borrowed_blas, torch
from latome.data.registry import Columns, open_data
from latome.data.selection import select_genes as select
from latome.describe import describe_fit
from latome.errors import LatomeError, QueryError
from latome.fit import check_seed, conclude, initialise
from latome.io import archive, checkpoint, readers
from latome.modules import find
from latome.training.options import TrainingOptions
from latome.training.session import RandomStream, use_threads

__all__ = ["advance", "anndata", "describe", "elbo", "finish", "latent", "read_model", "select_genes", "start",
           "status", "write_model"]

INTERRUPT = {"ok": False, "kind": "Interrupt", "field": None, "problem": "Interrupted.", "hint": ""}
#: reticulate before 1.41 handles SIGINT by an R function; one Ctrl-C in seven comes out of it as this RuntimeError
CTRL_C_SEEN_BY_RETICULATE = "(Unknown exception occurred)"


def answers(function):
    """Turn a function's dict, or its error, into an answer."""

    @functools.wraps(function)
    def answer(*args, **kwargs):
        try:
            return {"ok": True, "warnings": [], **function(*args, **kwargs)}
        except LatomeError as error:
            return {"ok": False, "kind": type(error).__name__, "field": error.field, "problem": error.problem,
                    "hint": error.hint}
        except KeyboardInterrupt:
            return dict(INTERRUPT)
        except MemoryError:
            return {"ok": False, "kind": "MemoryError", "field": None, "problem": "The machine is out of memory.",
                    "hint": "Use fewer genes or cells, or a smaller batch_size."}
        except Exception as error:  # noqa: BLE001 (the border: whatever it is must reach R as a value)
            if str(error) == CTRL_C_SEEN_BY_RETICULATE:
                return dict(INTERRUPT)
            return {"ok": False, "kind": type(error).__name__, "field": None,
                    "problem": f"The engine failed: {type(error).__name__}: {error}",
                    "hint": "This is a defect of latome; please report it.", "trace": traceback.format_exc()}

    return answer


def given(values):
    """The entries of a dict that were given: not None."""
    return {name: value for name, value in dict(values or {}).items() if value is not None}


def as_list(value):
    """A list of str from what R may send for a character vector."""
    if value is None:
        return []
    return [value] if isinstance(value, str) else [str(v) for v in value]


@answers
def status():
    """Versions, devices and threads of the engine."""
    devices = ["cpu"] + [f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("mps")
    return {"version": __version__, "python": sys.version.split()[0], "executable": sys.executable,
            "torch": str(torch.__version__), "numpy": np.__version__, "anndata": package_version("anndata"),
            "safetensors": package_version("safetensors"), "threads": torch.get_num_threads(), "devices": devices,
            "kernels": "torch operations", "borrowed_blas": borrowed_blas}


@answers
def anndata(x, i, p, shape, cells, genes, columns):
    """An AnnData over R's own memory: the arrays of a genes x cells dgCMatrix are those of a cells x genes CSR.

    Arguments
    ---------
    x, i, p : values (nnz,), genes (nnz,) and where each cell begins (n + 1,).
    shape : [n, g].
    cells, genes : names.
    columns : {name: {"codes": (n,) with -1 for missing, "levels": names} or {"values": (n,) numbers}}.
    """
    n, g = (int(size) for size in shape)
    matrix = sp.csr_matrix((x, i, p), shape=(n, g), copy=False)
    obs = pd.DataFrame(index=pd.Index(as_list(cells), dtype=object))
    for name, column in dict(columns).items():
        if "codes" in column:
            codes = np.asarray(column["codes"]).astype(np.int64)
            obs[name] = pd.Categorical.from_codes(codes, as_list(column["levels"]))
        else:
            obs[name] = np.asarray(column["values"], dtype=np.float64).ravel()
    var = pd.DataFrame(index=pd.Index(as_list(genes), dtype=object))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")                # of names that occur twice: open_data refuses them
        return {"data": ad.AnnData(X=matrix, obs=obs, var=var)}


@answers
def select_genes(data, n_top=4000, batch=None):
    """Names of the genes whose zeros a Poisson explains least, by batch."""
    return {"genes": select(data, n_top=int(n_top), batch=batch)}


@answers
def start(data, kind, settings, columns, genes, options, seed, allow_noninteger=False, document=None, weights=None):
    """A trainer, ready to be driven by `advance`; with a document and weights it continues that model."""
    roles = given(columns)
    columns = Columns(batch=roles.get("batch"), labels=roles.get("labels"),
                      categorical=tuple(as_list(roles.get("categorical"))),
                      continuous=tuple(as_list(roles.get("continuous"))))
    options = TrainingOptions.make(**dict(options or {}))         # NULL is a choice: n_epochs_kl_warmup
    seed = check_seed(seed)
    allow = {"allow_noninteger": bool(allow_noninteger)}
    if document is None:
        settings = find(kind).Settings.make(**given(settings))
        dataset = open_data(data, columns, genes=None if genes is None else as_list(genes), **allow)
        fit = initialise(settings, dataset, seed=seed)
    else:
        fit = archive.unpack(document, weights)
        dataset = open_data(data, registry=fit.registry, **allow)
    trainer = checkpoint.begin(fit, dataset, options)
    trainer.fit = fit
    return {"trainer": trainer, "title": find(fit.kind).title, "n_cells": dataset.n_cells, "n_genes": dataset.n_genes,
            "n_batch": fit.registry.n_batch, "n_epochs": trainer.n_epochs, "n_steps": trainer.n_steps,
            "device": str(trainer.device), "threads": options.threads or torch.get_num_threads(),
            "warnings": list(dataset.warnings)}


@answers
def advance(trainer, seconds):
    """Train for about `seconds`; a keyboard interrupt ends training with state "interrupted"."""
    now = trainer.advance(seconds)
    return {"state": now.state, "epoch": now.epoch, "n_epochs": now.n_epochs, "step": now.step, "n_steps": now.n_steps,
            "elbo": now.elbo, "elbo_validation": now.elbo_validation, "seconds": now.seconds}


@answers
def finish(trainer):
    """The trained model, its summary and history, and the latent of all cells of the data."""
    trainer.interrupt()                                # no effect once training has ended; else it was ended in R
    fit = conclude(trainer.fit, trainer)
    fit.module.eval().to("cpu")
    with use_threads(trainer.options.threads):
        z = latent_of(fit.module, trainer.data)
    document, weights = archive.pack(fit)
    return {"document": document, "weights": bytearray(weights), "latent": np.asfortranarray(z, dtype=np.float64),
            **_told(fit, z)}


@answers
def latent(document, weights, data, give_mean=True, seed=0):
    """The latent of an AnnData's cells under a model: (n, k)."""
    fit, dataset = _opened(document, weights, data)
    with RandomStream(check_seed(seed)).active(), use_threads():
        z = latent_of(fit.module, dataset, give_mean=bool(give_mean))
    return {"latent": np.asfortranarray(z, dtype=np.float64), "warnings": _doubts(fit)}


@answers
def elbo(document, weights, data, seed=0):
    """The evidence lower bound of an AnnData's cells, mean a cell, in nats: higher is better."""
    fit, dataset = _opened(document, weights, data)
    with RandomStream(check_seed(seed)).active(), use_threads():
        return {"elbo": elbo_of(fit.module, dataset), "warnings": _doubts(fit)}


@answers
def describe(document, weights):
    """Summary and history of a model."""
    return _told(archive.unpack(document, bytes(weights)))


@answers
def write_model(document, weights, folder, overwrite=False):
    """Save a model into a folder."""
    return {"folder": str(archive.save(archive.unpack(document, bytes(weights)), folder, bool(overwrite)))}


@answers
def read_model(folder):
    """Load a model from a folder of latome or of scvi-tools."""
    fit = readers.read_model(folder)
    document, weights = archive.pack(fit)
    return {"document": document, "weights": bytearray(weights), **_told(fit)}


def _opened(document, weights, data):
    fit = archive.unpack(document, bytes(weights))
    if data is None:
        raise QueryError("data", problem="There are no data to ask about.", hint="Give the object with its counts.")
    return fit, open_data(data, registry=fit.registry, allow_noninteger=True)


def _doubts(fit):
    return [] if fit.trained else ["The model has not been trained: its answers mean nothing yet."]


def _told(fit, z=None):
    return {"summary": describe_fit(fit, z), "history": fit.history.to_dict()}
