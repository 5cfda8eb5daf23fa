"""A sparse minibatch against the dense array that it stands for."""

import numpy as np
import pytest

from latome.backend import torch
from latome.kernels.sparse import SparseCounts

DENSE = {
    "ordinary": [[0, 2, 0, 1], [3, 0, 0, 0], [0, 5, 7, 0]],
    "an empty cell first, between and last": [[0, 0], [1, 0], [0, 0], [0, 4], [0, 0]],
    "one cell": [[0, 0, 9]],
    "one gene": [[1], [0], [2]],
    "nothing at all": [[0, 0], [0, 0]],
    "no zeros": [[1, 2], [3, 4]],
}


@pytest.fixture(params=DENSE)
def dense(request):
    return torch.tensor(DENSE[request.param], dtype=torch.float32)


def test_round_trip_and_sums(dense):
    counts = SparseCounts.from_dense(dense)
    again = SparseCounts(counts.indptr, counts.indices, counts.values, dense.shape[1])      # nothing kept from before
    assert again.shape == tuple(dense.shape)
    assert torch.equal(again.dense(), dense)
    assert torch.equal(again.totals(), dense.sum(1))
    assert torch.equal(again.log1p().dense(), dense.log1p())
    assert torch.equal(again.row_sums(again.values ** 2), (dense ** 2).sum(1))
    assert torch.equal(again.rows, dense.nonzero()[:, 0])
    assert torch.equal(dense.reshape(-1)[again.positions], again.values)
    assert again.double().dense().dtype == torch.float64
    assert torch.equal(again.to("cpu").dense(), dense)


def test_any_range_of_cells(dense):
    counts = SparseCounts.from_dense(dense)
    m = dense.shape[0]
    for start in range(m):
        for stop in range(start + 1, m + 1):
            part = counts.cells(start, stop)
            assert torch.equal(part.dense(), dense[start:stop])
            assert torch.equal(part.totals(), dense[start:stop].sum(1))


def test_a_range_shares_memory():
    counts = SparseCounts.from_dense(torch.tensor(DENSE["ordinary"]))
    part = counts.cells(1, 3)
    assert np.shares_memory(part.values.numpy(), counts.values.numpy())
    assert np.shares_memory(part.indices.numpy(), counts.indices.numpy())
