"""Counts in a file: the same as in memory, read block by block."""

import tracemalloc

import anndata
import h5py
import numpy as np
import pytest
import scipy.sparse as sp
from examples import opened, options, small_data, trained

from latome.analysis.latent import latent
from latome.analysis.likelihood import elbo
from latome.data import entries, on_disk, values
from latome.data.entries import Slices, runs_of
from latome.data.on_disk import DenseRows, DiskCounts, SparseRows
from latome.data.registry import Columns, open_data
from latome.data.selection import select_genes
from latome.data.sources import CountSource, count_matrix, mark_of, open_counts, read_h5ad
from latome.errors import FieldError
from latome.fit import fit

N, G = 60, 9
GENERATOR = np.random.default_rng(0)
DENSE = GENERATOR.poisson(1.0, (N, G)) * (GENERATOR.random((N, G)) < 0.6) * 1.0
DENSE[5:8] = 0
DENSE[:, 4] = 0
ROWS = np.array([7, 0, 59, 7, 31, 30, 6])


def untidy(dense):
    """CSR with genes out of order, entries in two parts and explicit zeros."""
    rows, columns = dense.nonzero()
    values = np.r_[np.ones(rows.size), dense[dense != 0] - 1, np.zeros(N)]
    rows, columns = np.r_[rows, rows, np.arange(N)], np.r_[columns, columns, np.full(N, G - 1)]
    order = np.lexsort((GENERATOR.random(rows.size), rows))
    return sp.csr_matrix((values[order], columns[order], np.r_[0, np.bincount(rows).cumsum()]), shape=dense.shape)


FORMS = {"CSR": sp.csr_matrix, "array": np.asarray, "untidy CSR": untidy,
         **{dtype: lambda d, dtype=dtype: sp.csr_matrix(d.astype(dtype)) for dtype in ("int64", "uint8", "bool")},
         **{f"dense {dtype}": lambda d, dtype=dtype: d.astype(dtype) for dtype in ("float16", "uint16", ">f4")}}


def written(folder, adata, **how):
    """The same data, backed by a file."""
    adata.write_h5ad(folder / "cells.h5ad", **how)
    return anndata.read_h5ad(folder / "cells.h5ad", backed="r")


@pytest.fixture(params=[(1 << 22, 1 << 12), (10, 0), (40, 12)], ids=["whole", "pieces", "runs"])
def pieces(request, monkeypatch):
    """Sizes of what is read at a time: all, a few entries, some rows."""
    for module in (entries, values):
        monkeypatch.setattr(module, "CHUNK", request.param[0])
    for module, name in ((entries, "GAP"), (on_disk, "GAP"), (on_disk, "NEAR")):
        monkeypatch.setattr(module, name, request.param[1])


@pytest.mark.parametrize("compression", [None, "gzip"])
@pytest.mark.parametrize("form", FORMS)
def test_a_file_holds_the_same_counts_as_memory(tmp_path, form, compression, pieces):
    dense = DENSE != 0 if form == "bool" else DENSE
    adata = written(tmp_path, anndata.AnnData(FORMS[form](dense)), compression=compression)
    source = open_counts(adata)
    assert isinstance(source, DiskCounts) and source.shape == (N, G)
    genes = np.array([8, 2, 3, 0])
    for found, wanted in ((source, dense), (source.genes(genes), dense[:, genes]),
                          (source.genes(genes).genes([2, 1]), dense[:, [3, 2]])):
        found.check()
        np.testing.assert_array_equal(found.totals(), wanted.sum(1))
        np.testing.assert_array_equal(found.detected(), wanted.any(0))
        for rows in (ROWS, np.arange(N), np.arange(3, 20), np.array([], dtype=int), np.array([59], dtype=np.int32)):
            part = found.take(rows)
            np.testing.assert_array_equal(part.toarray(), wanted[rows])
            assert part.dtype == np.float32 and part.nnz == (wanted[rows] != 0).sum() and part.has_canonical_format


def test_a_layer_in_a_file(tmp_path):
    written(tmp_path, anndata.AnnData(np.ones((N, G)), layers={"raw": sp.csr_matrix(DENSE), "dense": DENSE}))
    with h5py.File(tmp_path / "cells.h5ad") as file:
        from_group = anndata.experimental.sparse_dataset if not hasattr(anndata, "io") else anndata.io.sparse_dataset
        layers = {"raw": from_group(file["layers/raw"]), "dense": file["layers/dense"]}
        adata = anndata.AnnData(np.ones((N, G)), layers=layers)
        for layer in layers:
            source = open_counts(adata, layer)
            assert isinstance(source, DiskCounts) and source.name == f"layer '{layer}'"
            np.testing.assert_array_equal(source.take(ROWS).toarray(), DENSE[ROWS])
    backed = read_h5ad(tmp_path / "cells.h5ad", backed="r")            # anndata has read the layers
    assert isinstance(open_counts(backed, "raw"), CountSource) and isinstance(open_counts(backed), DiskCounts)


@pytest.mark.parametrize("form", ["CSR", "array"])
def test_a_view_reads_its_part_of_the_file(tmp_path, form, pieces):
    adata = written(tmp_path, anndata.AnnData(FORMS[form](DENSE)))
    names = adata.var_names
    for rows, columns in ((slice(5, 40), slice(None)), ([41, 3, 17], names[[7, 1]]), (np.arange(N) % 2 == 0, names)):
        source = open_counts(adata[rows, columns])
        wanted = DENSE[rows][:, names.get_indexer(names[columns] if isinstance(columns, slice) else columns)]
        assert isinstance(source, DiskCounts)
        np.testing.assert_array_equal(source.totals(), wanted.sum(1))
        np.testing.assert_array_equal(source.take([2, 0, 1]).toarray(), wanted[[2, 0, 1]])
        np.testing.assert_array_equal(source.genes([1, 0]).take([1]).toarray(), wanted[[1]][:, [1, 0]])


@pytest.mark.parametrize(("value", "message"), [
    (np.nan, "missing or infinite"), (np.inf, "missing or infinite"), (-1, "negative"), (0.5, "not whole numbers")])
@pytest.mark.parametrize("form", ["CSR", "array"])
@pytest.mark.parametrize("row", [0, N - 1])
def test_one_bad_entry_is_found_wherever_it_is(tmp_path, value, message, form, row, pieces):
    spoilt = DENSE.copy()
    spoilt[row, 3] = value
    source = open_counts(written(tmp_path, anndata.AnnData(FORMS[form](spoilt))))
    with pytest.raises(FieldError, match=f"X holds .*{message}"):
        source.check()
    source.genes([0, 1, 2]).check()
    if value == 0.5:
        source.check(allow_noninteger=True)
        np.testing.assert_array_equal(source.totals(), spoilt.sum(1))


class Watched:
    """A dataset that remembers what was read of it."""

    def __init__(self, values, chunks=None):
        self.values, self.chunks, self.read = values, chunks, []
        self.dtype, self.shape = values.dtype, values.shape

    def __getitem__(self, place):
        self.read.append((place.start, place.stop))
        return self.values[place]


def test_the_checks_read_the_file_once(monkeypatch):
    monkeypatch.setattr(values, "CHUNK", 25)
    csr = sp.csr_matrix(DENSE)
    data = Watched(csr.data)
    source = DiskCounts(SparseRows(Slices(data), Slices(csr.indices), csr.indptr, G))
    source.check(allow_noninteger=True)
    source.check()
    np.testing.assert_array_equal(source.totals(), DENSE.sum(1))
    np.testing.assert_array_equal(source.detected(), DENSE.any(0))
    ends = [0, *(stop for _, stop in data.read)]
    assert [start for start, _ in data.read] == ends[:-1] and ends[-1] == csr.nnz          # each entry once, in order
    assert 3 < len(data.read) and max(np.diff(ends)) < 25 + G


@pytest.mark.parametrize("chunk", [1, 50])
def test_neighbours_are_read_at_once_and_never_more_than_a_chunk_of_memory(monkeypatch, chunk):
    monkeypatch.setattr(on_disk, "NEAR", 0)
    monkeypatch.setattr(entries, "GAP", 12)
    monkeypatch.setattr(entries, "CHUNK", 100)
    csr = sp.csr_matrix(DENSE)
    data = Watched(csr.data, (chunk,))
    source = DiskCounts(SparseRows(Slices(data), Slices(csr.indices), csr.indptr, G))
    rows = np.random.default_rng(3).permutation(N)[:25]
    np.testing.assert_array_equal(source.take(rows).toarray(), DENSE[rows])
    assert len(data.read) < (20 if chunk == 1 else 8) and all(stop - start <= 100 for start, stop in data.read)
    gaps = [start - stop for (_, stop), (start, _) in zip(data.read, data.read[1:])]
    assert all(gap >= 0 for gap in gaps)


def test_runs():
    begins, ends = np.array([0, 10, 30, 40]), np.array([10, 20, 40, 50])
    assert runs_of(begins, ends, 0) == [(0, 2), (2, 4)]
    assert runs_of(begins, ends, 10) == [(0, 4)]
    assert runs_of(begins[:0], ends[:0], 5) == []


class Far:
    """A dataset of 6e9 entries, of which only some near its end exist."""

    chunks, shape = None, (6 * 10**9,)

    def __init__(self, values, start):
        self.values, self.start, self.dtype = values, start, values.dtype

    def __getitem__(self, place):
        assert place.start >= self.start and isinstance(int(place.stop), int)
        return self.values[place.start - self.start:place.stop - self.start]


def test_entries_beyond_two_to_the_31():
    csr, start = sp.csr_matrix(DENSE), 5 * 10**9
    indptr = np.r_[0, csr.indptr.astype(np.int64) + start]             # row 0 is the huge one before
    store = SparseRows(Slices(Far(csr.data, start)), Slices(Far(csr.indices, start)), indptr, G)
    source = DiskCounts(store)
    part = source.take(ROWS.astype(np.int32) + 1)
    np.testing.assert_array_equal(part.toarray(), DENSE[ROWS])
    assert part.indptr.dtype == np.int32                               # a block counts from its own beginning
    rest = DiskCounts(store, rows=np.arange(1, N + 1))
    np.testing.assert_array_equal(rest.totals(), DENSE.sum(1))

    class Tall(Far):
        shape = (3 * 10**6, 2000)

        def __getitem__(self, place):
            return self.values[:1] if place.start is None else super().__getitem__(place)

    tall = DenseRows(Tall(np.eye(3, 2000), 3 * 10**6 - 3))
    assert tall.offsets[-1] == 6 * 10**9
    part = DiskCounts(tall).take(np.int32([2999999, 2999997]))
    np.testing.assert_array_equal(part.toarray(), np.eye(3, 2000)[[2, 0]])


def test_csr_in_memory_with_long_pointers():
    csr = sp.csr_matrix(DENSE)
    csr.indptr, csr.indices = csr.indptr.astype(np.int64), csr.indices.astype(np.int64)
    source = CountSource(csr)
    np.testing.assert_array_equal(source.totals(), DENSE.sum(1))
    np.testing.assert_array_equal(source.take(ROWS).toarray(), DENSE[ROWS])


def test_what_cannot_be_read_by_cell(tmp_path):
    by_gene = written(tmp_path, anndata.AnnData(sp.csc_matrix(DENSE)))
    with pytest.raises(FieldError, match="gene by gene") as caught:
        open_data(by_gene)
    assert "to_memory()" in caught.value.hint and "prepare_store(path, folder)" in caught.value.hint
    np.testing.assert_array_equal(count_matrix(by_gene.to_memory()).toarray(), DENSE)


def test_a_file_that_was_closed(tmp_path):
    adata = written(tmp_path, small_data())
    data = opened(adata)
    adata.file.close()
    with pytest.raises(FieldError, match="file that holds X was closed") as caught:
        data.source.take([0])
    assert "backed='r'" in caught.value.hint
    assert opened(adata).source.take([0]).shape == (1, 30)             # asked for X, anndata opens the file again


def test_counts_in_memory_are_asked_for_where_they_are_needed(tmp_path):
    with pytest.raises(FieldError, match="are in a file") as caught:
        count_matrix(written(tmp_path, anndata.AnnData(DENSE)))
    assert "to_memory" in caught.value.hint


@pytest.mark.parametrize("chunk", [(1, 2), (32, 1)])
def test_a_shuffle_takes_each_cell_once_and_keeps_neighbours_near(monkeypatch, chunk):
    monkeypatch.setattr(on_disk, "WINDOW", (256, 256))
    monkeypatch.setattr(on_disk, "RUNS", 8)
    source = DiskCounts(DenseRows(Watched(np.zeros((5000, 2)), chunk)))
    rows = np.random.default_rng(1).permutation(5000)[:4321]
    orders = [source.shuffled(rows, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    for order in orders:
        np.testing.assert_array_equal(np.sort(order), np.sort(rows))
    assert (orders[0] == orders[1]).all() and (orders[0] != orders[2]).any()
    run = max(16, chunk[0])
    for start in range(0, 4000, 256):                                  # each window: runs from everywhere
        window = np.sort(orders[0][start:start + 256])
        assert len(np.unique(window // run)) < 1.5 * 256 / run + 2 and window[0] < 2000 and window[-1] > 3000
        assert abs(np.corrcoef(np.arange(256), orders[0][start:start + 256])[0, 1]) < 0.3


@pytest.mark.parametrize("form", ["CSR", "array"])
def test_a_model_asks_a_file_as_it_asks_memory(tmp_path, form):
    adata = small_data()
    model = trained(opened(adata))
    if form == "array":
        adata.X = adata.X.toarray()
    backed = written(tmp_path, adata)
    data = open_data(backed, registry=model.registry)
    memory = open_data(adata, registry=model.registry)
    np.testing.assert_array_equal(latent(model.module, data), latent(model.module, memory))
    np.testing.assert_array_equal(data.totals, memory.totals)
    assert np.isfinite(elbo(model.module, data))
    view = open_data(backed[::-3], registry=model.registry)
    np.testing.assert_allclose(latent(model.module, view), latent(model.module, memory)[::-3], rtol=1e-5, atol=1e-5)


def test_training_on_a_file_learns_as_training_in_memory(tmp_path):
    adata = small_data(400)
    found = []
    for data in (opened(adata), opened(written(tmp_path, adata))):
        model = fit("scvi", data, options(max_epochs=15))
        found.append(elbo(model.module, opened(adata)))
        assert model.registry.genes == tuple(adata.var_names)
    untaught = elbo(fit("scvi", opened(adata), options(max_epochs=1)).module, opened(adata))
    assert abs(found[0] - found[1]) < 0.1 * (min(found) - untaught)


def test_a_shuffle_of_a_view_follows_the_file():
    store = DenseRows(Watched(np.zeros((500, 2))))
    turned = DiskCounts(store, rows=np.arange(500)[::-1])
    order = turned.shuffled(np.arange(100, 300), np.random.default_rng(0))
    np.testing.assert_array_equal(np.sort(order), np.arange(100, 300))


def test_windows_hold_many_runs_and_a_bounded_number_of_entries():
    for filled, chunk in ((20, 1), (200, 40000), (2000, 10**6), (50000, 100)):
        offsets = np.arange(10**5 + 1) * filled
        nothing = Watched(np.zeros(0), (chunk,))
        source = DiskCounts(SparseRows(Slices(nothing), Slices(nothing), offsets, 60000))
        assert 4096 <= source.window <= 32768 and (source.window == 4096 or source.window * filled <= 1 << 22)
        assert 16 <= source._run / filled <= max(16, source.window / on_disk.RUNS)
    dense = DiskCounts(DenseRows(Watched(np.eye(5000, 3000), (300, 50))))
    assert dense.window == 32768 and dense._run == 256 * 3000          # one count a cell: many may be kept


def test_memory_stays_flat(tmp_path, monkeypatch):
    for module in (entries, values):
        monkeypatch.setattr(module, "CHUNK", 1 << 16)
    n, g = 20000, 200
    x = sp.random(n, g, 0.4, format="csr", dtype=np.float32, random_state=0)               # 1.6e6 entries: 12.8 MB
    x.data = np.ceil(x.data * 5)
    adata = written(tmp_path, anndata.AnnData(x))
    size = x.data.nbytes + x.indices.nbytes
    del x
    tracemalloc.start()
    try:
        source = open_counts(adata)
        source.check()
        order = source.shuffled(np.arange(n), np.random.default_rng(0))
        for start in range(0, n, 1000):
            source.take(order[start:start + 1000])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 0.35 * size


def test_genes_are_selected_from_a_file(tmp_path):
    adata = small_data(300, 60)
    assert select_genes(written(tmp_path, adata), 20, batch="batch") == select_genes(adata, 20, batch="batch")


@pytest.mark.parametrize("form", ["CSR", "array", "CSC"])
def test_a_mark_tells_changed_counts(form):
    adata = anndata.AnnData({**FORMS, "CSC": sp.csc_matrix}[form](DENSE))
    source = open_counts(adata)
    assert mark_of(adata) == source.mark == source.genes([0, 2]).mark == mark_of(adata.copy())
    entry = adata.X.data if sp.issparse(adata.X) else adata.X[3]
    entry[-1] += 1
    assert mark_of(adata) != source.mark
    entry[-1] -= 1
    assert mark_of(adata) == source.mark
    adata._inplace_subset_obs(np.arange(N) != 9)
    assert mark_of(adata) != source.mark


def test_a_mark_of_large_counts_looks_at_some(monkeypatch):
    monkeypatch.setattr("latome.data.sources.LOOKED_AT", 20)
    for matrix in (sp.csr_matrix(DENSE), DENSE.copy()):
        adata = anndata.AnnData(matrix)
        before = mark_of(adata)
        if sp.issparse(adata.X):
            np.log1p(adata.X.data, out=adata.X.data)
        else:
            np.log1p(adata.X, out=adata.X)
        assert mark_of(adata) != before


def test_a_view_that_does_not_tell_its_place(tmp_path):
    class View:
        isbacked = is_view = True
        layers = {}

    with pytest.raises(FieldError, match="a view of an AnnData that is backed") as caught:
        open_counts(View())
    assert "to_memory" in caught.value.hint


def test_columns_of_a_file_are_checked(tmp_path):
    adata = small_data()
    data = open_data(written(tmp_path, adata), Columns(batch="batch", categorical=("kit",)))
    assert data.registry.category_sizes == (2, 3)
    adata.X = adata.X.toarray()
    adata.X[4] = 0
    (tmp_path / "empty").mkdir()
    with pytest.raises(FieldError, match="1 cells have no counts"):
        open_data(written(tmp_path / "empty", adata))
