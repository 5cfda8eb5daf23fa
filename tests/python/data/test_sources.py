"""Counts of every storage are read alike, and R's memory is read where it lies."""

import anndata
import numpy as np
import pytest
import scipy.sparse as sp

from latome.data.registry import open_data
from latome.data.sources import CountSource, closest, count_matrix, rows_of_matrix
from latome.errors import FieldError

N, G = 20, 9
GENERATOR = np.random.default_rng(0)
DENSE = (GENERATOR.poisson(1.0, (N, G)) * (GENERATOR.random((N, G)) < 0.6)).astype(np.float64)
DENSE[:, 0] += 1                                       # no empty cell


def untidy(dense):
    """CSR with genes out of order, entries in two parts and explicit zeros."""
    rows, columns = dense.nonzero()
    first = np.ones(rows.size)
    rows, columns = np.r_[rows, rows, np.arange(N)], np.r_[columns, columns, np.full(N, G - 1)]
    values = np.r_[first, dense[dense != 0] - 1, np.zeros(N)]
    order = np.lexsort((GENERATOR.random(rows.size), rows))            # by cell, genes shuffled
    indptr = np.r_[0, np.bincount(rows, minlength=N).cumsum()]
    return sp.csr_matrix((values[order], columns[order], indptr), shape=dense.shape)


FORMS = {
    "CSR": sp.csr_matrix, "CSC": sp.csc_matrix, "CSR array": sp.csr_array, "array": np.asarray,
    "Fortran order": np.asfortranarray, "untidy CSR": untidy,
    **{dtype: lambda d, dtype=dtype: d.astype(dtype) for dtype in ("float32", "int64", "uint8", "int16")},
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("place", ["X", "layer"])
def test_every_storage_gives_the_same_counts(name, place):
    if name == "CSR array" and not hasattr(anndata, "io"):
        pytest.skip("this anndata holds no sparse arrays")
    made = FORMS[name](DENSE)
    before = made.copy()
    adata = anndata.AnnData(made) if place == "X" else anndata.AnnData(np.ones((N, G)), layers={"raw": made})
    csr = count_matrix(adata, None if place == "X" else "raw")
    np.testing.assert_array_equal(csr.toarray(), DENSE)
    source = CountSource(csr)
    source.check()
    np.testing.assert_array_equal(source.totals(), DENSE.sum(1))
    np.testing.assert_array_equal(source.detected(), DENSE.any(0))
    rows = np.array([7, 0, 19, 7])
    part = source.take(rows)
    np.testing.assert_array_equal(part.toarray(), DENSE[rows])
    assert part.data.all() and part.dtype == np.float32                # no explicit zeros
    assert part.nnz == (DENSE[rows] != 0).sum()                        # one entry each: the kernels count on it
    np.testing.assert_array_equal(source.genes(np.array([8, 2, 3])).csr.toarray(), DENSE[:, [8, 2, 3]])
    if sp.issparse(made):                              # what was given is left as it was
        np.testing.assert_array_equal(made.data, before.data)
        np.testing.assert_array_equal(made.indices, before.indices)


def test_counts_of_r_are_shared_not_copied():
    csr = sp.csr_matrix(DENSE)
    x, i, p = csr.data, csr.indices.astype(np.int32), csr.indptr.astype(np.int32)
    for values in (x, i, p):
        values.flags.writeable = False                 # as reticulate hands them over
    adata = anndata.AnnData(sp.csr_matrix((x, i, p), shape=(N, G), copy=False))
    for genes in (None, list(adata.var_names)):
        source = open_data(adata, genes=genes).source
        assert np.shares_memory(source.csr.data, x) and np.shares_memory(source.csr.indices, i)
    assert not np.shares_memory(open_data(adata, genes=list(adata.var_names[:4])).source.csr.data, x)


@pytest.mark.parametrize(("value", "message"), [
    (np.nan, "missing or infinite"), (1e39, "beyond 1e.30"), (np.inf, "missing or infinite"), (-1, "negative values"),
    (0.5, "not whole numbers")])
@pytest.mark.parametrize("position", [0, -1])
def test_one_bad_entry_is_found_wherever_it_is(value, message, position, monkeypatch):
    monkeypatch.setattr("latome.data.sources.CHUNK", 7)                # several parts
    csr = sp.csr_matrix(DENSE)
    csr.data[position] = value
    with pytest.raises(FieldError, match=message) as caught:
        CountSource(csr, "layer 'raw'").check()
    assert caught.value.problem.startswith("layer 'raw' ")


def test_fractions_may_be_allowed():
    csr = sp.csr_matrix(DENSE + 0.5)
    CountSource(csr).check(allow_noninteger=True)
    with pytest.raises(FieldError, match="negative"):
        CountSource(-csr).check(allow_noninteger=True)


@pytest.mark.parametrize(("name", "candidates", "said"), [
    ("doner", ["donor", "batch"], "Did you mean 'donor'?"), ("zzz", ["a", "b"], "There is 'a', 'b'."),
    ("zzz", [], "There is none."), ("zzz", [f"c{i}" for i in range(20)], "'c11' ..."), (3, ["a"], "'a'")])
def test_suggestions(name, candidates, said):
    assert said in closest(name, candidates)


def test_entries_of_one_byte_are_summed_without_overflow():
    twice = sp.csr_matrix((np.array([200, 200], np.uint8), np.array([0, 0]), np.array([0, 2])), shape=(1, 2))
    assert count_matrix(anndata.AnnData(twice)).toarray().tolist() == [[400, 0]]


def test_pointers_wider_than_indices_cost_no_copy_of_the_indices():
    csr = sp.csr_matrix(DENSE)
    csr.indptr = csr.indptr.astype(np.int64)           # as some files hold them
    source = CountSource(count_matrix(anndata.AnnData(csr)))
    assert source.csr.indptr.dtype == source.csr.indices.dtype and np.shares_memory(source.csr.indices, csr.indices)
    np.testing.assert_array_equal(source.take([3, 1]).toarray(), DENSE[[3, 1]])


@pytest.mark.parametrize("form", ["csr", "csc"])
@pytest.mark.parametrize("part, place, value", [("indices", 3, 99), ("indices", 0, -1), ("indptr", 2, 1000)])
def test_a_damaged_matrix_is_refused(form, part, place, value):
    counts = sp.random(12, 8, 0.5, format=form, random_state=0)
    counts.data[:] = 2.0
    getattr(counts, part)[place] = value
    with pytest.raises(FieldError, match="damaged"):
        rows_of_matrix(counts)
