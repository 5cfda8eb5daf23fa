"""Models under contract. A new model joins by one line here."""

from dataclasses import dataclass

import numpy as np

from latome.data.registry import Columns, open_data
from latome.data.simulate import simulate
from latome.modules.scvi import ScviSettings


@dataclass(frozen=True)
class Case:
    """A model, small settings of it, and the columns it is given."""

    name: str
    settings: object
    columns: Columns = Columns(batch="batch")


EVERYTHING = Columns(batch="batch", labels="cell_type", categorical=("site",), continuous=("age", "mito"))
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
    Case("scvi-for-mapping", ScviSettings.make(**SMALL, for_mapping=True), EVERYTHING),
]


def make_adata(n=150, g=40, seed=0):
    """Simulated counts with every kind of column a case may name."""
    adata = simulate(n, g, n_types=3, n_batches=3, seed=seed)
    generator = np.random.default_rng(seed)
    adata.obs["site"] = generator.choice(["x", "y"], n)
    adata.obs["age"], adata.obs["mito"] = generator.normal(size=n), generator.random(n)
    adata.obs["size"] = generator.gamma(5, 0.2, size=n)
    return adata


def make_data(case, **size):
    """The data of a case, opened."""
    return open_data(make_adata(**size), case.columns)
