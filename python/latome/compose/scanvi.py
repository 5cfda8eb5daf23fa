"""scANVI from a trained scVI."""

from dataclasses import fields, replace

from latome.data.fields import categories_of
from latome.data.registry import open_data
from latome.errors import FieldError, QueryError, SettingError
from latome.fit import initialise
from latome.modules.scanvi import ScanviSettings

__all__ = ["from_scvi", "open_labelled"]

#: Settings of the parent that are no choice of scANVI.
_FIXED = {"latent_distribution": "normal"}


def open_labelled(parent, adata, labels, unlabeled=None, *, allow_noninteger=False):
    """Data for a scANVI made from `parent`: its genes, batches and covariates, and labels of their own.

    Arguments
    ---------
    parent : a `Fit` of scVI.
    adata : AnnData of the cells, those that the parent was trained on or others of the same batches.
    labels : column of obs.
    unlabeled : value of that column that means "no label", as a missing one does.
    allow_noninteger : accept counts that are not whole numbers.

    Returns a `Dataset` whose categories of labels are those that occur, in sorted order. Raises as `open_data` does.
    """
    columns = replace(parent.registry.columns, labels=labels, unlabeled=unlabeled)
    names = categories_of(adata.obs, labels, "labels", allow_missing=True, missing_as=columns.unlabeled)
    registry = replace(parent.registry, columns=columns, n_cells=adata.n_obs,
                       categories={**parent.registry.categories, "labels": names})
    return open_data(adata, registry=registry, allow_noninteger=allow_noninteger)


def from_scvi(parent, data, *, settings=None, seed=0):
    """A scANVI that begins with all the weights of a trained scVI; those of its own are drawn.

    Training it takes at most 10 epochs by default.

    Arguments
    ---------
    parent : a `Fit` of scVI, trained with or without labels. It is not changed.
    data : a `Dataset` with labels and the same genes, batches and covariates: `open_labelled`.
    settings : {name: value} of what scVI does not have, such as linear_classifier; the rest is the parent's.
    seed : of the weights of its own.

    Returns an untrained `Fit`.

    Example
    -------
    >>> data = open_labelled(parent, adata, "cell_type", "unknown")
    >>> fitted = train(from_scvi(parent, data), data)
    """
    if parent.kind != "scvi":
        raise SettingError("parent", problem=f"scANVI begins with a scVI model, not with a {parent.kind} model.",
                           hint="Train one of scVI on the same genes.")
    _refuse_other_layout(parent.registry, data.registry)
    shared = parent.settings.to_json()
    for name, value in _FIXED.items():
        if shared.pop(name) != value:
            raise SettingError(name, problem=f"The scVI model has {name} = '{getattr(parent.settings, name)}', which "
                               "scANVI does not have.", hint=f"Train it with {name} = '{value}'.")
    twice = [name for name, value in (settings or {}).items() if name in shared and value != shared[name]]
    if twice:
        raise SettingError(twice[0], problem=f"`{twice[0]}` is {shared[twice[0]]!r} in the scVI model, whose weights "
                           f"are used; it cannot be {settings[twice[0]]!r}.", hint="Leave it out. Settings of scANVI "
                           "alone: " + ", ".join(_own_settings()) + ".")
    if shared["dispersion"] == "gene-label" and parent.registry.categories["labels"] != data.registry.categories.get(
            "labels"):
        raise FieldError("labels", problem="The scVI model has a dispersion by label, of other labels.",
                         hint="Give the labels that it was trained with, or train it with another dispersion.")
    made = initialise(ScanviSettings.make(**shared | (settings or {})), data, seed=seed,
                      parents={"expression": parent})
    made.training = {"parent": parent.kind}
    return made


def _own_settings():
    """Names of the settings that scANVI adds to those of scVI."""
    return [field.name for field in fields(ScanviSettings) if field.name in vars(ScanviSettings)]


def _refuse_other_layout(known, found):
    """A QueryError where data were not opened for the parent's genes, batches and covariates."""
    for name, of in {"genes": lambda r: list(r.genes), "batches": lambda r: list(r.categories["batch"]),
                     "covariates": lambda r: (r.columns.categorical, r.columns.continuous,
                                              [list(r.categories[c]) for c in r.columns.categorical]),
                     "size factors": lambda r: r.columns.size_factor is None}.items():
        if of(known) != of(found):
            raise QueryError("data", problem=f"The {name} of the data are not those of the scVI model.",
                             hint="Open the data with open_labelled(parent, adata, labels).")
