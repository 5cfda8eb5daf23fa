"""Minibatches hold every cell once, as it is, whatever the order and the sizes."""

import numpy as np
import pytest
from examples import small_data

from latome.backend import torch
from latome.data import minibatches
from latome.data.minibatches import Minibatches, minibatch_bounds
from latome.data.registry import Columns, open_data


@pytest.mark.parametrize("size", [3, 4, 7, 128])
def test_bounds_cover_all_and_leave_no_tiny_one(size):
    assert minibatch_bounds(0, size) == []
    for n in range(1, 4 * size + 3):
        bounds = minibatch_bounds(n, size)
        sizes = [stop - start for start, stop in bounds]
        assert bounds[0][0] == 0 and bounds[-1][1] == n
        assert all(a[1] == b[0] for a, b in zip(bounds, bounds[1:]))
        assert set(sizes[:-1]) <= {size}
        assert len(bounds) == 1 or 3 <= sizes[-1] <= size + 2
        assert len(bounds) == max(1, n // size + (n % size > 2))


@pytest.fixture(scope="module")
def data():
    adata = small_data()
    adata.obsm["adt"] = np.arange(180.0).reshape(90, 2)
    return open_data(adata, Columns(batch="batch", labels="cell_type", categorical=("kit",), continuous=("age",),
                                    obsm=(("proteins", "adt"),)))


@pytest.mark.parametrize("block", [1, 10, 4096])
@pytest.mark.parametrize("size", [1, 7, 44, 500])
def test_cells_arrive_as_they_are(data, monkeypatch, block, size):
    monkeypatch.setattr(data.source, "window", None if block == 4096 else block)
    monkeypatch.setattr(minibatches, "GATHERED", 30 * block)
    rows = np.random.default_rng(0).permutation(90)[:71]
    batches = Minibatches(data, rows, size)
    order = np.random.default_rng(1).permutation(rows)
    for wanted, iterator in ((rows, iter(batches)), (order, batches.shuffled(order))):
        found = list(iterator)
        assert len(found) == len(batches)
        assert torch.cat([cells["index"] for cells in found]).tolist() == wanted.tolist()
        dense = torch.cat([cells["x"].dense() for cells in found]).numpy()
        np.testing.assert_array_equal(dense, data.source.csr[wanted].toarray())
        for name, values in (*data.codes.items(), ("categories", data.categories), ("continuous", data.continuous),
                             ("proteins", data.arrays["proteins"])):
            got = torch.cat([cells[name] for cells in found]).numpy()
            np.testing.assert_array_equal(got, values[wanted])
            assert got.dtype == values.dtype
        assert all(cells["x"].shape == (len(cells["index"]), 30) for cells in found)


def test_explicit_zeros_are_gone():
    adata = small_data(20, 10)
    adata.X.data[1::3] = 0
    data = open_data(adata)
    for cells in Minibatches(data, np.arange(20), 6):
        assert (cells["x"].values > 0).all()
        np.testing.assert_array_equal(cells["x"].dense(), adata.X[cells["index"].numpy()].toarray())
