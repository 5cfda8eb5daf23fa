"""Counts that R writes block by block and asks for in parts."""

import numpy as np
import pytest
import scipy.sparse as sp

from latome import bridge
from latome.data.registry import Columns, open_data
from latome.data.sources import open_counts


@pytest.fixture
def counts():
    """Cells x genes; cell 4 and gene 2 have no count."""
    values = np.random.default_rng(0).poisson(1.0, (9, 6)).astype(np.float64) + np.eye(9, 6)
    values[4], values[:, 2] = 0, 0
    return values


@pytest.fixture
def folder(counts, tmp_path):
    """The store of them, written in two blocks as R sends them."""
    genes = [f"g{i}" for i in range(6)]
    writer = bridge.begin_store(genes, str(tmp_path / "store"), "counts")["writer"]
    for block in (counts[:5], counts[5:]):
        csc = sp.csc_matrix(block.T)
        assert bridge.add_to_store(writer, csc.data, csc.indices, csc.indptr, len(block))["ok"]
    return bridge.finish_store(writer, [f"c{i}" for i in range(9)], genes, {})["path"]


def part(folder, rows, genes, cells, columns=()):
    answer = bridge.part_of_stream(folder, np.asarray(rows, dtype=np.int32), genes, np.asarray(cells, dtype=np.int32),
                                   dict(columns))
    assert answer["ok"], answer
    return answer["data"]


def test_a_part_has_the_genes_and_cells_asked_for_in_their_order(folder, counts):
    data = part(folder, [5, 0, 3], ["f", "a", "d"], [8, 1, 2])
    assert list(data.var_names) == ["f", "a", "d"] and list(data.obs_names) == ["c8", "c1", "c2"]
    np.testing.assert_array_equal(open_counts(data).take(np.arange(3)).toarray(), counts[np.ix_([8, 1, 2], [5, 0, 3])])


def test_absent_genes_are_zeros(folder, counts):
    data = part(folder, [-1, 3, -1, 1], ["x", "d", "y", "b"], np.arange(9))
    wanted = np.zeros((9, 4))
    wanted[:, [1, 3]] = counts[:, [3, 1]]
    source = open_counts(data)
    np.testing.assert_array_equal(source.take(np.arange(9)).toarray(), wanted)
    np.testing.assert_array_equal(source.totals(), wanted.sum(axis=1))
    np.testing.assert_array_equal(source.detected(), wanted.any(axis=0))


def test_columns_go_to_their_cells(folder):
    columns = {"donor": {"codes": np.array([1, 0, -1]), "levels": ["a", "b"]}, "age": {"values": np.array([1.5, 2, 3])}}
    data = part(folder, np.arange(6), [f"g{i}" for i in range(6)], [7, 0, 3], columns)
    assert list(data.obs["donor"].astype(object).fillna("none")) == ["b", "a", "none"]
    np.testing.assert_array_equal(data.obs["age"], [1.5, 2, 3])


def test_it_is_data_to_train_on(folder, counts):
    columns = {"donor": {"codes": np.array([0, 1] * 4), "levels": ["a", "b"]}}
    kept = np.delete(np.arange(9), 4)
    data = part(folder, [0, 1, 3, 4, 5], list("abdef"), kept, columns)
    opened = open_data(data, Columns(batch="donor"))
    assert opened.registry.n_genes == 5 and len(opened.totals) == 8
    np.testing.assert_allclose(opened.totals, counts[kept].sum(axis=1))


@pytest.mark.parametrize(("what", "rows", "places"), [
    ("cells", [0, 1, 2, 3, 4, 5], [4]), ("genes", [0, 1, 2, 3, 4, 5], [2]), ("genes", [2, -1, 0], [0, 1]),
    ("cells", [2], list(range(9)))])
def test_what_has_no_count_is_told(folder, what, rows, places):
    data = part(folder, rows, [f"n{i}" for i in range(len(rows))], np.arange(9))
    assert bridge.silent(data, what)["places"].tolist() == places
