"""The back ends of the count kernels, each in turn: torch's operations and every instruction set this processor has."""

import ctypes
import shutil

import pytest

from latome.kernels import bernoulli, compiled_counts, mixtures, native

INSTRUCTIONS = ("portable", "avx2", "avx512")
FUNCTIONS = ((compiled_counts, "_counts"), (mixtures, "_mixture"), (bernoulli, "_bernoulli"))


@pytest.fixture(scope="session")
def libraries(tmp_path_factory):
    """{instructions: the library told to use them}: each a copy of its own, since a library chooses once."""
    found = {}
    path = native.status()["path"]
    if path is None:
        return found
    folder, change = tmp_path_factory.mktemp("libraries"), pytest.MonkeyPatch()
    for number, name in enumerate(INSTRUCTIONS):
        library = ctypes.CDLL(shutil.copy(path, folder / f"{name}.so"))
        with change.context() as environment:
            environment.setenv("LATOME_KERNELS", name)
            chosen = library.latome_instructions()
        if chosen == number:
            found[name] = library
    return found


@pytest.fixture(params=("torch", *INSTRUCTIONS))
def backend(request, libraries, monkeypatch):
    """The name of the back end that the likelihoods use during the test."""
    if request.param not in ("torch", *libraries):
        pytest.skip(f"no compiled library with {request.param} instructions here")
    for module, name in FUNCTIONS:
        function = None
        if request.param != "torch":
            function = getattr(libraries[request.param], f"latome{name}")
            function.argtypes, function.restype = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int], None
        monkeypatch.setattr(module, name, function)
    return request.param
