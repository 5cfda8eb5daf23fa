"""What the tests of expression and prediction share: reference arrays, and models whose draws are known."""

from pathlib import Path

import numpy as np
from examples import opened, small_data, untrained

from latome.backend import torch
from latome.data.minified import minify
from latome.data.registry import open_data
from latome.data.sources import read_h5ad
from latome.io import scvi_tools

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"


def reference(case):
    """(fit, data, {name: array}): a model of scvi-tools, its cells, and what scvi-tools says of them."""
    fit = scvi_tools.read(FIXTURES / case / "model")
    data = open_data(read_h5ad(FIXTURES / case / "model" / "adata.h5ad"), registry=fit.registry, allow_noninteger=True)
    with np.load(FIXTURES / case / "expected.npz") as stored:
        return fit, data, {name: stored[name] for name in stored.files}


def close(found, expected):
    """The tolerance of the reference arrays."""
    np.testing.assert_allclose(found, np.broadcast_to(expected, found.shape), rtol=1e-4,
                               atol=1e-5 * np.abs(expected).max())


def certain(settings, variance=1e-16, n_cells=20, **columns):
    """(fit, data): an untrained model and cells whose posterior is remembered, as narrow as one wishes."""
    adata = small_data(n_cells)
    fit = untrained(opened(adata, **columns), settings)
    mean = np.random.default_rng(0).normal(size=(n_cells, settings.n_latent))
    kept = minify(adata, mean, np.full_like(mean, variance), np.asarray(adata.X.sum(1)).ravel(), with_counts=True)
    return fit, open_data(kept, registry=fit.registry)


def spied(monkeypatch, module):
    """A list that grows by the shape (s, m, g) of each decoding of the module."""
    shapes, generative = [], module.generative

    def seen(latents, cells):
        generated = generative(latents, cells)
        shapes.append(tuple(generated.likelihood["x"].rho.shape))
        assert not module.training and torch.is_inference_mode_enabled()
        return generated

    monkeypatch.setattr(module, "generative", seen)
    return shapes
