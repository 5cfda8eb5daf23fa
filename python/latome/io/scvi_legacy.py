"""Models that scvi-tools saved before 0.15, in three files, as a later version would have saved them.

`model_params.pt` holds the weights, `var_names.csv` the genes, a name a line, and `attr.pkl` the attributes, a plain
pickle: it goes through the same machine as all others (see `unpickle`), which imports and calls nothing.
"""

from pathlib import Path

from latome.errors import ArchiveError
from latome.io import pickled_arrays, pickled_tables, torch_archive, unpickle
from latome.io.scvi_options import UnsupportedError, arguments_of

__all__ = ["FILES", "read"]

FILES = ("model_params.pt", "var_names.csv", "attr.pkl")

_OBSERVED_SINCE = (0, 8)                               # version from which the library size is observed by default

# The files do not say their class: {class: how the name of one of its own tensors begins}.
_MARKS = {"SCANVI": "encoder_z2_z1.", "LinearSCVI": "decoder.factor_regressor.", "AUTOZI": "alpha_posterior_logit",
          "TOTALVI": "background_pro_", "PEAKVI": "region_factors", "GIMVI": "encoder.encoders."}
_SCVI = ("px_r", "z_encoder.mean_encoder.weight", "l_encoder.mean_encoder.weight", "decoder.px_scale_decoder.0.weight")


def read(folder, prefix=""):
    """{"model_state_dict", "var_names", "attr_dict"} with a `registry_`, as `model.pt` holds them since 0.15.

    Raises ArchiveError where a file is missing, damaged, or holds more than data.
    """
    paths = [Path(folder) / f"{prefix}{name}" for name in FILES]
    for path in paths:
        if not path.exists():
            raise ArchiveError(str(folder), problem=f"`{folder}` holds no {path.name}, one of the three files of a "
                               "model that scvi-tools saved before 0.15.", hint="Copy the whole folder.")
    tensors = torch_archive.read(paths[0])
    genes, attributes = _genes(_bytes(paths[1])), _attributes(paths[2])
    setup = attributes.pop("scvi_setup_dict_")
    version = _version(setup["scvi_version"])
    attributes["registry_"] = {"scvi_version": setup["scvi_version"], "model_name": _class_of(tensors),
                               **_registry(setup)}
    attributes["init_params_"] = arguments_of(attributes["init_params_"])
    if version < _OBSERVED_SINCE:
        attributes["init_params_"].setdefault("use_observed_lib_size", False)
    return {"model_state_dict": tensors, "var_names": genes, "attr_dict": attributes}


def _bytes(path):
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArchiveError(str(path), problem=f"`{path}` cannot be read: {error.strerror or error}.",
                           hint="Give the folder in which the model was saved.") from error


def _attributes(path):
    try:
        found = unpickle.load(_bytes(path), {**pickled_arrays.BUILDERS, **pickled_tables.BUILDERS})
    except ArchiveError as error:
        raise ArchiveError(str(path), problem=f"`{path}` was refused. {error.problem}", hint=error.hint) from error
    if not isinstance(found, dict):
        raise TypeError(f"attr.pkl holds a {type(found).__name__}")
    return dict(found)


def _genes(content):
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        text = content.decode("latin-1")                # as numpy writes text by default
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return lines[:-1] if lines[-1] == "" else lines


def _class_of(tensors):
    for name, mark in _MARKS.items():
        if any(tensor.startswith(mark) for tensor in tensors):
            return name
    missing = [tensor for tensor in _SCVI if tensor not in tensors]
    if len(missing) > 1:                                # px_r may be missing: dispersion by cell
        raise UnsupportedError(problem=f"The weights are not those of SCVI: there is no tensor '{missing[-1]}'.",
                               hint="Files of before 0.15 do not say their class; only SCVI is read.")
    return "SCVI"


def _version(text):
    return tuple(int(part) for part in text.split(".")[:2])


def _registry(setup):
    """The set-up of the data, {"setup_args", "field_registries"} as since 0.15."""
    place, mappings = setup["data_registry"]["X"], setup["categorical_mappings"]
    extra = setup.get("extra_categoricals")
    numbers = setup.get("extra_continuous_keys")
    fields = {
        "X": {"summary_stats": {"n_cells": setup.get("summary_stats", {}).get("n_cells", 0)}},
        **{role: {"state_registry": {"categorical_mapping": mappings[f"_scvi_{role}"]["mapping"]}}
           for role in ("batch", "labels")},
    }
    if extra is not None:
        fields["extra_categorical_covs"] = {"state_registry": {"field_keys": list(extra["keys"]),
                                                               "mappings": extra["mappings"]}}
    if numbers is not None:
        fields["extra_continuous_covs"] = {"state_registry": {"columns": numbers}}

    def column(role):
        key = mappings[f"_scvi_{role}"]["original_key"]
        return None if key == f"_scvi_{role}" else key

    layer = place["attr_key"] if place["attr_name"] == "layers" else None
    return {"field_registries": fields,
            "setup_args": {"layer": layer, "batch_key": column("batch"), "labels_key": column("labels")}}
