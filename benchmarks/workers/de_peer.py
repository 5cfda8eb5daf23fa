"""scvi-tools as a worker: differential expression and draws of normalised expression of one SCVI."""

import logging
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


def train(path, batch, seed, threads, epochs, warmup, likelihood, n_hidden):
    """Train a new model on the cells of a file; the KL divergence counts fully after `warmup` epochs."""
    torch.set_num_threads(threads)
    scvi.settings.seed = seed
    data = anndata.read_h5ad(path)
    scvi.model.SCVI.setup_anndata(data, batch_key=batch)
    model = scvi.model.SCVI(data, gene_likelihood=likelihood, n_hidden=n_hidden)
    model.train(max_epochs=epochs, accelerator="cpu", enable_progress_bar=False,
                plan_kwargs={"n_epochs_kl_warmup": warmup})
    held["data"], held["model"] = data, model
    return {"versions": {"scvi-tools": scvi.__version__, "torch": torch.__version__}}


def compare(column, pairs, fdr):
    """[{prob, lfc, low, high, called}] of pairs of groups, by gene in the order of the data."""
    found = []
    for one, other in pairs:
        table = held["model"].differential_expression(
            groupby=column, group1=one, group2=other, mode="change", delta=0.25, batch_correction=True, fdr_target=fdr,
            cred_interval_lvls=[0.9], all_stats=False, silent=True).loc[held["data"].var_names]
        columns = {"prob": "proba_de", "lfc": "lfc_mean", "low": "lfc_confidence_interval_0.9_min",
                   "high": "lfc_confidence_interval_0.9_max", "called": f"is_de_fdr_{fdr}"}
        found.append({name: table[column_].tolist() for name, column_ in columns.items()})
    return {"tables": found}


def draws(rows, n_samples, to):
    """Draws of expression fractions of some cells, an array (n_samples, cells, genes) at `to`."""
    values = held["model"].get_normalized_expression(
        indices=np.array(rows), n_samples=n_samples, return_mean=False, return_numpy=True, silent=True)
    np.save(to, np.asarray(values, dtype=np.float32))
    return {}


serve({"train": train, "compare": compare, "draws": draws})
