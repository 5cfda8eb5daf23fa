"""Windows of cells: what is read of them at once, and the next one read while this one is used."""

from threading import Thread

import numpy as np
import scipy.sparse as sp

from latome.data.values import tidied

__all__ = ["Window", "ahead", "grouped"]


class Window:
    """Counts of m cells in memory, in any order, handed out in parts.

    Arguments
    ---------
    csr : CSR that holds their rows, of any number type.
    places : (m,) the row of each cell; None for all as they are.
    columns : (g,) those of `csr` that are wanted, in this order; None for all.
    tidy : whether the genes of each row are known to be in order, one entry each.
    """

    def __init__(self, csr, places=None, columns=None, tidy=False):
        self.csr, self.places, self.columns, self.tidy = csr, places, columns, tidy

    def stored(self, start=None, stop=None):
        """CSR (stop - start, g) of the cells, of the type that holds them."""
        part = self.csr if self.places is None and start is stop is None else self._rows(start, stop)
        if self.columns is not None:
            part = part[:, self.columns]
        return part if self.tidy and self.columns is None or part.has_canonical_format else tidied(part)

    def cells(self, start=None, stop=None):
        """CSR (stop - start, g) of float32 counts without explicit zeros; a copy that may be kept."""
        part = self.stored(start, stop)
        data = part.data.astype(np.float32, copy=self.places is None)
        whole = data.all()
        part = sp.csr_matrix((data, part.indices, part.indptr), shape=part.shape, copy=not whole)
        if not whole:
            part.eliminate_zeros()
        return part

    def _rows(self, start, stop):
        return self.csr[start:stop] if self.places is None else self.csr[self.places[start:stop]]


class Coming:
    """What `make(item)` returns, made in a thread."""

    def __init__(self, make, item):
        self.make, self.item = make, item
        self.made, self.value, self.error = False, None, None
        self.thread = Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        try:
            self.value = self.make(self.item)
        except BaseException as error:  # noqa: BLE001 (raised again where it is waited for)
            self.error = error
        self.made = True

    def wait(self):
        """The value, or its error."""
        self.thread.join()
        if self.error is not None:
            raise self.error
        return self.value if self.made else self.make(self.item)       # a fork of the process has no such thread


def ahead(make, items):
    """Yields make(item) of each item, and makes the next one in a thread meanwhile; never more than one."""
    items, coming = list(items), None
    try:
        for i in range(len(items)):
            value = make(items[i]) if coming is None else coming.wait()
            coming = Coming(make, items[i + 1]) if i + 1 < len(items) else None
            yield value
            del value                                  # two windows at most are in memory
    finally:
        if coming is not None:
            coming.thread.join()


def grouped(bounds, size):
    """[(start, stop), ...] of minibatches in lists of at least `size` cells, but for the last."""
    group = []
    for bound in bounds:
        group.append(bound)
        if bound[1] - group[0][0] >= size:
            yield group
            group = []
    if group:
        yield group
