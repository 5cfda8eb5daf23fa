"""Counts that lie gene by gene come out cell by cell."""

import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp

from latome.data import by_gene
from latome.data.by_gene import cells_of_genes
from latome.data.entries import Slices

CSC = sp.random(101, 17, 0.3, format="csc", random_state=0, dtype=np.float32)
CSC.data = np.ceil(CSC.data * 300)


def blocks(csc, folder):
    """The blocks, and their starts."""
    parts = Slices(csc.data), Slices(csc.indices), csc.indptr, csc.shape
    return list(zip(*cells_of_genes(*parts, folder), strict=True))


@pytest.mark.parametrize(("entries", "pile", "most"), [(1 << 20, 1 << 22, 256), (7, 50, 256), (64, 1, 5), (1, 40, 101)])
def test_every_cell_comes_once_in_its_order(tmp_path, monkeypatch, entries, pile, most):
    for name, value in (("ENTRIES", entries), ("PILE", pile), ("MOST", most)):
        monkeypatch.setattr(by_gene, name, value)
    starts, parts = blocks(CSC, tmp_path)
    found = sp.vstack(parts, format="csr")
    np.testing.assert_array_equal(found.toarray(), CSC.toarray())
    assert found.has_canonical_format and found.dtype == np.float32
    assert list(starts) == [0, *np.cumsum([part.shape[0] for part in parts])[:-1]]
    assert len(parts) <= most and not list(tmp_path.iterdir())         # no pile is left


def test_no_counts_at_all(tmp_path):
    _, parts = blocks(sp.csc_matrix((5, 3)), tmp_path)
    assert sp.vstack(parts).shape == (5, 3) and sp.vstack(parts).nnz == 0


def test_memory_stays_flat(tmp_path, monkeypatch):
    monkeypatch.setattr(by_gene, "ENTRIES", 1 << 14)
    monkeypatch.setattr(by_gene, "PILE", 1 << 15)
    csc = sp.random(20000, 200, 0.3, format="csc", dtype=np.float32, random_state=0)       # 1.2e6 entries: 9.6 MB
    tracemalloc.start()
    try:
        for _ in cells_of_genes(Slices(csc.data), Slices(csc.indices), csc.indptr, csc.shape, tmp_path):
            pass
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 0.4 * (csc.data.nbytes + csc.indices.nbytes)
