"""The compiled kernels: finding their library, calling its functions, and saying what is amiss.

The library is one file with a plain C interface, compiled from `csrc` by R CMD INSTALL or by pip. It is looked for
where LATOME_KERNELS_LIBRARY says (the R package names its own there), then beside this file. One that is missing,
damaged, foreign or of another version is never an error: `bind` then returns None, the caller takes torch's
operations, and `status` says what is wrong and what mends it.

LATOME_KERNELS=off leaves the library alone; portable, avx2 or avx512 chooses its instructions, as tests do.
"""

import ctypes
import os
import struct
from pathlib import Path

from latome.backend import torch

__all__ = ["VERSION", "addresses", "bind", "status", "torch_symbol"]

VERSION = 3                                            # of the interface: latome_version() in csrc/kernels.cpp
INSTRUCTIONS = ("portable", "avx2", "avx512")           # numbered as latome_instructions() does
SUFFIXES = (".so", ".dylib", ".dll", ".pyd")
TYPES = {"p": ctypes.c_void_p, "i": ctypes.c_int64, "n": ctypes.c_int, "f": ctypes.c_float, "d": ctypes.c_double}
MEND = "install latome again where there is a C++ compiler"


def bind(name, signature):
    """A function of the compiled library, as a callable that releases the GIL.

    Arguments
    ---------
    name : "latome_...".
    signature : one letter an argument: p pointer (an address or None), i int64, n int, f float32, d float64.

    Returns None where there is no library, or one without this function. The callable returns nothing.
    """
    if _state.library is None:
        return None
    try:
        function = getattr(_state.library, name)
    except AttributeError:
        _state.problem = f"{_state.path} has no {name}: {MEND}"
        return None
    function.argtypes = [TYPES[letter] for letter in signature]
    function.restype = None
    return function


def addresses(*tensors):
    """Where tensors begin, None for None: pointers for a function of `bind`. Keep the tensors until it has returned."""
    return [None if tensor is None else tensor.data_ptr() for tensor in tensors]


def status():
    """What was found: {"compiled": bool, "instructions": "avx512", "avx2", "portable" or None, "path", "problem"}."""
    return {"compiled": _state.library is not None, "instructions": _state.instructions, "path": _state.path,
            "problem": _state.problem}


class _State:
    """The library of this process, or None and the reason."""

    def __init__(self, environment):
        self.library = self.instructions = self.path = self.problem = None
        asked = environment.get("LATOME_KERNELS", "").lower()
        if asked == "off":
            self.problem = "switched off by LATOME_KERNELS=off: unset it"
            return
        for path in _candidates(environment):
            library, problem = _load(path)
            self.problem = self.problem or problem     # of the first, which was meant to be used
            if library is not None:
                self.library, self.path = library, str(path)
                self.instructions = INSTRUCTIONS[library.latome_instructions()]
                break
        else:
            self.problem = self.problem or f"there is no compiled library: {MEND}"
        if self.library is not None and asked and asked != self.instructions:
            self.problem = f"LATOME_KERNELS={asked} cannot be had here (choices: {', '.join(INSTRUCTIONS)}, off)"


def _candidates(environment):
    """Where the library may be, best first."""
    named = environment.get("LATOME_KERNELS_LIBRARY")
    beside = sorted(path for path in Path(__file__).parent.glob("_native*") if path.suffix in SUFFIXES)
    return ([Path(named)] if named else []) + beside


def _load(path):
    """The library and None, or None and what is wrong with it."""
    if not path.is_file():
        return None, f"there is no file {path}: {MEND}"
    if _is_cut_short(path):
        return None, f"{path} is damaged: {MEND}"
    try:
        library = ctypes.CDLL(str(path))
        library.latome_version.restype = ctypes.c_int
        library.latome_instructions.restype = ctypes.c_int
        found = library.latome_version()
    except OSError as error:
        return None, f"{path} cannot be loaded ({error}): {MEND}"
    except AttributeError:
        return None, f"{path} is not a library of latome: {MEND}"
    if found != VERSION:
        return None, f"{path} is of version {found}, this engine needs {VERSION}: {MEND}"
    return library, None


def _is_cut_short(path):
    """Whether an ELF file ends before its table of sections: loading such a one may end the process."""
    with open(path, "rb") as file:
        header = file.read(64)
    if len(header) < 64:
        return True
    if header[:6] != b"\x7fELF\x02\x01":               # 64 bits, little-endian; of others nothing is known
        return False
    (start,) = struct.unpack_from("<Q", header, 40)
    size, count = struct.unpack_from("<HH", header, 58)
    return path.stat().st_size < start + size * count


def torch_symbol(name):
    """The address of a function in torch's library or in what that is linked with, or None where there is none."""
    for path in (Path(torch.__file__).parent / "lib").glob("libtorch_cpu.so*"):
        try:
            return ctypes.cast(getattr(ctypes.CDLL(str(path)), name), ctypes.c_void_p).value
        except (OSError, AttributeError):
            return None
    return None


_state = _State(os.environ)
if _state.library is not None:
    _state.library.latome_use_team.argtypes = [ctypes.c_void_p]
    _state.library.latome_use_team(torch_symbol("GOMP_parallel"))      # None: threads of our own
