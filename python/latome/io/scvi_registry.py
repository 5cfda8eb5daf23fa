"""The two-way map between scvi-tools' registry of the data and ours."""

import uuid
from dataclasses import replace

import numpy as np

from latome.data import minified
from latome.data.fields import Columns, as_text
from latome.data.registry import ONE_BATCH, Registry
from latome.io.scvi_options import UnsupportedError

__all__ = ["VERSION", "registry_of", "their_registry", "with_markers"]

UNLABELED = "unlabeled"                                # their category, where ours are missing values
VERSION = "1.4.2"                                      # of scvi-tools, whose layout is written

_CATEGORIES, _NUMBERS = "extra_categorical_covs", "extra_continuous_covs"


def registry_of(theirs, genes, settings=None, unlabeled=None):
    """Our registry: the roles of the columns from their set-up, the categories as they were coded.

    Arguments
    ---------
    theirs : their `registry_`.
    genes : names of the genes, in order.
    settings : of the model; a parameter by label needs the labels even where no column holds them.
    unlabeled : the category of cells without a label, where their set-up does not name it.

    Raises UnsupportedError for names that latome cannot tell apart, ValueError, KeyError where a part is missing.
    """
    if not len(genes):
        raise ValueError("it names no genes")
    setup, fields = theirs["setup_args"], theirs["field_registries"]
    covariates = fields.get(_CATEGORIES, {}).get("state_registry", {})
    numbers = fields.get(_NUMBERS, {}).get("state_registry", {})
    categorical = tuple(_names(covariates.get("field_keys", ())))
    _names(key for key in map(setup.get, ("layer", "batch_key", "labels_key", "size_factor_key")) if key is not None)
    unlabeled = setup.get("unlabeled_category", unlabeled)
    columns = Columns(
        layer=setup.get("layer"), batch=setup.get("batch_key"), labels=setup.get("labels_key"),
        categorical=categorical, continuous=tuple(_names(numbers.get("columns", ()))),
        size_factor=setup.get("size_factor_key"),
        unlabeled=None if unlabeled is None else _names([unlabeled])[0],
    )
    categories = {"batch": list(ONE_BATCH) if columns.batch is None else _mapping(fields["batch"])}
    by_label = settings is not None and "gene-label" in settings.to_json().values()
    if columns.labels is not None or by_label:
        categories["labels"] = _labels(_mapping(fields["labels"]), columns.unlabeled)
    for name in categorical:
        if name in ("batch", "labels") and getattr(columns, name) != name:
            raise UnsupportedError(name, problem=f"The model has a categorical covariate called '{name}', beside a "
                                                 "column of that role.", hint="Rename the column and train again.")
        categories[name] = _names(covariates["mappings"][name])
    n_cells = fields.get("X", {}).get("summary_stats", {}).get("n_cells", 0)
    return Registry(tuple(_names(genes)), columns, categories, n_cells=int(n_cells))


def with_markers(registry, table):
    """The registry of their CellAssign: the cell types of its `Table` of markers are the labels."""
    if list(_names(table.index)) != list(registry.genes):
        raise ValueError("its table of markers is of other genes")
    types = _names(table.columns)
    marked = [np.asarray(values) != 0 for values in table.columns.values()]
    markers = {name: [gene for gene, here in zip(registry.genes, column, strict=True) if here]
               for name, column in zip(types, marked, strict=True)}
    return replace(registry, categories={**registry.categories, "labels": types}, markers=markers)


def _labels(names, unlabeled):
    """The labels in the order of their codes: the category of cells without one changes places with the last."""
    if unlabeled in names:
        names[names.index(unlabeled)] = names[-1]
        names.pop()
    return names


def _mapping(field):
    return _names(field["state_registry"]["categorical_mapping"])


def _names(values):
    """Names as text; TypeError for what is no name, such as a list, which a file may nest beyond measure."""
    values = list(values)
    if not all(isinstance(value, str | bool | int | float | np.generic) for value in values):
        raise TypeError("a name is neither text nor a number")
    return as_text(values)


# the way back ----------------------------------------------------------------------------------------------
def their_registry(ours, adata=None, peer_class="SCVI"):
    """Their registry from ours, as plain containers and arrays.

    Arguments
    ---------
    ours : a `Registry`.
    peer_class : name of their class.
    adata : the data; its columns tell the types of the categories (text without them), and whether it is minified.
    """
    columns, n_cells = ours.columns, ours.n_cells
    unlabeled = [columns.unlabeled or UNLABELED] if peer_class == "SCANVI" else []         # theirs is the last category

    def levels(role, name, more=()):
        known = adata.obs[name] if adata is not None and name in adata.obs else None
        return _levels([*ours.categories[role], *more], known)

    fields = {
        "X": _field("X" if columns.layer is None else "layers", columns.layer,
                    {"n_obs": n_cells, "n_vars": ours.n_genes, "column_names": names_array(ours.genes)},
                    {"n_vars": ours.n_genes, "n_cells": n_cells}),
        "batch": _category("batch", columns.batch, levels("batch", columns.batch)),
        "labels": _category("labels", columns.labels, None if columns.labels is None else
                            levels("labels", columns.labels, unlabeled)),
        "size_factor": _field("obs", columns.size_factor) if columns.size_factor else _absent(),
        _CATEGORIES: _absent({f"n_{_CATEGORIES}": 0}), _NUMBERS: _absent({f"n_{_NUMBERS}": 0}),
    }
    if columns.categorical:
        mappings = {name: levels(name, name) for name in columns.categorical}
        state = {"mappings": mappings, "field_keys": list(columns.categorical),
                 "n_cats_per_key": [len(mappings[name]) for name in columns.categorical]}
        fields[_CATEGORIES] = _field("obsm", f"_scvi_{_CATEGORIES}", state,
                                     {f"n_{_CATEGORIES}": len(columns.categorical)})
    if columns.continuous:
        fields[_NUMBERS] = _field("obsm", f"_scvi_{_NUMBERS}", {"columns": names_array(columns.continuous)},
                                  {f"n_{_NUMBERS}": len(columns.continuous)})
    fields |= {} if adata is None else _minified(adata)
    setup = {"layer": columns.layer, "batch_key": columns.batch, "labels_key": columns.labels,
             "size_factor_key": columns.size_factor, "categorical_covariate_keys": list(columns.categorical) or None,
             "continuous_covariate_keys": list(columns.continuous) or None}
    if unlabeled:
        setup |= {"unlabeled_category": unlabeled[0], "use_minified": False}
        fields["labels"]["state_registry"]["unlabeled_category"] = unlabeled[0]
    return {"scvi_version": VERSION, "model_name": peer_class, "setup_method_name": "setup_anndata",
            "setup_args": setup, "field_registries": fields, "_scvi_uuid": str(uuid.uuid4())}


def _minified(adata):
    """The further fields of minified data."""
    stored = minified.stored_posterior(adata)
    if stored is None:
        return {}
    k = stored.mean.shape[1]
    moments = {"latent_qzm": minified.MEAN, "latent_qzv": minified.VARIANCE}
    return {**{name: _field("obsm", key, {"column_names": np.arange(k)}, {f"n_{name}": k})
               for name, key in moments.items()},
            "observed_lib_size": _field("obs", minified.TOTAL), "minify_type": _field("uns", minified.TYPE)}


def _field(attribute, key, state=None, statistics=None):
    return {"data_registry": {"attr_name": attribute, "attr_key": key}, "state_registry": state or {},
            "summary_stats": statistics or {}}


def _absent(statistics=None):
    return {"data_registry": {}, "state_registry": {}, "summary_stats": statistics or {}}


def _category(role, column, levels):
    if column is None:                                  # theirs is then a column of zeros
        levels, column = np.zeros(1, dtype=np.int64), f"_scvi_{role}"
    return _field("obs", f"_scvi_{role}", {"categorical_mapping": levels, "original_key": column},
                  {f"n_{role}": len(levels)})


def names_array(names):
    """(n,) array of Python texts, as theirs are."""
    array = np.empty(len(names), dtype=object)
    array[:] = [str(name) for name in names]
    return array


def _levels(categories, column):
    """The categories (n,), as text or as what the column holds for them: their categories keep the type of the data."""
    if column is None:
        return names_array(categories)
    present = column.dropna().unique()
    found = dict(zip(as_text(present), np.asarray(present).tolist(), strict=True))
    values = [found.get(category, category) for category in categories]
    kinds = {type(value) for value in values}
    if kinds <= {int} or kinds <= {float} or kinds <= {bool}:
        return np.array(values)
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array
