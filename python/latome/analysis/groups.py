"""Cells in groups named by a label each."""

import numpy as np
import pandas as pd

from latome.data.fields import as_text
from latome.errors import QueryError

__all__ = ["cell_groups"]


def cell_groups(labels, data, rows, *, field, at_least=1):
    """(names, codes): names of the groups of the cells asked about, and (n,) int64, the group of each cell.

    Arguments
    ---------
    labels : a label for each cell of `data`, not only for those asked about.
    data : a `Dataset`.
    rows : (n,) those asked about; groups that have none of them are left out.
    field : what the caller calls the labels, for messages.
    at_least : cells that a group must have.

    Names are text, in the order of the categories of a categorical, else sorted. Raises QueryError where labels are
    missing, where a group is too small or a category has no cells at all, and where there are fewer than two groups.
    """
    names, codes = _encoded(labels, field)
    if len(codes) != data.n_cells:
        raise QueryError(field, problem=f"`{field}` has {len(codes)} labels for {data.n_cells} cells.",
                         hint="Give one for each cell of the data, in their order.")
    empty = np.flatnonzero(np.bincount(codes[codes >= 0], minlength=len(names)) == 0)
    if empty.size:
        raise QueryError(field, problem=f"'{names[empty[0]]}' of `{field}` has no cells.",
                         hint="Forget categories without cells: adata.obs[...].cat.remove_unused_categories().")
    if not len(rows):
        raise QueryError("indices", problem="No cells are left to ask about.", hint="Check the selection of cells.")
    codes = codes[rows]
    missing = int((codes < 0).sum())
    if missing:
        raise QueryError(field, problem=f"{missing} of {len(rows)} cells have no label in `{field}`.",
                         hint="Give them one, or leave these cells out with `indices`.")
    present, codes, sizes = np.unique(codes, return_inverse=True, return_counts=True)
    names = [names[code] for code in present]
    if len(names) < 2:
        raise QueryError(field, problem=f"All cells have the same label in `{field}`: {names}.",
                         hint="There is nothing to compare; give a column with at least two.")
    if sizes.min() < at_least:
        name = names[int(sizes.argmin())]
        raise QueryError(field, problem=f"'{name}' of `{field}` has {sizes.min()} of the cells; at least {at_least} "
                         "are needed.", hint="Leave its cells out with `indices`.")
    return names, codes.astype(np.int64)


def _encoded(labels, field):
    """(names, codes) of all labels; -1 where there is none. 1 and 1.0 are the same, as are 1 and "1"."""
    if not isinstance(labels, pd.Series | pd.Categorical | pd.Index):
        labels = np.asarray(labels, dtype=object)
        if labels.ndim != 1:
            raise QueryError(field, problem=f"`{field}` has shape {labels.shape}, not one label a cell.",
                             hint="Give one for each cell of the data, in their order.")
    found = pd.Categorical(labels)
    text = as_text(found.categories)
    names = list(dict.fromkeys(text))
    place = np.array([*map(names.index, text), -1], dtype=np.int64)                         # the last: no label
    return names, place[found.codes]
