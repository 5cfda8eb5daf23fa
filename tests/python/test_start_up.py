"""What a fresh process loads: torch, what holds the data, and little else. A compiler or statistics cost seconds."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PYTHON = Path(__file__).resolve().parents[2] / "python"
HEAVY = {"torch._dynamo", "torch._inductor", "torch.onnx", "sympy", "scipy.stats", "scipy.optimize", "sklearn",
         "matplotlib", "IPython"}

LOADED = "\nimport sys; print(*sys.modules)"
ONE_EPOCH = """
import anndata, numpy as np, latome
data = anndata.AnnData(np.random.default_rng(0).poisson(1.0, (300, 40)).astype("float32"))
data.obs["batch"] = list("ab") * 150
latome.model.SCVI.setup_anndata(data, batch_key="batch")
model = latome.model.SCVI(data)
model.train(max_epochs=1)
assert model.get_latent_representation().shape == (300, 10)
"""


def heavy_modules(code, **settings):
    """Which heavy modules a fresh Python holds after some code."""
    done = subprocess.run([sys.executable, "-c", code + LOADED], capture_output=True, text=True,
                          env=os.environ | {"PYTHONPATH": str(PYTHON)} | settings)
    assert done.returncode == 0, done.stderr
    return HEAVY & set(done.stdout.splitlines()[-1].split())


@pytest.fixture(scope="module")
def unavoidable():
    """Those that torch itself, or what holds the data, loads: it differs by version."""
    found = heavy_modules("import torch, anndata")
    assert found != HEAVY
    return found


@pytest.mark.parametrize("room", ["bridge", "cli", "model", "analysis.latent"])
def test_importing_loads_no_more(room, unavoidable):
    assert heavy_modules(f"import latome.{room}") <= unavoidable


@pytest.mark.parametrize("kernels", ["off", "portable"])
def test_training_and_asking_load_no_more(kernels, unavoidable):
    assert heavy_modules(ONE_EPOCH, LATOME_KERNELS=kernels) <= unavoidable
