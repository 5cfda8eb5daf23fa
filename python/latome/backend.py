"""The one place where torch is imported.

Inside R, R's BLAS is loaded globally, and torch's own matrix products would be resolved to it: with the
reference BLAS they are up to 60 times slower. On Linux RTLD_DEEPBIND makes torch prefer its own.
Set LATOME_NO_DEEPBIND=1 to switch this off (a preloaded memory allocator may need that).

GNU OpenMP's threads spin while they wait for each other. On a machine that does anything else at the same
time that is ruinous (a training step was seen to take 1700 ms instead of 32), so they are told to sleep soon. Where
OpenMP was loaded before us, as in R, it no longer listens: `long_spins` says so (see training/contention.py).
"""

import ctypes
import importlib
import os
import sys
from contextlib import contextmanager
from pathlib import Path

__all__ = ["borrowed_blas", "long_spins", "torch"]

USER_WAITS = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}      # how the user wants OpenMP to wait
SPINS = "5000"                                         # some microseconds: as long as a wake-up takes


def _global_blas():
    """Whether this process already holds a global BLAS that torch's symbols could be resolved to."""
    try:
        return hasattr(ctypes.CDLL(None), "sgemm_")
    except (OSError, TypeError):                       # no handle on the main program (Windows)
        return False


@contextmanager
def _short_spin():
    """Let an OpenMP that is loaded inside wait asleep, unless the user has said how it should wait."""
    if USER_WAITS & set(os.environ):
        yield
        return
    os.environ["GOMP_SPINCOUNT"] = SPINS
    try:
        yield
    finally:
        del os.environ["GOMP_SPINCOUNT"]


def _openmp_is_loaded():
    """Whether this process already holds GNU OpenMP (seen on Linux only)."""
    try:
        return "libgomp" in Path("/proc/self/maps").read_text()
    except OSError:
        return False


def _import_torch():
    deepbind = 0 if os.environ.get("LATOME_NO_DEEPBIND") else getattr(os, "RTLD_DEEPBIND", 0)
    if not deepbind or not hasattr(sys, "setdlopenflags"):
        return importlib.import_module("torch")
    flags = sys.getdlopenflags()
    sys.setdlopenflags(flags | deepbind)
    try:
        return importlib.import_module("torch")
    finally:
        sys.setdlopenflags(flags)


#: True when torch was loaded before latome in a process with a global BLAS: products may be slow.
borrowed_blas = "torch" in sys.modules and _global_blas()
#: True when OpenMP's threads spin for milliseconds before they sleep, and nothing said here can change it.
long_spins = _openmp_is_loaded() and not USER_WAITS & set(os.environ)
with _short_spin():
    torch = _import_torch()
