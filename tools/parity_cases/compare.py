"""Whether two arrays agree, and the row of the table that says so."""

from dataclasses import dataclass

import numpy as np

__all__ = ["NotYet", "Row", "Tolerance", "compare"]

PASS, FAIL, NOT_YET, NO_REFERENCE = "pass", "fail", "not yet", "no reference"


class NotYet(Exception):
    """latome has no counterpart of this number yet; the message says of what."""


@dataclass(frozen=True)
class Row:
    """One line of the table: the largest differences of an array, and the verdict."""

    case: str
    array: str
    absolute: float | None
    relative: float | None
    verdict: str
    reason: str = ""


@dataclass(frozen=True)
class Tolerance:
    """How far two numbers may lie apart: rtol |expected| + atol + share max |expected|.

    Arguments
    ---------
    rtol, share : factors.
    atol : a number, or an array of the same shape.
    by_norm : also enough is a difference whose Euclidean norm is within rtol of the norm expected.
    scale : stands for max |expected| where the numbers are differences of larger ones.
    noise : arrays whose entries are all below it, on both sides, are rounding noise and agree.
    """

    rtol: float
    share: float = 0.0
    atol: object = 0.0
    by_norm: bool = False
    scale: float | None = None
    noise: float = 0.0


def compare(case, array, found, expected, tolerance):
    """A `Row` from what latome computed and what was stored."""
    found, expected = np.asarray(found), np.asarray(expected)
    if found.shape != expected.shape:
        return Row(case, array, None, None, FAIL, f"shape {found.shape} instead of {expected.shape}")
    if expected.dtype.kind in "USO":
        same = [str(value) for value in found.ravel()] == [str(value) for value in expected.ravel()]
        return Row(case, array, None, None, PASS if same else FAIL, "" if same else "the texts differ")
    exact = expected.dtype.kind in "biu"
    found, expected = found.astype(np.float64), expected.astype(np.float64)
    with np.errstate(invalid="ignore"):
        difference = np.where(found == expected, 0.0, np.abs(found - expected))     # equal infinities agree
    sizes = np.where(np.isfinite(expected), np.abs(expected), 0.0)
    relative = difference[sizes > 0] / sizes[sizes > 0]
    close = np.isfinite(difference).all() and _close(difference, found, sizes, exact, tolerance)
    return Row(case, array, float(difference.max(initial=0.0)), float(relative.max(initial=0.0)),
               PASS if close else FAIL, "" if close else "beyond the tolerance")


def _close(difference, found, sizes, exact, tolerance):
    """Whether the differences are within the tolerance; all finite."""
    if exact:
        return not difference.any()
    largest = sizes.max(initial=0.0)
    scale = largest if tolerance.scale is None else tolerance.scale
    if (difference <= tolerance.rtol * sizes + tolerance.atol + tolerance.share * scale).all():
        return True
    if tolerance.by_norm and np.linalg.norm(difference) <= tolerance.rtol * np.linalg.norm(sizes):
        return True
    return max(largest, np.abs(found).max(initial=0.0)) < tolerance.noise
