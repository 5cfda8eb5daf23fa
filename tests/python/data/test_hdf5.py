"""Datasets read past the HDF5 library hold what the library reads, and where that cannot be it is not tried."""

import h5py
import numpy as np
import pytest

from latome.backend import torch
from latome.data.entries import Slices
from latome.data.hdf5 import FileEntries, direct_entries, entries_of
from latome.errors import FieldError

N = 10007
GENERATOR = np.random.default_rng(0)
STORED = {
    "contiguous": {}, "chunks": {"chunks": (512,)}, "gzip": {"chunks": (512,), "compression": "gzip"},
    "shuffled": {"chunks": (512,), "compression": "gzip", "compression_opts": 9, "shuffle": True},
    "one chunk": {"chunks": (N,), "compression": "gzip"}, "large chunk": {"chunks": (3 * 512,), "compression": "gzip"},
}
NOT_DIRECT = {
    "lzf": {"compression": "lzf"}, "checksums": {"compression": "gzip", "fletcher32": True},
    "scaled": {"scaleoffset": 3}, "text": {"dtype": "S4"}, "empty": {"shape": (0,)},
    "not written": {"shape": (N,), "chunks": (64,)},
}


def written(path, values=None, mode="r", **how):
    """The dataset, in a file opened again."""
    with h5py.File(path, "w") as file:
        if "shape" in how:
            file.create_dataset("x", **how)
        else:
            file.create_dataset("x", data=values, **how)
    return h5py.File(path, mode)["x"]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("dtype", ["int32", "uint8", "float32", "float64", ">i2", "float16", "bool"])
@pytest.mark.parametrize("name", STORED)
def test_ranges_hold_what_the_library_reads(tmp_path, name, dtype, threads, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    values = GENERATOR.integers(0, 2 if dtype == "bool" else 100, N).astype(dtype)
    dataset = written(tmp_path / "x.h5", values, **STORED[name])
    source = entries_of(dataset)
    assert isinstance(source, FileEntries) and source and source.dtype == dataset.dtype
    cuts = np.sort(GENERATOR.integers(0, N, 60)).reshape(-1, 2)
    for bounds in (cuts, np.array([[0, N]]), np.array([[0, 1], [1, 512], [512, 513], [1024, 1024], [N - 1, N]]),
                   np.zeros((0, 2), dtype=np.int64)):
        found = source.read(bounds[:, 0], bounds[:, 1])
        np.testing.assert_array_equal(found, np.concatenate([values[:0], *(values[a:b] for a, b in bounds)]))
    dataset.file.close()
    assert not source


def test_a_matrix_in_one_piece_is_read_as_a_long_array(tmp_path):
    values = GENERATOR.integers(0, 100, (50, 20))
    source = direct_entries(written(tmp_path / "x.h5", values))
    found = source.read(np.array([40, 100]), np.array([60, 160]))
    np.testing.assert_array_equal(found, np.r_[values[2], values[5:8].ravel()])
    assert direct_entries(written(tmp_path / "y.h5", values, chunks=(10, 5))) is None


@pytest.mark.parametrize("name", NOT_DIRECT)
def test_what_other_filters_wrote_is_left_to_the_library(tmp_path, name):
    values = GENERATOR.integers(0, 100, N).astype("S4" if name == "text" else "int32")
    how = {key: value for key, value in NOT_DIRECT[name].items() if key != "dtype"}
    dataset = written(tmp_path / "x.h5", values, **how)
    source = entries_of(dataset)
    assert isinstance(source, Slices)
    bounds = np.array([0, 3]).clip(0, dataset.size), np.array([2, 700]).clip(0, dataset.size)
    np.testing.assert_array_equal(source.read(*bounds), np.r_[dataset[:2], dataset[3:700]])


def test_a_file_that_is_written_to_is_left_to_the_library(tmp_path):
    dataset = written(tmp_path / "x.h5", np.arange(N), mode="r+", chunks=(512,))
    source = entries_of(dataset)
    dataset[5] = -1                                    # not on the disk yet
    assert isinstance(source, Slices)
    assert source.read(np.array([5]), np.array([6])).tolist() == [-1]


@pytest.mark.parametrize("name", ["gzip", "contiguous"])
def test_a_damaged_file_is_named(tmp_path, name):
    path = tmp_path / "x.h5"
    dataset = written(path, GENERATOR.integers(0, 100, N), **STORED[name])
    source = direct_entries(dataset)
    if name == "gzip":
        with open(path, "rb+") as file:
            file.seek(int(source.places[3]) + 20)
            file.write(b"\xff" * 200)
    else:
        with open(path, "rb+") as file:
            file.truncate(int(source.places[0]) + 100)
    with pytest.raises(FieldError, match=r"x\.h5 is damaged") as caught:
        source.read(np.array([0]), np.array([N]))
    assert "Copy it again" in caught.value.hint
