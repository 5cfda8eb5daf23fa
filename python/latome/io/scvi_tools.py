"""Reads a model that scvi-tools saved, into a `Fit`; nothing in the files is run.

A folder of scvi-tools holds `model.pt`: the weights, the names of the genes, and attributes: the registry of the
data, the arguments of construction, the history. Each is mapped to ours: arguments by `scvi_options`, the registry
by `scvi_registry`, names of tensors by `names`. Versions before 0.15 wrote three files, which `scvi_legacy`
brings into that form. What latome has no counterpart for is an `UnsupportedError`, never a silent change of the model.
"""

from pathlib import Path

import numpy as np

from latome.backend import torch
from latome.data.registry import open_data
from latome.data.sources import read_h5ad
from latome.errors import ArchiveError, LatomeError
from latome.fit import Fit, build
from latome.io import names, scvi_legacy, torch_archive
from latome.io.pickled_tables import Table
from latome.io.scvi_options import UnsupportedError, arguments_of, settings_of
from latome.io.scvi_registry import registry_of, with_markers
from latome.modules import find
from latome.training.history import History
from latome.training.split import PARTS, Split, split_facts

__all__ = ["DATA", "FILES", "KINDS", "MODEL", "UnsupportedError", "read"]

#: Their class -> our kind.
KINDS = {"SCVI": "scvi", "SCANVI": "scanvi", "LinearSCVI": "ldvae", "AUTOZI": "autozi", "SOLO": "solo",
         "CellAssign": "cellassign"}

MODEL, DATA = "model.pt", "adata.h5ad"
FILES = (MODEL, *scvi_legacy.FILES)                     # any of them tells a folder of theirs

_UNUSED_TENSORS = ("pyro_param_store",)                 # of other models in the session that saved this one


def read(folder, prefix=""):
    """A `Fit` from a folder that scvi-tools saved, in any version.

    Arguments
    ---------
    folder : the folder (or the `model.pt` in it).
    prefix : of the files' names, if one was given to `save`.

    Raises ArchiveError where a file is missing, damaged or holds more than data, and its kind UnsupportedError
    where it is sound, but of a class or with an option that latome does not have.
    """
    path = Path(folder)
    path = path if path.is_file() else path / f"{prefix}{MODEL}"
    legacy = not path.exists() and any((path.parent / f"{prefix}{name}").exists() for name in scvi_legacy.FILES)
    if not (legacy or path.exists()):
        raise ArchiveError(str(folder), problem=f"`{folder}` holds no {prefix}{MODEL}.",
                           hint="Give the folder in which scvi-tools saved the model, and its prefix if it has one.")
    try:
        content = scvi_legacy.read(path.parent, prefix) if legacy else torch_archive.read(path)
        return _assemble(content, path.with_name(f"{prefix}{DATA}"))
    except (KeyError, TypeError, AttributeError, IndexError, ValueError, ArithmeticError, MemoryError,
            RuntimeError) as error:                    # RuntimeError: what torch raises
        where, what = path.parent if legacy else path, repr(error).split("\\n")[0][:200]
        raise ArchiveError(str(where), problem=f"`{where}` does not have the parts of a model of scvi-tools "
                           f"({what}).", hint="Save it again with scvi-tools 0.15 or later.") from error


def _assemble(content, adata_path):
    attributes, tensors = content["attr_dict"], content["model_state_dict"]
    several = attributes.get("registries_")             # of a model of several data sets
    peer_registry = several[0] if several else attributes["registry_"]
    peer_class = peer_registry["model_name"]
    if not isinstance(peer_class, str):
        raise TypeError("the name of the class is no text")
    if peer_class not in KINDS:
        raise UnsupportedError(problem=f"The checkpoint holds a model of class {peer_class}, which is not "
                                       "supported yet.", hint="Supported: " + ", ".join(KINDS) + ".")
    kind = KINDS[peer_class]
    settings = settings_of(find(kind).Settings, attributes["init_params_"], peer_class)
    registry = registry_of(peer_registry, content["var_names"], settings, attributes.get("unlabeled_category_"))
    markers = arguments_of(attributes["init_params_"]).get("cell_type_markers")
    if markers is not None:
        registry = with_markers(registry, markers)
    weights, complete = _weights(kind, peer_class, settings, registry, tensors)
    module = build(kind, settings, registry)            # the weights drawn here are replaced below
    if not complete:
        _fill_prior(module, registry, adata_path)
    module.load_state_dict({**module.state_dict(), **weights})
    history = _history(attributes.get("history_") or {})
    return Fit(kind, settings, registry, module.eval(), history, training=_training(attributes, history))


# weights ---------------------------------------------------------------------------------------------------
def _weights(kind, peer_class, settings, registry, tensors):
    """(our state dict from their tensors, whether it is complete: before 0.14 the data held the library's prior).

    Shapes are compared on a module that takes no memory: what is made later is no larger than the file.
    """
    n_layers = getattr(settings, "n_layers", 0)
    if n_layers > len(tensors):
        raise ValueError(f"{n_layers} layers, and {len(tensors)} tensors")
    with torch.device("meta"):
        shape = build(kind, settings, registry)
    entries = names.entries_of(peer_class, shape)
    known = {entry.peer for entry in entries} | set(names.spare_shapes(peer_class, shape)) | set(_UNUSED_TENSORS)
    unknown = [name for name in tensors if name not in known]
    if unknown:
        raise ArchiveError(problem=f"The checkpoint has {len(unknown)} tensors that its settings do not call for, such "
                                   f"as '{unknown[0]}'.",
                           hint="It was changed after it was saved, or comes from a version not known here.")
    present = [entry for entry in entries if entry.peer in tensors or entry.peer not in names.LIBRARY_PRIOR]
    weights = names.from_peer(present, tensors)
    broken = [name for name, value in weights.items() if not torch.isfinite(value).all()]
    if broken:
        raise ArchiveError(problem=f"The weights '{broken[0]}' hold missing or infinite values.",
                           hint="The model did not train to an end; train it again.")
    return weights, len(present) == len(entries)


def _fill_prior(module, registry, path):
    """Sets: the prior of the library size, computed as it was then, from the data saved beside the model."""
    missing = "The model infers library sizes, and scvi-tools before 0.14 kept their prior with the data: "
    hint = f"Put the data it was trained on there, as {path.name} (scvi-tools: save_anndata=True)."
    if not path.exists():
        raise UnsupportedError("library", problem=f"{missing}there is no {path.name} beside it.", hint=hint)
    try:
        module.prepare(open_data(read_h5ad(path), registry=registry, allow_noninteger=True), None)
    except (OSError, ValueError, KeyError, TypeError, LatomeError) as error:
        raise ArchiveError("library", problem=f"{missing}`{path}` does not give it ({error}).", hint=hint) from error


# history ---------------------------------------------------------------------------------------------------
_METRICS = {f"{part}_{metric}": f"{metric}_{part}" for part in PARTS[:2]
            for metric in ("accuracy", "f1_score", "calibration_error", "classification_loss")}


def _history(peer):
    """One table by epoch from theirs, a table a quantity; quantities logged by step are left out."""
    columns, epochs = {}, set()
    for table in peer.values():
        if not isinstance(table, Table) or table.index_name not in (None, "epoch"):
            continue
        index = [int(epoch) for epoch in table.index]
        for name, values in table.columns.items():
            by_epoch = {epoch: float(value) for epoch, value in zip(index, values, strict=True)}
            columns[_METRICS.get(name, name)] = by_epoch
            epochs.update(index)
    epochs = sorted(epochs)
    table = {name: [values.get(epoch, np.nan) for epoch in epochs] for name, values in columns.items()}
    return History({"epoch": epochs, **table} if epochs else {})


def _training(attributes, history):
    """Facts of the training, as far as the checkpoint tells; {} where the model was never trained."""
    if not attributes.get("is_trained_"):
        return {}
    version = attributes["registry_"].get("scvi_version")
    facts = {"epochs": len(history), "stopped": "finished",
             "source": f"scvi-tools {version}" if isinstance(version, str) else "scvi-tools"}
    rows = [attributes.get(f"{part}_indices_") for part in PARTS]
    if not all(isinstance(part, np.ndarray) and part.ndim == 1 and part.dtype.kind in "iu" for part in rows):
        return facts
    split = Split(*(part.astype(np.int64) for part in rows))
    return facts | split_facts(split, sum(map(len, split)), given=True)
