"""The library of kernels: how it is built, found, refused and called. Each library here is made as pip makes it."""

import ctypes
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from latome.bridge.engine import kernels as words
from latome.kernels import native

PYTHON = Path(native.__file__).parents[2]
COMPILER = shutil.which(os.environ.get("CXX", "g++").split()[0])
ANSWER = "from latome.kernels import native; print({0})"


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """The library that `pip install ./python` makes."""
    pytest.importorskip("setuptools", minversion="70.1")
    if COMPILER is None:
        pytest.skip("no C++ compiler")
    copy = tmp_path_factory.mktemp("pip") / "python"
    shutil.copytree(PYTHON, copy, ignore=shutil.ignore_patterns("_native*", "build", "__pycache__"))
    done = subprocess.run([sys.executable, "setup.py", "-q", "build_ext", "--build-lib", "lib"], cwd=copy,
                          capture_output=True, text=True)
    library = copy / "lib" / "latome" / "kernels" / f"_native{shared_suffix()}"
    assert library.is_file(), done.stderr
    return library


def shared_suffix():
    return {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so")


@pytest.fixture
def found(monkeypatch):
    """Look for the library anew, in this process, under other settings; -> status()."""

    def look(**settings):
        monkeypatch.setattr(native, "_state", native._State(settings))
        return native.status()

    return look


def fresh(code, **settings):
    """What a fresh Python without R prints."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("LATOME_KERNELS", "R_"))}
    environment |= {"PYTHONPATH": str(PYTHON)} | {name: str(value) for name, value in settings.items()}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, (done.returncode, done.stderr)
    return done.stdout.strip()


def test_a_built_library_is_used_and_depends_on_nothing_of_r(built):
    state = fresh(ANSWER.format("native.status()"), LATOME_KERNELS_LIBRARY=built)
    assert f"'path': '{built}'" in state and "'problem': None" in state
    if shutil.which("nm"):
        listing = ["nm", "-D", "--undefined-only", built]
        needed = subprocess.run(listing, capture_output=True, text=True, check=True).stdout
        names = {line.split()[-1].split("@")[0] for line in needed.splitlines()}
        assert names and not [name for name in names if name.startswith(("R_", "Rf_", "Py", "_Py", "GOMP_", "omp_"))]


def test_only_the_interface_is_exported(built):
    if shutil.which("nm") is None:
        pytest.skip("no nm")
    listed = subprocess.run(["nm", "-D", "--defined-only", built], capture_output=True, text=True, check=True).stdout
    names = [line.split()[-1] for line in listed.splitlines()]
    assert "latome_version" in names
    own = [name for name in names if not re.match("_Z(T[ISV])?N?K?St", name)]
    assert all(name.startswith("latome_") for name in own), own         # beside what the standard library instantiates


@pytest.fixture(scope="module")
def best(built):
    """The instructions that this processor gets when nothing is asked for."""
    return fresh(ANSWER.format("native.status()['instructions']"), LATOME_KERNELS_LIBRARY=built)


@pytest.mark.parametrize("instructions", native.INSTRUCTIONS)
def test_forced_instructions(built, best, instructions):
    state = fresh(ANSWER.format("native.status()"), LATOME_KERNELS_LIBRARY=built, LATOME_KERNELS=instructions)
    had = native.INSTRUCTIONS.index(instructions) <= native.INSTRUCTIONS.index(best)
    if had:
        assert f"'instructions': '{instructions}'" in state and "'problem': None" in state
    else:                                              # never one that the processor lacks
        assert f"'instructions': '{best}'" in state and "cannot be had here" in state


def test_switched_off(built, found):
    state = found(LATOME_KERNELS="off", LATOME_KERNELS_LIBRARY=str(built))
    assert not state["compiled"] and "LATOME_KERNELS=off" in state["problem"]
    assert native.bind("latome_sparse_product", "iiipppppn") is None


def test_a_word_that_means_nothing_is_said_and_ignored(built, found):
    state = found(LATOME_KERNELS="fastest", LATOME_KERNELS_LIBRARY=str(built))
    assert state["compiled"] and "fastest" in state["problem"] and "portable" in state["problem"]
    assert words(state).startswith("compiled (") and "fastest" in words(state)


def without_neighbour(monkeypatch, folder):
    monkeypatch.setattr(native, "__file__", str(folder / "native.py"))


def test_none_is_said_with_the_cure(found, monkeypatch, tmp_path):
    without_neighbour(monkeypatch, tmp_path)
    state = found()
    assert state == {"compiled": False, "instructions": None, "path": None, "problem": state["problem"]}
    assert "compiler" in state["problem"]
    assert words(state).startswith("torch operations (there is no compiled library")
    assert native.bind("latome_sparse_product", "iiipppppn") is None


def test_one_beside_the_package_serves_when_the_named_one_does_not(built, found, monkeypatch, tmp_path):
    without_neighbour(monkeypatch, tmp_path)
    beside = tmp_path / built.name
    shutil.copy(built, beside)
    state = found(LATOME_KERNELS_LIBRARY=str(tmp_path / "gone.so"))
    assert state["path"] == str(beside) and "gone.so" in state["problem"]


def foreign(path, built):
    shutil.copy(np.random._pcg64.__file__, path)    # any shared object that needs no other


def text(path, built):
    path.write_text("not a library, but long enough to hold the header of one " * 3)


def empty(path, built):
    path.write_bytes(b"")


def cut(share):
    def write(path, built):
        data = built.read_bytes()
        path.write_bytes(data[:int(len(data) * share)])
    return write


BAD = {"foreign": (foreign, "not a library of latome"), "text": (text, "cannot be loaded"), "empty": (empty, "damaged"),
       "early": (cut(0.3), "damaged"), "late": (cut(0.7), "damaged"), "end": (cut(0.999), "damaged")}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="made from files of Linux")
def test_bad_libraries_are_told_and_left_alone(built, tmp_path):
    """In a process of its own, which loading such a file could end."""
    for name, (spoil, _) in BAD.items():
        spoil(tmp_path / f"{name}.so", built)
    paths = [str(tmp_path / f"{name}.so") for name in BAD]
    answers = fresh(f"from latome.kernels import native\nfor path in {paths}: print(native._load(native.Path(path)))")
    for (name, (_, said)), path, answer in zip(BAD.items(), paths, answers.splitlines(), strict=True):
        assert answer.startswith("(None, ") and said in answer and path in answer and native.MEND in answer, name


def test_a_library_of_another_version_is_not_used(built, found, monkeypatch, tmp_path):
    without_neighbour(monkeypatch, tmp_path)
    monkeypatch.setattr(native, "VERSION", native.VERSION + 1)
    state = found(LATOME_KERNELS_LIBRARY=str(built))
    assert not state["compiled"]
    assert f"is of version {native.VERSION - 1}, this engine needs {native.VERSION}" in state["problem"]


def test_a_function_that_is_not_there_is_none_and_said(built, found):
    found(LATOME_KERNELS_LIBRARY=str(built))
    assert native.bind("latome_no_such_thing", "p") is None
    assert "has no latome_no_such_thing" in native.status()["problem"]


PRODUCT = """
import os, sys, threading
import numpy as np
from latome.kernels import native

m, g, h = 64, 30, 16
r = np.random.default_rng(0)
dense = r.integers(0, 3, (m, g))
rows, indices = dense.nonzero()
indptr = np.searchsorted(rows, np.arange(m + 1)).astype(np.int64)
values = dense[rows, indices].astype(np.float32)
weight = r.integers(-4, 5, (g, h)).astype(np.float32)           # whole numbers: sums are exact in any order
indices = indices.astype(np.int64)
multiply = native.bind("latome_sparse_product", "iiippppppn")

def product(threads):
    out = np.full((m, h), np.nan, np.float32)
    multiply(m, g, h, *(a.ctypes.data for a in (indptr, indices, values, weight)), None, out.ctypes.data, threads)
    return np.array_equal(out, dense @ weight)
"""


def test_threads_give_the_same_product(built):
    code = PRODUCT + "print([product(n) for n in (1, 2, 3, 200)])"
    assert fresh(code, LATOME_KERNELS_LIBRARY=built) == "[True, True, True, True]"


def test_threads_of_python_may_call_at_the_same_time(built):
    code = PRODUCT + """
right = []
def work():
    for _ in range(200):
        right.append(product(2))
several = [threading.Thread(target=work) for _ in range(4)]
for thread in several: thread.start()
for thread in several: thread.join()
print(len(right), all(right))
"""
    assert fresh(code, LATOME_KERNELS_LIBRARY=built) == "800 True"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize("before", ["product(2)", "torch.set_num_threads(2), torch.rand(2000, 2000).sum()"])
def test_a_forked_child_works_alone(built, before):
    """Threads of the parent, our own or those of torch's OpenMP, are gone in the child: nothing may wait for them."""
    code = PRODUCT + f"""
from latome.backend import torch
{before}
child = os.fork()
if child == 0:
    os._exit(0 if product(2) and product(1) else 3)
_, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status), product(2))
"""
    assert fresh(code, LATOME_KERNELS_LIBRARY=built) == "0 True"


def test_the_gil_is_released(built, found):
    found(LATOME_KERNELS_LIBRARY=str(built))
    assert not isinstance(native._state.library, ctypes.PyDLL)          # the kind that keeps it


def test_values_cross_by_their_letters(built, found):
    found(LATOME_KERNELS_LIBRARY=str(built))
    function = native.bind("latome_sparse_product", "iiippppppn")
    with pytest.raises(TypeError):
        function(1)
    with pytest.raises(Exception, match="argument 1"):
        function("one", *[0] * 9)


def test_a_null_bias_is_none_and_zero_rows_are_no_work(built, found):
    found(LATOME_KERNELS_LIBRARY=str(built))
    function = native.bind("latome_sparse_product", "iiippppppn")
    indptr, nothing = np.zeros(1, np.int64), np.zeros(1, np.float32)
    function(0, 3, 4, indptr.ctypes.data, None, None, nothing.ctypes.data, None, nothing.ctypes.data, 2)
    assert nothing[0] == 0
