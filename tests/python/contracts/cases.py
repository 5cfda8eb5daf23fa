"""Models under contract. A new model joins by one line here."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from latome.compose.cellassign import for_markers
from latome.compose.solo import simulated
from latome.data.registry import Columns, open_data
from latome.data.simulate import simulate
from latome.fit import initialise
from latome.modules.autozi import AutoziSettings
from latome.modules.cellassign import CellassignSettings
from latome.modules.linear_scvi import LdvaeSettings
from latome.modules.scanvi import ScanviSettings
from latome.modules.scvi import ScviSettings
from latome.modules.solo import SoloSettings


@dataclass(frozen=True)
class Case:
    """A model, small settings of it, and the columns it is given.

    Arguments
    ---------
    latent : whether the model has a latent z.
    counts : whether it has a likelihood "x" of gene counts.
    opens : function of (AnnData, columns) that gives the `Dataset` of a model that needs more than columns.
    """

    name: str
    settings: object
    columns: Columns = Columns(batch="batch")
    latent: bool = True
    counts: bool = True
    opens: Callable = open_data

    def needs(self, *, latent=False, counts=False):
        """Skips a contract about what the model says it does not have."""
        if latent and not self.latent:
            pytest.skip("the model has no latent z")
        if counts and not self.counts:
            pytest.skip("the model has no likelihood of counts")


def with_markers(adata, columns):
    """The data of CellAssign: a table of a few markers is told."""
    genes = adata.var_names[:12]
    table = pd.DataFrame({f"kind {j}": (np.arange(12) % 4 == j).astype(int) for j in range(3)}, index=genes)
    return for_markers(adata, table, columns)[1]


def with_doublets(adata, columns):
    """The data of Solo: features of the cells and of simulated doublets, from a scVI."""
    data = open_data(adata, columns)
    return simulated(initialise(ScviSettings(**SMALL), data, seed=1), data, doublet_ratio=1)[1]


EVERYTHING = Columns(batch="batch", labels="cell_type", categorical=("site",), continuous=("age", "mito"))
PARTLY = Columns(batch="batch", labels="known", unlabeled="unknown")
SMALL = {"n_hidden": 16, "n_latent": 3}

CASES = [
    Case("scvi", ScviSettings(**SMALL)),
    Case("scvi-nb-everything", ScviSettings(
        **SMALL, gene_likelihood="nb", n_layers=2, dispersion="gene-batch", encode_covariates=True), EVERYTHING),
    Case("scvi-poisson-latent-library", ScviSettings(
        **SMALL, gene_likelihood="poisson", use_observed_lib_size=False), EVERYTHING),
    Case("scvi-layer-norm", ScviSettings(
        **SMALL, n_layers=2, use_layer_norm="both", use_batch_norm="none", dispersion="gene-cell")),
    Case("scvi-by-label", ScviSettings(
        **SMALL, dispersion="gene-label", continuous_in="first", deeply_inject_covariates=False), EVERYTHING),
    Case("scvi-normal", ScviSettings(**SMALL, gene_likelihood="normal", var_activation="softplus")),
    Case("scvi-logistic-normal", ScviSettings(**SMALL, latent_distribution="ln", gene_likelihood="nb"), EVERYTHING),
    Case("scvi-embedded-batch", ScviSettings(
        **SMALL, batch_representation="embedding", embedding_dim=4, encode_covariates=True,
        use_observed_lib_size=False), EVERYTHING),
    Case("scvi-size-factor", ScviSettings(**SMALL, log_variational=False),
         Columns(batch="batch", size_factor="size")),
    Case("scanvi", ScanviSettings(**SMALL), PARTLY),
    Case("scanvi-everything", ScanviSettings(
        **SMALL, gene_likelihood="nb", n_layers=2, encode_covariates=True, use_observed_lib_size=False,
        linear_classifier=True, n_samples_per_label=20, adversarial=True), EVERYTHING),
    Case("scvi-for-mapping", ScviSettings.make(**SMALL, for_mapping=True), EVERYTHING),
    Case("ldvae", LdvaeSettings(**SMALL)),
    Case("ldvae-zinb-everything", LdvaeSettings(
        **SMALL, gene_likelihood="zinb", dispersion="gene-label", use_observed_lib_size=True), EVERYTHING),
    Case("ldvae-size-factor", LdvaeSettings(**SMALL, gene_likelihood="poisson", latent_distribution="ln"),
         Columns(batch="batch", size_factor="size")),
    Case("autozi", AutoziSettings(**SMALL)),
    Case("autozi-by-label", AutoziSettings(
        **SMALL, zero_inflation="gene-label", dispersion="gene-cell", use_observed_lib_size=False), EVERYTHING),
    Case("autozi-by-batch-learnt-prior", AutoziSettings(
        **SMALL, zero_inflation="gene-batch", alpha_prior=None, beta_prior=None, minimal_dropout=0), EVERYTHING),
    Case("solo", SoloSettings(n_hidden=16), latent=False, counts=False, opens=with_doublets),
    Case("cellassign", CellassignSettings(), latent=False, counts=False, opens=with_markers),
    Case("cellassign-everything", CellassignSettings(), Columns(
        batch="batch", categorical=("site",), continuous=("age", "mito"), size_factor="size"),
        latent=False, counts=False, opens=with_markers),
]


def make_adata(n=150, g=40, seed=0):
    """Simulated counts with every kind of column a case may name."""
    adata = simulate(n, g, n_types=3, n_batches=3, seed=seed)
    generator = np.random.default_rng(seed)
    adata.obs["site"] = generator.choice(["x", "y"], n)
    adata.obs["age"], adata.obs["mito"] = generator.normal(size=n), generator.random(n)
    adata.obs["size"] = generator.gamma(5, 0.2, size=n)
    adata.obs["known"] = adata.obs["cell_type"].astype(object).where(generator.random(n) < 0.5, "unknown")
    return adata


def make_data(case, **size):
    """The data of a case, opened."""
    return case.opens(make_adata(**size), case.columns)
