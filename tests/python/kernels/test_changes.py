"""Log fold changes of paired samples against their definition in float64, in every instruction set."""

import ctypes

import numpy as np
import pytest

from latome.kernels import changes
from latome.kernels.changes import compiled_changes

INSTRUCTIONS = ("portable", "avx2", "avx512")


@pytest.fixture(params=INSTRUCTIONS)
def library(request, libraries, monkeypatch):
    if request.param not in libraries:
        pytest.skip(f"no compiled library with {request.param} instructions here")
    function = libraries[request.param].latome_changes
    function.argtypes, function.restype = [ctypes.c_void_p] * 4 + [ctypes.c_int], None
    monkeypatch.setattr(changes, "_changes", function)


def samples(g, n, seed=0):
    """Two arrays (g, n) of fractions over many orders of magnitude, some of them zero."""
    rng = np.random.default_rng(seed)
    first, second = (np.exp(rng.normal(-9, 2, (g, 1)) + rng.normal(0, 1, (g, n))).astype(np.float32) for _ in range(2))
    first[rng.random((g, n)) < 0.02] = 0
    return first, second


def defined(first, second, shift, small_shift, threshold):
    """The changes of both shifts (g, n), and the shares beyond the threshold, in float64."""
    first, second = first.astype(np.float64), second.astype(np.float64)
    change, summary = (np.log2((first + c) / (second + c)) for c in (shift, small_shift))
    return summary, (change >= threshold).mean(1), (change < -threshold).mean(1)


@pytest.mark.parametrize(("g", "n"), [(1, 1), (3, 2), (5, 17), (4, 1023), (2, 5000)])
@pytest.mark.parametrize("threshold", [0.0, 0.25])
def test_shares_and_summary(g, n, threshold, library):
    first, second = samples(g, n)
    widths = sorted({0, n // 2, min(int(0.9 * n), n - 1)})
    found = compiled_changes(first, second, shift=1e-5, small_shift=1e-8, threshold=threshold, widths=widths)
    summary, up, down = defined(first, second, 1e-5, 1e-8, threshold)
    for name, expected in {"up": up, "down": down}.items():
        np.testing.assert_allclose(found[name], expected, atol=1.01 / n if n > 1000 else 1e-12)   # one on the edge
    for name, values in {"first": first, "second": second}.items():
        np.testing.assert_allclose(found[name], values.mean(1, dtype=np.float64), rtol=1e-6)
    close = {"rtol": 1e-5, "atol": 1e-5}
    for name, function in {"mean": np.mean, "sd": np.std, "median": np.median, "min": np.min, "max": np.max}.items():
        np.testing.assert_allclose(found[name], function(summary, axis=1), **close, err_msg=name)
    ascending = np.sort(summary, axis=1)
    for width in widths:
        low, high = found["low", width], found["high", width]
        shortest = (ascending[:, width:] - ascending[:, :n - width]).min(1)
        np.testing.assert_allclose(high - low, shortest, **close)
        inside = (summary >= low[:, None] - 1e-5) & (summary <= high[:, None] + 1e-5)
        assert (inside.sum(1) >= width + 1).all()


def test_rows_that_lie_apart(library):
    first, second = samples(6, 300)
    given = {"shift": 1e-6, "small_shift": 1e-9, "threshold": 0.1, "widths": [150]}
    found = compiled_changes(first[:, 20:220], second[:, 100:], **given)
    expected = compiled_changes(first[:, 20:220].copy(), second[:, 100:].copy(), **given)
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name])


def test_order_of_every_kind_of_number(library):
    """The extremes and the median of changes from -inf to inf and of none; equal samples change by nothing."""
    same = np.full((1, 7), 3e-5, dtype=np.float32)
    found = compiled_changes(same, same, shift=1e-30, small_shift=1e-30, threshold=0.25, widths=[6])
    assert all(found[name] == 0 for name in ("up", "down", "mean", "sd", "median", "min", "max"))
    missing = same.copy()
    missing[0, 3] = np.nan                             # comes last, and makes the mean one
    found = compiled_changes(missing, same, shift=1e-30, small_shift=1e-30, threshold=0.25)
    assert found["min"] == 0 and np.isnan(found["max"]) and np.isnan(found["mean"]) and np.isnan(found["sd"])


@pytest.mark.parametrize("other", [lambda x: x.astype(np.float64), np.asfortranarray, lambda x: x[:, ::2]])
def test_arrays_that_the_kernel_does_not_take(other, library):
    first, second = (other(x) for x in samples(4, 50))
    assert compiled_changes(first, second, shift=1e-6, small_shift=1e-9, threshold=0.1) is None


def test_without_a_library(monkeypatch):
    monkeypatch.setattr(changes, "_changes", None)
    assert compiled_changes(*samples(2, 9), shift=1e-6, small_shift=1e-9, threshold=0.1) is None
