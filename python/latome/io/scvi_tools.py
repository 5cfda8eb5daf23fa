"""Reads a model that scvi-tools saved, into a `Fit`; nothing in the file is run.

A folder of scvi-tools holds `model.pt`: the weights, the names of the genes, and attributes: the registry of the
data, the arguments of construction, the history. Each is mapped to ours here; names of tensors are mapped by
`scvi_names`. What latome has no counterpart for yet is an `UnsupportedError`, never a silent change of the model.
"""

from pathlib import Path

import numpy as np

from latome.backend import torch
from latome.data.fields import Columns, as_text
from latome.data.registry import Registry
from latome.errors import ArchiveError
from latome.fit import Fit, build
from latome.io import scvi_names, torch_archive
from latome.io.pickled_tables import Table
from latome.modules import find
from latome.training.history import History
from latome.training.session import RandomStream

__all__ = ["KINDS", "UnsupportedError", "read"]

#: Their class -> our kind.
KINDS = {"SCVI": "scvi"}

# Arguments of their SCVI that must keep these values, since latome has nothing else to offer yet.
_FIXED = {
    "latent_distribution": "normal", "log_variational": True, "batch_representation": "one-hot",
    "var_activation": None, "extra_encoder_kwargs": None, "extra_decoder_kwargs": None, "use_size_factor_key": False,
}
_WITHOUT_EFFECT = ("batch_embedding_kwargs", "adata", "registry")
_UNUSED_TENSORS = ("pyro_param_store",)                 # of other models in the session that saved this one


class UnsupportedError(ArchiveError):
    """A sound checkpoint that uses what latome does not have yet."""


def read(folder, prefix=""):
    """A `Fit` from a folder that scvi-tools saved.

    Arguments
    ---------
    folder : the folder (or the `model.pt` in it).
    prefix : of the file's name, if one was given to `save`.

    Raises ArchiveError where the file is missing, damaged or holds more than data, and its kind UnsupportedError
    where it is sound, but of a class or with an option that latome does not have yet.
    """
    path = Path(folder)
    path = path if path.is_file() else path / f"{prefix}model.pt"
    if not path.exists():
        legacy = (path.parent / f"{prefix}model_params.pt").exists()
        raise ArchiveError(
            str(folder), problem=f"`{folder}` holds no {prefix}model.pt.",
            hint="It was saved by scvi-tools before 0.15: convert it there with SCVI.convert_legacy_save()." if legacy
            else "Give the folder in which scvi-tools saved the model, and its prefix if it has one.")
    content = torch_archive.read(path)
    try:
        return _assemble(content)
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        raise ArchiveError(str(path), problem=f"`{path}` does not have the parts of a model of scvi-tools ({error!r}).",
                           hint="Save it again with scvi-tools 0.15 or later.") from error


def _assemble(content):
    attributes, tensors = content["attr_dict"], content["model_state_dict"]
    several = attributes.get("registries_")             # of a model of several data sets
    peer_registry = several[0] if several else attributes["registry_"]
    peer_class = peer_registry["model_name"]
    if peer_class not in KINDS:
        raise UnsupportedError(problem=f"The checkpoint holds a model of class {peer_class}, which is not "
                                       "supported yet.", hint="Supported: " + ", ".join(KINDS) + ".")
    kind = KINDS[peer_class]
    _refuse_unsupported_data(peer_registry)
    settings = _settings(find(kind), attributes["init_params_"])
    registry = _registry(peer_registry, content["var_names"], settings)
    with RandomStream(0).active():                      # the weights drawn here are replaced below
        module = build(kind, settings, registry)
    _load(module, peer_class, tensors)
    history = _history(attributes.get("history_") or {})
    return Fit(kind, settings, registry, module.eval(), history, training=_training(attributes, history))


# settings --------------------------------------------------------------------------------------------------
def _arguments(init_params):
    """The arguments of construction as one dict; {"kwargs": {name: {...}}, "non_kwargs": {...}} or flat."""
    if "non_kwargs" not in init_params and "kwargs" not in init_params:
        return dict(init_params)
    arguments = dict(init_params.get("non_kwargs", {}))
    for group in init_params.get("kwargs", {}).values():
        arguments |= group or {}
    return arguments


def _settings(module_class, init_params):
    arguments = _arguments(init_params)
    for name in _WITHOUT_EFFECT:
        arguments.pop(name, None)
    for name, value in _FIXED.items():
        given = arguments.pop(name, value)
        if given != value and not (value is None and given == {}):
            raise _unsupported(name, given)
    if arguments.get("gene_likelihood") == "normal":
        raise _unsupported("gene_likelihood", "normal")
    known = module_class.Settings.__dataclass_fields__
    for name, value in arguments.items():
        if name not in known and value not in (None, {}):
            raise _unsupported(name, value)
    known_arguments = {name: value for name, value in arguments.items() if name in known}
    return module_class.Settings.make(**{"continuous_in": "first", **known_arguments})


def _unsupported(name, value):
    return UnsupportedError(name, problem=f"The model was made with {name} = {value!r}, which is not supported yet.",
                            hint="It can be used with scvi-tools alone for now.")


# registry --------------------------------------------------------------------------------------------------
def _refuse_unsupported_data(peer):
    fields = peer["field_registries"]
    if fields.get("minify_type", {}).get("data_registry") or peer["setup_args"].get("adata_minify_type"):
        raise UnsupportedError(problem="The model was saved with minified data (no counts), which is not supported "
                                       "yet.", hint="Save it from scvi-tools before minify_adata().")
    if fields.get("size_factor", {}).get("data_registry"):
        raise _unsupported("size_factor_key", peer["setup_args"].get("size_factor_key"))


def _registry(peer, genes, settings):
    """Our registry: the roles of the columns from the set-up, the categories as they were coded."""
    setup, fields = peer["setup_args"], peer["field_registries"]
    covariates = fields.get("extra_categorical_covs", {}).get("state_registry", {})
    numbers = fields.get("extra_continuous_covs", {}).get("state_registry", {})
    categorical = tuple(covariates.get("field_keys", ()))
    columns = Columns(
        layer=setup.get("layer"), batch=setup.get("batch_key"), labels=setup.get("labels_key"),
        categorical=categorical, continuous=tuple(as_text(numbers.get("columns", ()))),
    )
    categories = {"batch": _mapping(fields["batch"])}
    if columns.labels is not None or settings.dispersion == "gene-label":
        categories["labels"] = _mapping(fields["labels"])
    for name in categorical:
        if name in ("batch", "labels") and getattr(columns, name) != name:
            raise UnsupportedError(name, problem=f"The model has a categorical covariate called '{name}', beside a "
                                                 "column of that role.", hint="Rename the column and train again.")
        categories[name] = as_text(covariates["mappings"][name])
    n_cells = fields.get("X", {}).get("summary_stats", {}).get("n_cells", 0)
    return Registry(tuple(as_text(genes)), columns, categories, n_cells=int(n_cells))


def _mapping(field):
    return as_text(field["state_registry"]["categorical_mapping"])


# weights ---------------------------------------------------------------------------------------------------
def _load(module, peer_class, tensors):
    entries = scvi_names.ENTRIES[peer_class](module)
    known = {entry.peer for entry in entries} | set(scvi_names.spare_shapes(peer_class, module)) | set(_UNUSED_TENSORS)
    unknown = [name for name in tensors if name not in known]
    if unknown:
        raise ArchiveError(problem=f"The checkpoint has {len(unknown)} tensors that its settings do not call for, such "
                                   f"as '{unknown[0]}'.",
                           hint="It was changed after it was saved, or comes from a version not known here.")
    weights = scvi_names.from_peer(entries, tensors)
    broken = [name for name, value in weights.items() if not torch.isfinite(value).all()]
    if broken:
        raise ArchiveError(problem=f"The weights '{broken[0]}' hold missing or infinite values.",
                           hint="The model did not train to an end; train it again.")
    module.load_state_dict(weights)


# history ---------------------------------------------------------------------------------------------------
def _history(peer):
    """One table by epoch from theirs, a table a quantity; quantities logged by step are left out."""
    columns, epochs = {}, set()
    for table in peer.values():
        if not isinstance(table, Table) or table.index_name not in (None, "epoch"):
            continue
        index = [int(epoch) for epoch in table.index]
        for name, values in table.columns.items():
            columns[name] = {epoch: float(value) for epoch, value in zip(index, values, strict=True)}
            epochs.update(index)
    epochs = sorted(epochs)
    table = {name: [values.get(epoch, np.nan) for epoch in epochs] for name, values in columns.items()}
    return History({"epoch": epochs, **table} if epochs else {})


def _training(attributes, history):
    """Facts of the training, as far as the checkpoint tells; {} where the model was never trained."""
    if not attributes.get("is_trained_"):
        return {}
    counts = {f"n_{part}": len(attributes[f"{part}_indices_"])
              for part in ("train", "validation") if attributes.get(f"{part}_indices_") is not None}
    return {"epochs": len(history), "stopped": "finished", **counts,
            "source": f"scvi-tools {attributes['registry_'].get('scvi_version', '')}".strip()}
