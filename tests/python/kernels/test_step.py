"""A whole training step against float64, by each back end of the kernels."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve()
TESTS = HERE.parents[1]
ENGINE = HERE.parents[3] / "python"

STEP = """
import copy, sys
sys.path.insert(0, {tests!r})
import numpy as np
from examples import opened, small_data
from latome.backend import torch
from latome.data.minibatches import Minibatches
from latome.fit import initialise
from latome.kernels.native import status
from latome.modules.scvi import ScviSettings

found = status()
print(found["instructions"] if found["compiled"] else "torch")
data = opened(small_data(150, 70), categorical=("kit",), continuous=("age",))
for settings in [{{}}, {{"gene_likelihood": "nb", "n_layers": 2}}, {{"gene_likelihood": "poisson"}},
                 {{"dispersion": "gene-batch"}}, {{"use_observed_lib_size": False}}]:
    fit = initialise(ScviSettings(dropout_rate=0.0, **settings), data, seed=3)
    module = fit.module.train()
    module.prepare(data, np.arange(150))
    exact = copy.deepcopy(module).double()
    cells = next(iter(Minibatches(data, np.arange(150), 128)))
    wide = {{name: value.double() if name == "x" or value.is_floating_point() else value
             for name, value in cells.items()}}
    for one, minibatch in [(module, cells), (exact, wide)]:
        one.loss(one.terms(minibatch, draw="mean"), 0.7, 150).backward()
    pairs = [(p.grad.double(), q.grad) for p, q in zip(module.parameters(), exact.parameters()) if q.grad is not None]
    sizes = np.array([float(q.norm()) for _, q in pairs])
    errors = np.array([float((p - q).norm()) for p, q in pairs])
    print(np.linalg.norm(errors) / np.linalg.norm(sizes), (errors / np.maximum(sizes, 1e-3 * sizes.max())).max())
"""


@pytest.mark.parametrize("kernels", ["off", "portable", "avx2", "avx512", None])
def test_gradients_of_a_step(kernels):
    environment = {**os.environ, "PYTHONPATH": str(ENGINE)}
    environment.pop("LATOME_KERNELS", None)
    if kernels:
        environment["LATOME_KERNELS"] = kernels
    done = subprocess.run([sys.executable, "-c", STEP.format(tests=str(TESTS))], capture_output=True, text=True,
                          env=environment)
    assert done.returncode == 0, done.stderr
    used, *lines = done.stdout.split("\n")[:-1]
    if kernels in ("portable", "avx2", "avx512") and used != kernels:
        pytest.skip(f"no compiled kernels with {kernels} instructions here, but {used}")
    assert len(lines) == 5
    for line in lines:
        whole, worst = map(float, line.split())
        assert whole < 1e-5 and worst < 1e-4, line
