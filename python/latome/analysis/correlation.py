"""Correlations of columns whose rows arrive in blocks, in float64."""

import numpy as np

__all__ = ["Pearson", "Spearman"]

CHUNK = 1 << 22                                        # float64 entries worked on at a time


class Pearson:
    """Correlations between columns, from their sums and products: memory holds (g, g), whatever the number of rows."""

    def __init__(self, n_rows, n_columns):
        self.n, self.origin = 0, None
        self.sums = np.zeros(n_columns)
        self.products = np.zeros((n_columns, n_columns))

    def add(self, rows):
        """Rows (m, g)."""
        if self.origin is None:
            self.origin = rows[0].astype(np.float64)   # sums of squares about it do not cancel, and constants give zero
        for part in np.array_split(rows, -(-rows.size // CHUNK)):
            part = part - self.origin
            self.n += len(part)
            self.sums += part.sum(0)
            self.products += part.T @ part

    def correlations(self):
        """(g, g) float64; NaN for a column that never changes."""
        return _correlations(self.products - np.outer(self.sums, self.sums) / self.n)


class Spearman:
    """Correlations between the ranks of columns, ties sharing their mean rank: memory holds all rows, as float32."""

    def __init__(self, n_rows, n_columns):
        self.values = np.empty((n_columns, n_rows), dtype=np.float32)
        self.n = 0

    def add(self, rows):
        """Rows (m, g)."""
        self.values[:, self.n:self.n + len(rows)] = rows.T
        self.n += len(rows)

    def correlations(self):
        """(g, g) float64; NaN for a column that never changes. The values are overwritten: this can be asked once."""
        for column in self.values:
            column[:] = _centred_ranks(column)
        products = np.zeros((len(self.values), len(self.values)))
        for part in np.array_split(self.values, -(-self.values.size // CHUNK), axis=1):
            part = part.astype(np.float64)
            products += part @ part.T
        return _correlations(products)


def _centred_ranks(values):
    """Ranks less their mean (n,); ties share their mean rank."""
    order = values.argsort(kind="stable")
    ordered = values[order]
    first = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    times = np.diff(np.append(first, len(values)))
    ranks = np.empty(len(values))
    ranks[order] = np.repeat(first + (times - 1) / 2, times)
    return ranks - (len(values) - 1) / 2


def _correlations(products):
    """(g, g) from centred sums of products."""
    sd = np.sqrt(np.diag(products))
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.clip(products / sd / sd[:, None], -1, 1)
    np.fill_diagonal(found, np.where(sd > 0, 1.0, np.nan))
    return found
