"""Which columns of an AnnData play which role, and how each becomes codes or numbers."""

from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from latome.data.sources import closest
from latome.errors import FieldError

__all__ = ["Columns", "categories_of", "continuous_values", "encode", "obsm_values", "size_factors"]

UNLABELED = -1                                         # code of a missing label


@dataclass(frozen=True)
class Columns:
    """The roles of an AnnData's columns.

    Arguments
    ---------
    layer : layer of raw counts; None for X.
    batch, labels : a column of obs each, or None.
    categorical, continuous : further covariates, columns of obs.
    size_factor : column of obs with the size of each cell, instead of its total count; None for the total.
    unlabeled : value of the labels column that means "no label", as a missing one does: no category of its own.
    obsm : pairs (name in the model, key of obsm), for matrices such as protein counts.
    """

    layer: str | None = None
    batch: str | None = None
    labels: str | None = None
    categorical: tuple = ()
    continuous: tuple = ()
    obsm: tuple = ()
    size_factor: str | None = None
    unlabeled: str | None = None

    def __post_init__(self):
        if self.unlabeled is not None:
            object.__setattr__(self, "unlabeled", as_text([self.unlabeled])[0])
        for name in ("categorical", "continuous"):
            value = getattr(self, name)
            value = () if value is None else (value,) if isinstance(value, str) else tuple(value)
            if len(set(value)) != len(value):
                raise FieldError(name, problem=f"`{name}` names the same column twice: {', '.join(map(str, value))}.",
                                 hint="Name each covariate once.")
            object.__setattr__(self, name, value)
        roles = [self.batch, *self.categorical, *self.continuous]
        twice = [name for name in self.categorical + self.continuous if roles.count(name) > 1]
        if twice:
            raise FieldError("continuous" if twice[0] in self.continuous else "categorical",
                             problem=f"Column '{twice[0]}' is given two roles among batch and covariates.",
                             hint="Name it once.")
        object.__setattr__(self, "obsm", tuple(tuple(pair) for pair in self.obsm))

    def to_json(self):
        """The same as plain containers."""
        return asdict(self)

    @classmethod
    def from_json(cls, document):
        """The reverse of `to_json`."""
        return cls(**document)


def column(obs, name, role):
    """The column `name` of obs as a Series; `role` is what it was asked for."""
    if not isinstance(name, str) or name not in obs:
        raise FieldError(role, problem=f"`obs` has no column '{name}' (asked for as {role}).",
                         hint=closest(name, obs.columns))
    values = obs[name]
    if values.ndim > 1:
        raise FieldError(role, problem=f"`obs` has {values.shape[1]} columns named '{name}'.",
                         hint="Give each column a name of its own.")
    return values


def as_text(values):
    """Category names as text; whole floats lose their '.0', so that 1 and 1.0 are the same category."""
    def text(value):
        whole = isinstance(value, float | np.floating) and float(value).is_integer()
        return str(int(value)) if whole else str(value)
    return [text(value) for value in values]


def coded(values):
    """(codes (n,), -1 for missing; levels as they were found) of a Series."""
    factor = pd.Categorical(values)
    levels = factor.categories
    return factor.codes, list(levels.to_numpy() if levels.dtype.kind == "f" else levels)     # 0.1 of float32 stays 0.1


def categories_of(obs, name, role, *, allow_missing=False, missing_as=None):
    """Sorted names of the categories that occur in a column; `missing_as` is a value that stands for a missing one."""
    values = column(obs, name, role)
    missing = int(values.isna().sum())
    if missing and not allow_missing:
        raise FieldError(role, problem=f"Column '{name}' has {missing} missing values.",
                         hint="Give each cell a category, or remove those cells.")
    codes, levels = coded(values)
    present = [levels[code] for code in np.unique(codes) if code >= 0]
    try:
        present = sorted(present)
    except TypeError:                                  # mixed types do not compare
        present = sorted(present, key=str)
    names = dict.fromkeys(as_text(present))            # 1 and "1" in one column are one category
    names.pop(missing_as, None)
    return list(names)


def encode(obs, name, role, categories, *, allow_missing=False, missing_as=None):
    """(n,) int64 codes of a column; a value outside `categories` is an error, a missing one -1 if allowed.

    `missing_as` is a value that stands for a missing one.
    """
    values = column(obs, name, role)
    known = {category: code for code, category in enumerate(categories)}
    codes, levels = coded(values)
    levels = as_text(levels)
    occurring = np.unique(codes)
    unseen = [levels[code] for code in occurring
              if code >= 0 and levels[code] not in known and levels[code] != missing_as]
    if unseen:
        shown = ", ".join(f"'{u}'" for u in unseen[:5])
        raise FieldError(role, problem=f"Column '{name}' holds categories the model was not trained on: {shown}.",
                         hint="Known: " + ", ".join(f"'{c}'" for c in list(categories)[:12]) + ".")
    if -1 in occurring and not allow_missing:
        raise FieldError(role, problem=f"Column '{name}' has {int((codes < 0).sum())} missing values.",
                         hint="Give each cell a category, or remove those cells.")
    table = np.array([known.get(level, UNLABELED) for level in levels] + [UNLABELED], dtype=np.int64)
    return table[codes]


def continuous_values(obs, names):
    """(n, d) float32 of continuous covariates, as they are: nothing is standardised."""
    out = np.empty((len(obs), len(names)), dtype=np.float32)
    for j, name in enumerate(names):
        values = column(obs, name, "continuous")
        if not pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
            raise FieldError("continuous", problem=f"Column '{name}' is of type {values.dtype}, not numeric.",
                             hint="Pass it as a categorical covariate, or convert it to numbers.")
        with np.errstate(over="ignore"):               # beyond float32 is infinite
            out[:, j] = values.to_numpy(dtype=np.float64, na_value=np.nan)
        if not np.isfinite(out[:, j]).all():
            raise FieldError("continuous", problem=f"Column '{name}' has missing or infinite values.",
                             hint="Fill them in, or remove those cells.")
    return out


def size_factors(obs, name):
    """(n,) float32 of a column of positive numbers."""
    values = column(obs, name, "size_factor")
    if not pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
        raise FieldError("size_factor", problem=f"Column '{name}' is of type {values.dtype}, not numeric.",
                         hint="Size factors are positive numbers, one a cell.")
    factors = values.to_numpy(dtype=np.float64, na_value=np.nan).astype(np.float32)
    if not (np.isfinite(factors) & (factors > 0)).all():
        raise FieldError("size_factor", problem=f"Column '{name}' has values that are missing, infinite or not "
                         "positive.", hint="Size factors are positive numbers, one a cell.")
    return factors


def obsm_values(adata, key):
    """((n, p) float32, names) of a matrix of obsm: an array, a sparse matrix or a DataFrame."""
    if key not in adata.obsm:
        raise FieldError("obsm", problem=f"`obsm` has no matrix '{key}'.", hint=closest(key, adata.obsm))
    matrix = adata.obsm[key]
    names = [str(c) for c in getattr(matrix, "columns", range(matrix.shape[1]))]
    values = matrix.toarray() if hasattr(matrix, "toarray") else matrix
    return np.array(values, dtype=np.float32), names
