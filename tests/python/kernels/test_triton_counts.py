"""The Triton kernels against float64: in Triton's interpreter, and on a GPU where there is one."""

import os
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import pytest

from latome.backend import torch
from latome.kernels.count_operations import evaluate_by_operations
from latome.kernels.sparse import SparseCounts

CASES = [("poisson", "gene", True), ("nb", "gene", True), ("nb", "row", False), ("nb", "cell", True),
         ("zinb", "gene", True), ("zinb", "row", True), ("zinb", "cell", False)]
SIZES = (1, 37, 1500)


@pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed")
def test_value_and_gradients():
    """In a process of its own: Triton decides when it is imported whether it interprets."""
    package = Path(__file__).resolve().parents[3] / "python"
    path = os.pathsep.join([str(package), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": path}
    done = subprocess.run([sys.executable, __file__], env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("checked") == len(CASES) * len(SIZES)


@pytest.mark.skipif(find_spec("triton") is None or not torch.cuda.is_available(), reason="there is no GPU here")
def test_on_a_gpu():
    kernels = import_module("latome.kernels.triton_counts")
    for case, g in product(CASES, SIZES):
        check(kernels.evaluate_by_triton, *case, g, device="cuda")


def check(evaluate, kind, form, logits, g, m=5, device="cpu"):
    """Value and gradients of one problem within 1e-5 of float64."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape, sd=1.0, shift=0.0):
        return torch.randn(*shape, generator=generator) * sd + shift

    x = torch.poisson(torch.rand(m, g, generator=generator) ** 4 * 9, generator=generator)
    x[1, 0], x[2, -1] = 2000.0, 3.5
    x[0] = 0
    counts = SparseCounts.from_dense(x.to(device))
    theta = None if kind == "poisson" else normal(*{"gene": (g,), "row": (3, g), "cell": (m, g)}[form], sd=3.0)
    rows = torch.arange(m, device=device) % 3 if form == "row" else None
    given = (normal(m, g, sd=1.5), normal(m, 1, shift=6.0) if logits else None, theta,
             normal(m, g, sd=5.0) if kind == "zinb" else None)
    given = [None if one is None else one.to(device) for one in given]
    wide = [None if one is None else one.double() for one in given]
    wanted = evaluate_by_operations(counts.double(), kind, *wide, gradient=True, theta_rows=rows)
    found = evaluate(counts, kind, *given, gradient=True, theta_rows=rows)
    for one, other in zip(found, wanted, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            assert one.dtype == torch.float32 and one.shape == other.shape
            floor = other.square().mean().sqrt()
            assert ((one - other).abs() <= 1e-5 * (other.abs() + floor)).all()
    value, *none = evaluate(counts, kind, *given, gradient=False, theta_rows=rows)
    assert none == [None] * 4
    torch.testing.assert_close(value, found[0], rtol=1e-6, atol=1e-6)
    print("checked", kind, form, g)


if __name__ == "__main__":
    triton_counts = import_module("latome.kernels.triton_counts")
    for case, genes in product(CASES, SIZES):
        check(triton_counts.evaluate_by_triton, *case, genes)
