"""A minibatch of counts in compressed sparse rows."""

from latome.backend import torch

__all__ = ["SparseCounts"]


class SparseCounts:
    """Counts of m cells and g genes, zeros left out.

    Arguments
    ---------
    indptr : (m + 1,) int64, where each cell's entries begin and end.
    indices : (nnz,) int64, genes.
    values : (nnz,) float, counts; positive: explicit zeros are not allowed.
    n_genes : g.
    """

    __slots__ = ("_dense", "_positions", "_rows", "indices", "indptr", "n_genes", "values")

    def __init__(self, indptr, indices, values, n_genes):
        self.indptr = indptr
        self.indices = indices
        self.values = values
        self.n_genes = n_genes
        self._rows = None
        self._positions = None
        self._dense = None

    @classmethod
    def from_dense(cls, x):
        """The same counts from a dense (m, g) tensor."""
        kept = x != 0
        rows, indices = kept.nonzero(as_tuple=True)
        indptr = torch.zeros(x.shape[0] + 1, dtype=torch.int64, device=x.device)
        indptr[1:] = kept.sum(1).cumsum(0)
        counts = cls(indptr, indices, x[rows, indices], x.shape[1])
        counts._rows, counts._dense = rows, x
        return counts

    @property
    def shape(self):
        """(m, g)."""
        return (self.indptr.shape[0] - 1, self.n_genes)

    @property
    def device(self):
        return self.values.device

    @property
    def rows(self):
        """(nnz,) int64: the cell of each entry."""
        if self._rows is None:
            m = self.shape[0]
            self._rows = torch.repeat_interleave(
                torch.arange(m, device=self.device), self.indptr.diff(), output_size=self.values.shape[0]
            )
        return self._rows

    @property
    def positions(self):
        """(nnz,) int64: where each entry stands in the flattened (m, g) array."""
        if self._positions is None:
            self._positions = self.rows * self.n_genes + self.indices
        return self._positions

    def cells(self, start, stop):
        """Cells start to stop as views of the same arrays."""
        a, b = int(self.indptr[start]), int(self.indptr[stop])
        part = SparseCounts(self.indptr[start:stop + 1] - a, self.indices[a:b], self.values[a:b], self.n_genes)
        part._rows = self.rows[a:b] - start
        return part

    def scatter(self, values):
        """A dense (m, g) tensor holding `values` (nnz,) at the entries and zero elsewhere."""
        m, g = self.shape
        dense = torch.zeros(m * g, dtype=values.dtype, device=self.device)
        return dense.scatter_(0, self.positions, values).view(m, g)

    def dense(self):
        """The counts as a dense (m, g) tensor (kept, so asking again costs nothing)."""
        if self._dense is None:
            self._dense = self.scatter(self.values)
        return self._dense

    @property
    def density(self):
        """Share of the (m, g) array that holds an entry."""
        m, g = self.shape
        return self.values.shape[0] / max(1, m * g)

    def log1p(self):
        """log(1 + x), as SparseCounts; the logarithm is taken at the entries only."""
        logs = SparseCounts(self.indptr, self.indices, self.values.log1p(), self.n_genes)
        logs._rows, logs._positions = self._rows, self._positions
        return logs

    def totals(self):
        """(m,): the sum of each cell's counts."""
        zero = torch.zeros(self.shape[0], dtype=self.values.dtype, device=self.device)
        return zero.index_add_(0, self.rows, self.values)

    def row_sums(self, values):
        """(m,): `values` (nnz,) summed within each cell."""
        zero = torch.zeros(self.shape[0], dtype=values.dtype, device=self.device)
        return zero.index_add_(0, self.rows, values)

    def to(self, device):
        """The same counts on another device."""
        return SparseCounts(self.indptr.to(device), self.indices.to(device), self.values.to(device), self.n_genes)

    def double(self):
        """The same counts with float64 values."""
        return SparseCounts(self.indptr, self.indices, self.values.double(), self.n_genes)
