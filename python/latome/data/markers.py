"""Marker genes of cell types, from the table that people bring."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from latome.data.sources import closest
from latome.errors import FieldError

__all__ = ["Markers"]


@dataclass(frozen=True)
class Markers:
    """Which genes mark which cell types.

    Arguments
    ---------
    genes, types : names, g and C of them.
    matrix : (g, C) bool, True where a gene is a marker of a type.
    """

    genes: tuple
    types: tuple
    matrix: np.ndarray

    @classmethod
    def from_table(cls, table):
        """From a DataFrame of genes (rows) by cell types (columns) that holds 0 and 1, or False and True.

        Raises FieldError where it holds anything else, a name twice, fewer than two types, or a type or a gene of
        which nothing is marked.
        """
        if not isinstance(table, pd.DataFrame):
            raise _error(f"The markers are of type {type(table).__name__}, not a table.",
                         "Give a pandas DataFrame: genes as its index, cell types as columns, 0 and 1 inside.")
        genes, types = (tuple(str(name) for name in names) for names in (table.index, table.columns))
        for names, what in ((genes, "gene"), (types, "cell type")):
            twice = pd.Index(names)[pd.Index(names).duplicated()]
            if len(twice):
                raise _error(f"The {what} '{twice[0]}' occurs more than once among the markers.",
                             "Give each a row or column of its own, once.")
        if len(types) < 2:
            raise _error(f"The markers are of {len(types)} cell type{'' if len(types) == 1 else 's'}.",
                         "Give at least two; one without markers may stand for all others.")
        return cls(genes, types, _zero_or_one(table))._checked()

    @classmethod
    def from_lists(cls, markers, genes=None):
        """From {cell type: names of its genes}; `genes` gives their order, by default that of their first use."""
        genes = tuple(dict.fromkeys(name for names in markers.values() for name in names) if genes is None else genes)
        matrix = np.array([[gene in chosen for chosen in map(set, markers.values())] for gene in genes], dtype=bool)
        return cls(genes, tuple(markers), matrix.reshape(len(genes), len(markers)))

    def lists(self):
        """{cell type: names of its genes}, the reverse of `from_lists`."""
        return {kind: [self.genes[i] for i in np.flatnonzero(self.matrix[:, j])] for j, kind in enumerate(self.types)}

    def among(self, names):
        """(those of genes that are among `names`, the other genes).

        Raises FieldError where a type loses all its markers.
        """
        present = np.isin(self.genes, list(names))
        missing = [gene for gene, here in zip(self.genes, present, strict=True) if not here]
        left = Markers(tuple(np.array(self.genes, dtype=object)[present]), self.types, self.matrix[present])
        lost = self.matrix.any(0) & ~left.matrix.any(0)
        if lost.any():
            kind = self.types[int(lost.argmax())]
            wanted = self.lists()[kind]
            raise _error(f"None of the {len(wanted)} markers of '{kind}' is among the genes of the data, such as "
                         f"'{wanted[0]}'.", closest(wanted[0], names))
        return left, missing

    def _checked(self):
        if not self.matrix.any():
            raise _error("The table marks no gene.", "Put 1 where a gene is a marker of a cell type.")
        bare = np.flatnonzero(~self.matrix.any(0))
        if len(bare) > 1:                              # one may stand for "other"
            names = ", ".join(f"'{self.types[j]}'" for j in bare[:5])
            raise _error(f"{len(bare)} cell types have no markers: {names}. They cannot be told apart.",
                         "Give them markers; one type without any may stand for all others.")
        return self


def _zero_or_one(table):
    """(g, C) bool of a table."""
    try:
        values = table.to_numpy(dtype=float, na_value=np.nan)
    except (TypeError, ValueError):
        raise _error("The table of markers holds what are no numbers.", "Put 0 or 1 into each cell.") from None
    wrong = np.argwhere((values != 0) & (values != 1))
    if len(wrong):
        i, j = wrong[0]
        raise _error(f"The table of markers holds {values[i, j]:g} for gene '{table.index[i]}' and cell type "
                     f"'{table.columns[j]}'.", "Put 0 or 1 into each cell.")
    return values == 1


def _error(problem, hint):
    return FieldError("markers", problem=problem, hint=hint)
