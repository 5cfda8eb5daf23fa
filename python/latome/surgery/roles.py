"""The registry of a reference, extended by what new cells bring."""

import dataclasses

from latome.data.fields import categories_of
from latome.data.registry import FEW_CELLS, Registry
from latome.errors import FieldError

__all__ = ["extend_registry", "new_categories"]


def extend_registry(registry, adata, columns=None):
    """The registry of a model for new cells: categories that it does not know follow those that it knows.

    So the codes of known categories stay. Labels are never extended: one that the model does not know is an error
    when the data are opened; without a column of labels no cell is labelled.

    Arguments
    ---------
    registry : of the reference.
    adata : AnnData of the new cells.
    columns : their `Columns`, default those of the reference. Covariates may have other names, but are matched in
        their order. A reference without batches is one batch, beside which `batch` names those of the new cells.

    Raises FieldError where the columns do not have the reference's roles, or are not there.
    """
    known = registry.columns
    columns = known if columns is None else columns
    if columns.size_factor is not None and known.size_factor is None:
        raise FieldError("size_factor", problem="The reference was made without size factors.", hint="Leave it out.")
    columns = dataclasses.replace(
        columns, batch=columns.batch or known.batch, size_factor=columns.size_factor or known.size_factor,
        labels=None if known.labels is None else columns.labels or known.labels,
        unlabeled=columns.unlabeled or known.unlabeled, obsm=known.obsm)
    for role in ("categorical", "continuous"):
        given, wanted = list(getattr(columns, role)), list(getattr(known, role))
        if len(given) != len(wanted):
            raise FieldError(role, problem=f"The {role} covariates are {given}; the reference has {wanted}.",
                             hint="Name a column of the new cells for each of them, in this order.")
    names = dict(zip(known.categorical, columns.categorical, strict=True))
    if {"batch", "labels"} & ({*columns.categorical} - {*known.categorical}):
        raise FieldError("categorical", problem="A categorical covariate cannot be called 'batch' or 'labels'.",
                         hint="Rename the column.")
    categories = {names.get(role, role): list(levels) for role, levels in registry.categories.items()}
    roles = [("batch", columns.batch, "batch")] if columns.batch is not None else []
    for role, name, asked in [*roles, *((name, name, "categorical") for name in columns.categorical)]:
        found = categories_of(adata.obs, name, asked)
        added = [level for level in found if level not in categories[role]]
        if len(added) > max(FEW_CELLS, adata.n_obs // FEW_CELLS):
            raise FieldError(asked, problem=f"Column '{name}' has {len(added)} new categories in {adata.n_obs} cells.",
                             hint="Is it a number, or a cell name? Name the column that holds the groups.")
        categories[role] += added
    return Registry(registry.genes, columns, categories, registry.arrays, adata.n_obs)


def new_categories(before, after):
    """{"batch" or the name of a covariate: categories that a registry has beyond those of the one before}."""
    names = dict(zip(after.columns.categorical, before.columns.categorical, strict=True))
    added = {role: levels[len(before.categories[names.get(role, role)]):] for role, levels in after.categories.items()
             if names.get(role, role) in before.categories}
    return {role: list(levels) for role, levels in added.items() if levels}
