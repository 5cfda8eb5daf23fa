"""Which cells are compared with which: groups of a column, masks, row numbers or queries, made into pairs of rows."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from latome.data.fields import as_text, categories_of, encode
from latome.data.sources import closest
from latome.errors import QueryError

__all__ = ["REST", "Comparison", "check_comparison", "comparisons_of"]

REST = "Rest"                                          # all other cells that have a group


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two sets of cells that share none.

    Arguments
    ---------
    group1, group2 : their names.
    rows1, rows2 : (n1,), (n2,) int64 rows of the data, in ascending order.
    """

    group1: str
    group2: str
    rows1: np.ndarray
    rows2: np.ndarray

    @property
    def name(self):
        return f"{self.group1} vs {self.group2}"


def comparisons_of(obs, groupby=None, group1=None, group2=None, idx1=None, idx2=None, subset_idx=None):
    """The comparisons that are asked for, by the groups of a column or by two selections of cells.

    Arguments
    ---------
    obs : table of the n cells.
    groupby : column of groups. Cells without one take no part.
    group1 : name of a group, or several, each of which is compared; None for each group in turn.
    group2 : the group they are compared with; None for the rest: all other cells that have a group.
    idx1, idx2 : instead of groups, a mask (n,), row numbers, or a condition on the columns of obs such as
        "cell_type == 'B' and donor != 'd1'". `idx2` None takes all other cells.
    subset_idx : with `groupby`, a selection like `idx1`: only its cells form groups, the others belong to the rest.

    Returns a list of `Comparison`. Raises FieldError for an unknown column, and QueryError for an unknown group, a
    selection that cannot be read or has no cells, selections that overlap, and both ways of asking at once.
    """
    if (groupby is None) == (idx1 is None):
        found = "Neither groups nor cells to compare are" if groupby is None else "Both `groupby` and `idx1` are"
        raise QueryError("groupby", problem=f"{found} given.",
                         hint="Give groupby='column' with group1 and group2, or idx1 and idx2.")
    if groupby is not None:
        if idx2 is not None:
            raise QueryError("idx2", problem="`idx2` is given together with `groupby`.", hint="Give idx1 with it.")
        return _by_group(obs, groupby, group1, group2, subset_idx)
    for name, value in {"group1": group1, "group2": group2, "subset_idx": subset_idx}.items():
        if value is not None:
            raise QueryError(name, problem=f"`{name}` is given together with `idx1`.", hint="It goes with `groupby`.")
    return [_by_selection(obs, idx1, idx2)]


def _by_group(obs, groupby, group1, group2, subset):
    known = categories_of(obs, groupby, "groupby", allow_missing=True)
    codes = encode(obs, groupby, "groupby", known, allow_missing=True)           # (n,), -1 without a group
    member = np.ones(len(obs), dtype=bool) if subset is None else _mask(obs, subset, "subset_idx")
    present = [name for code, name in enumerate(known) if (member & (codes == code)).any()]
    first = present if group1 is None else _names(group1)
    if group2 is not None:
        others = _names(group2)
        if len(others) != 1:
            raise QueryError("group2", problem=f"`group2` names {len(others)} groups.",
                             hint="Name one, or leave it out to compare with the rest.")
        group2 = others[0]
        if group1 is None:
            first = [name for name in first if name != group2]

    def rows(name, argument):
        if name not in present:
            where = f"Column '{groupby}'" if subset is None else f"Column '{groupby}', within `subset_idx`,"
            raise QueryError(argument, problem=f"{where} has no group '{name}'.", hint=closest(name, present))
        return np.flatnonzero(member & (codes == known.index(name)))

    second = None if group2 is None else rows(group2, "group2")
    if not first:
        raise QueryError("groupby", problem=f"Column '{groupby}' has no groups to compare.",
                         hint="It needs two or more, each with cells.")
    made = []
    for name in first:
        rows1 = rows(name, "group1")
        rows2 = np.setdiff1d(np.flatnonzero(codes >= 0), rows1) if second is None else second
        made.append(Comparison(name, group2 or REST, rows1, rows2))
        check_comparison(made[-1], len(obs), ("group1", "group2"))
    return made


def _by_selection(obs, idx1, idx2):
    mask1 = _mask(obs, idx1, "idx1")
    mask2 = ~mask1 if idx2 is None else _mask(obs, idx2, "idx2")
    names = [idx if isinstance(idx, str) else name for idx, name in [(idx1, "idx1"), (idx2, "idx2")]]
    if idx2 is None:
        names[1] = REST
    made = Comparison(*names, np.flatnonzero(mask1), np.flatnonzero(mask2))
    check_comparison(made, len(obs), ("idx1", "idx2"))
    return made


def _names(given):
    """Names of groups as text, each once."""
    several = not isinstance(given, str) and np.ndim(given) > 0 or isinstance(given, set)
    return list(dict.fromkeys(as_text(given if several else [given])))


def _mask(obs, given, name):
    """(n,) bool from a mask, row numbers, or a condition on the columns of obs."""
    n = len(obs)
    values = _condition(obs, given, name) if isinstance(given, str) else np.asarray(given)
    if values.dtype == bool:
        if values.shape != (n,):
            raise QueryError(name, problem=f"`{name}` has {values.size} entries for {n} cells.",
                             hint="A mask has one for each cell.")
        return values
    if values.dtype.kind not in "iu":
        if values.size:
            raise QueryError(name, problem=f"`{name}` is of type {values.dtype}: neither a mask nor row numbers.",
                             hint="Give a mask, row numbers, or a condition such as \"cell_type == 'B'\".")
        values = values.astype(np.int64)
    if values.size and (values.min() < 0 or values.max() >= n):
        raise QueryError(name, problem=f"A row number of `{name}` lies outside 0 to {n - 1}.",
                         hint="Row numbers count from 0.")
    mask = np.zeros(n, dtype=bool)
    mask[values] = True
    return mask


def _condition(obs, text, name):
    """(n,) bool: where a condition on the columns of obs holds."""
    try:                                               # no names but those of the columns: @variables stay outside
        found = obs.eval(text, local_dict={}, global_dict={})
    except Exception as error:
        raise QueryError(name, problem=f"`{name}` = {text!r} cannot be read: {error}.",
                         hint="Write a condition on the columns of obs, such as \"cell_type == 'B'\". "
                              + closest(text, obs.columns)) from error
    if not isinstance(found, pd.Series) or not pd.api.types.is_bool_dtype(found):
        raise QueryError(name, problem=f"`{name}` = {text!r} is not a condition: it is neither true nor false.",
                         hint="Compare a column with something, such as \"cell_type == 'B'\".")
    return found.fillna(False).to_numpy(dtype=bool)


def check_comparison(comparison, n_cells, arguments=("rows1", "rows2")):
    """A QueryError, about one of two `arguments`, unless both sets hold some of the n cells, each once, and share none.
    """
    rows = comparison.rows1, comparison.rows2
    names = comparison.group1, comparison.group2
    for argument, name, found in zip(arguments, names, rows, strict=True):
        if not len(found):
            what = "no other cells to compare with" if name == REST else f"no cells in '{name}'"
            raise QueryError(argument, problem=f"There are {what}.", hint="Check what was selected.")
        if found[0] < 0 or found[-1] >= n_cells or (np.diff(found) <= 0).any():
            raise QueryError(argument, problem=f"The rows of '{name}' are not ascending numbers from 0 to "
                             f"{n_cells - 1}.", hint="Make comparisons with comparisons_of(), from the cells' own obs.")
    both = np.intersect1d(*rows, assume_unique=True)
    if both.size:
        problem = f"'{names[0]}' and '{names[1]}' share {both.size} cells, such as row {both[0]}."
        raise QueryError(arguments[1], problem=problem, hint="Compare sets of cells that have none in common.")
