"""Entries of a file, read by ranges, are those of the array that was written."""

import threading

import numpy as np
import pytest

from latome.backend import torch
from latome.data import entries
from latome.data.entries import RawEntries, Slices, in_threads, within
from latome.errors import FieldError

VALUES = np.random.default_rng(0).integers(0, 2**16, 997)
RANGES = [([0], [997]), ([5, 40, 40, 990], [5, 40, 60, 997]), ([], []), ([3, 4, 100], [4, 8, 101]), ([996], [997])]


def read(source, begins, ends):
    """What it reads, and what it should have."""
    begins, ends = np.array(begins, dtype=np.int64), np.array(ends, dtype=np.int64)
    wanted = [VALUES[begin:end] for begin, end in zip(begins, ends, strict=True)]
    return source.read(begins, ends), np.concatenate([VALUES[:0], *wanted])


@pytest.mark.parametrize("ranges", RANGES)
@pytest.mark.parametrize("dtype", ["<u2", ">i4", "<f4"])
def test_entries_of_a_raw_file(tmp_path, ranges, dtype):
    VALUES.astype(dtype).tofile(tmp_path / "values")
    source = RawEntries(tmp_path / "values", dtype)
    found, wanted = read(source, *ranges)
    np.testing.assert_array_equal(found, wanted)
    assert found.dtype == np.dtype(dtype) and source


def test_a_raw_file_that_is_too_short_or_gone(tmp_path):
    path = tmp_path / "values"
    VALUES[:900].astype("<u2").tofile(path)
    source = RawEntries(path, "<u2")
    with pytest.raises(FieldError, match="values is damaged: it ends too early"):
        read(source, [0, 850], [10, 950])
    path.unlink()
    assert not source


@pytest.mark.parametrize("gap", [0, 1000])
@pytest.mark.parametrize("ranges", RANGES)
def test_entries_of_what_is_sliced(ranges, gap, monkeypatch):
    monkeypatch.setattr(entries, "GAP", gap)
    found, wanted = read(Slices(VALUES), *ranges)
    np.testing.assert_array_equal(found, wanted)


def test_a_read_that_comes_in_pieces_is_completed():
    source = bytes(range(100))
    view = memoryview(bytearray(100))

    def little(rest):
        at = 100 - len(rest)
        rest[:min(7, len(rest))] = source[at:at + 7]
        return min(7, len(rest))

    assert entries.fill(little, view) == 100 and bytes(view) == source
    assert entries.fill(lambda rest: 0, view) == 0


def test_work_in_threads_keeps_its_order_and_raises(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    used = set()

    def work(item):
        used.add(threading.get_ident())
        return item * item

    assert in_threads(work, list(range(50))) == [i * i for i in range(50)]
    assert threading.get_ident() not in used
    with pytest.raises(ZeroDivisionError):
        in_threads(lambda item: 1 // (item - 30), list(range(50)))
    assert in_threads(work, []) == []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    used.clear()
    in_threads(work, list(range(50)))
    assert used == {threading.get_ident()}             # one thread was asked for


def test_places_within_ranges():
    assert within(np.array([0, 4]), np.array([4, 9])) == slice(None)
    assert within(np.array([1, 5]), np.array([3, 6])).tolist() == [1, 2, 5]
