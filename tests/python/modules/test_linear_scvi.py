"""LDVAE: its loadings are what its decoder does, and those of a known factor model are found again."""

import anndata
import numpy as np
import pytest
import scipy.sparse as sp
from examples import opened, probe, trained, untrained

from latome.analysis.loadings import loadings
from latome.backend import torch
from latome.data.registry import Columns, open_data
from latome.errors import QueryError, SettingError
from latome.fit import fit
from latome.modules.linear_scvi import LdvaeSettings
from latome.training.options import TrainingOptions

SMALL = {"n_hidden": 12, "n_latent": 3}


def factor_counts(n=800, g=80, k=3, seed=0):
    """Counts whose log fractions are linear in k factors: (AnnData, loadings (g, k))."""
    generator = np.random.default_rng(seed)
    weights, base = generator.normal(0, 0.6, (g, k)), generator.normal(0, 0.8, g)
    fractions = np.exp(base + generator.normal(size=(n, k)) @ weights.T)
    library = np.exp(generator.normal(np.log(1500), 0.3, (n, 1)))
    mean, theta = library * fractions / fractions.sum(1, keepdims=True), 10.0
    adata = anndata.AnnData(sp.csr_matrix(generator.poisson(generator.gamma(theta, mean / theta)).astype("f4")))
    adata.obs["batch"] = generator.choice(["a", "b"], n)
    return adata, weights


def canonical_correlations(one, other):
    """(k,) of two sets of loadings; adding a constant to a column leaves the fractions as they are."""
    bases = [np.linalg.qr(matrix - matrix.mean(0))[0] for matrix in (one, other)]
    return np.linalg.svd(bases[0].T @ bases[1], compute_uv=False)


def test_the_factors_of_a_known_model_are_found():
    adata, weights = factor_counts()
    options = TrainingOptions(max_epochs=40, batch_size=64, lr=5e-3, n_epochs_kl_warmup=20, threads=1)
    settings = LdvaeSettings(n_hidden=32, n_latent=3, use_observed_lib_size=True)
    found = fit(settings, open_data(adata, Columns(batch="batch")), options)
    assert canonical_correlations(loadings(found.module), weights).min() > 0.95
    shuffled = np.random.default_rng(1).permutation(weights)
    assert canonical_correlations(loadings(found.module), shuffled).max() < 0.6


@pytest.mark.parametrize("settings", [{}, {"gene_likelihood": "zinb", "use_observed_lib_size": True}])
def test_loadings_are_the_slopes_of_the_decoder(settings):
    data = opened(categorical=("kit",), continuous=("age",))
    module = trained(data, LdvaeSettings(**SMALL, **settings)).module
    cells, found = probe(data), loadings(module)
    assert found.shape == (30, 3) and found.dtype == np.float32
    with torch.no_grad():
        z = torch.randn(7, 3)
        at = [module.decoder(z + step, cells["categories"], cells["continuous"])["logits"].value()
              for step in (torch.zeros(3), *torch.eye(3))]
    for j in range(3):
        np.testing.assert_allclose(at[1 + j] - at[0], np.tile(found[:, j], (7, 1)), rtol=1e-3, atol=1e-5)


def test_other_models_have_no_loadings():
    with pytest.raises(QueryError, match="scVI has no linear decoder"):
        loadings(untrained().module)


def test_a_dispersion_by_cell_is_refused_at_once():
    with pytest.raises(SettingError, match="gene-cell"):
        LdvaeSettings(dispersion="gene-cell")


def test_defaults():
    settings = LdvaeSettings()
    assert (settings.gene_likelihood, settings.use_observed_lib_size, settings.n_latent) == ("nb", False, 10)
    module = untrained(settings=LdvaeSettings(**SMALL)).module
    assert module.library_encoder is not None and module.decoder.gate is None
