"""The back ends of the count kernels, each in turn: torch's operations and every instruction set this processor has."""

import ctypes
import shutil

import pytest

from latome.kernels import compiled_counts, native

INSTRUCTIONS = ("portable", "avx2", "avx512")


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
    """The name of the back end that `kernels.counts` uses during the test."""
    if request.param == "torch":
        monkeypatch.setattr(compiled_counts, "_counts", None)
        return request.param
    if request.param not in libraries:
        pytest.skip(f"no compiled library with {request.param} instructions here")
    function = libraries[request.param].latome_counts
    function.argtypes, function.restype = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int], None
    monkeypatch.setattr(compiled_counts, "_counts", function)
    return request.param
