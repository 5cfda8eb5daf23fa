"""Writes a model in the layout of scvi-tools, so that its SCVI loads it and gives the same numbers.

The file holds plain containers, arrays, tensors and tables; the one function that a model may need, softplus, is
there by its name. Heads and encoders that scvi-tools insists on, and this model does not use, are filled in.
"""

import io
import os
import uuid

import numpy as np
import pandas

from latome.backend import torch
from latome.errors import ArchiveError
from latome.io import names
from latome.io.archive import check_target, write_atomically
from latome.io.scvi_options import WRITTEN, init_params_of
from latome.io.scvi_registry import names_array, their_registry
from latome.io.scvi_tools import DATA, KINDS, MODEL
from latome.training.split import PARTS, recovered_split

__all__ = ["write_scvi_tools"]


def write_scvi_tools(fit, folder, adata=None, prefix="", overwrite=False):
    """Write a fit where scvi-tools' `SCVI.load(folder, adata)` finds it.

    Arguments
    ---------
    fit : a `Fit` of scVI.
    folder : made if need be. Sets: `{prefix}model.pt` in it, and with `adata` also `{prefix}adata.h5ad`.
    adata : the data it was made for, to be saved beside; nothing is written into it. It also tells the types of the
        categories: without it they are written as text, and a column of numbers has to be made text before loading.
        Minified data must be given here: scvi-tools loads them with a model that was saved with them.
    prefix : of the files' names.
    overwrite : replace a model that is there.

    Returns the folder. Raises ArchiveError where scvi-tools has no such model, or the folder cannot be written.

    Example
    -------
    >>> write_scvi_tools(fit, "for_a_colleague")
    >>> scvi.model.SCVI.load("for_a_colleague", adata)        # with scvi-tools
    """
    _refuse_without_counterpart(fit)
    folder = check_target(folder, MODEL, prefix, overwrite)
    stream = io.BytesIO()
    torch.save(_content(fit, adata), stream)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if adata is not None:
            _write_data(adata, folder / f"{prefix}{DATA}")
        write_atomically(folder / f"{prefix}{MODEL}", stream.getvalue())
    except OSError as error:
        raise ArchiveError("folder", problem=f"The model could not be written into {folder}: {error}.",
                           hint="Choose a folder that can be written, with space left.") from None
    return folder


def _write_data(adata, path):
    beside = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    try:
        adata.to_memory().write_h5ad(beside)            # an object of its own: writing turns text into categories
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def _refuse_without_counterpart(fit):
    known = [kind for name, kind in KINDS.items() if name in WRITTEN]
    if fit.kind not in known:
        raise ArchiveError("kind", problem=f"A model '{fit.kind}' cannot be written for scvi-tools.",
                           hint="Known: " + ", ".join(known) + ".")
    settings = fit.settings
    beyond_first = settings.n_layers > 1 and settings.continuous_in == "every"
    if beyond_first and (fit.registry.n_continuous or settings.batch_representation == "embedding"):
        raise ArchiveError("continuous_in", problem="The model's continuous covariates (or the vectors of its batches) "
                           "enter each hidden layer of the decoder; in scvi-tools they enter the first alone.",
                           hint="Train with continuous_in = 'first', or with one layer.")


def _content(fit, adata):
    """What their `model.pt` holds."""
    split = recovered_split(fit.training, fit.seed)
    peer_class = next(name for name, kind in KINDS.items() if kind == fit.kind)
    attributes = {
        "registry_": their_registry(fit.registry, adata, peer_class),
        "init_params_": init_params_of(fit.settings, torch.nn.functional.softplus, peer_class),
        "is_trained_": bool(fit.trained), "history_": _history(fit.history),
        "get_normalized_function_name_": "get_normalized_expression", "run_name_": "", "run_id_": "",
        **{f"{part}_indices_": rows for part, rows in zip(PARTS, split or ())},
    }
    if peer_class == "SCANVI":
        attributes["unlabeled_category_"] = attributes["registry_"]["setup_args"]["unlabeled_category"]
    return {"model_state_dict": _tensors(fit, peer_class), "var_names": names_array(fit.registry.genes),
            "attr_dict": attributes}


def _history(history):
    """{quantity: DataFrame of one column by epoch}; labels are Python texts, which every version of pandas reads."""
    table = history.frame()
    index = pandas.Index(np.asarray(table.index, dtype=np.int64), name="epoch")
    return {name: pandas.DataFrame({name: table[name].to_numpy()}, index=index,
                                   columns=pandas.Index([name], dtype=object)) for name in table}


def _tensors(fit, peer_class):
    ours = {name: value.detach().cpu() for name, value in fit.module.state_dict().items()}
    theirs = names.to_peer(names.entries_of(peer_class, fit.module), ours)
    return theirs | names.spare_tensors(peer_class, fit.module, fit.registry)
