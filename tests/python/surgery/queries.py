"""A reference with every kind of covariate, and new cells for it."""

import dataclasses

import numpy as np
from examples import options, probe

from latome.backend import torch
from latome.data.registry import Columns, open_data
from latome.data.simulate import simulate
from latome.fit import initialise, train
from latome.modules.scvi import ScviSettings

COLUMNS = Columns(batch="batch", labels="cell_type", categorical=("kit", "lane"), continuous=("age",))
EVERYTHING = ScviSettings(n_hidden=12, n_latent=3, n_layers=2, dispersion="gene-batch", encode_covariates=True,
                          use_observed_lib_size=False, gene_likelihood="nb", use_layer_norm="both")
DECAYED = options(weight_decay=0.1)


def cells(n=90, g=30, seed=1, **more):
    """Cells of two batches, with two further categorical covariates and a continuous one."""
    return simulate(n, g, 2, 2, depth=200, categorical={"kit": 3, "lane": 2}, continuous={"age": 0.3},
                    **{"seed": seed, **more})


def new_cells(word="new", **more):
    """Cells of other batches, and of one more kit."""
    adata = cells(**{"seed": 2, **more})
    adata.obs["batch"] = [f"{word} {batch}" for batch in adata.obs["batch"].astype(str)]
    kits = adata.obs["kit"].astype(str)
    adata.obs["kit"] = np.where(kits == kits.iloc[0], f"{word} kit", kits)
    return adata


def reference(settings=EVERYTHING, columns=COLUMNS, adata=None, **more):
    """(fit, data) of a reference, trained for a moment."""
    data = open_data(cells() if adata is None else adata, columns)
    return train(initialise(settings, data, seed=3), data, options(**more)), data


def with_registry(data, fit):
    """The data of the reference for a model of more categories: codes of known ones are the same."""
    return dataclasses.replace(data, registry=fit.registry)


def answers(fit, data):
    """{what: array} of posterior, decoding and parameters of the likelihood, at the means of the latents."""
    cells = probe(data, data.n_cells)
    with torch.no_grad():
        _, posterior, latents = fit.module.explain(cells, "mean")
        likelihood = fit.module.generative(latents, cells).likelihood["x"]
    found = {"mean": likelihood.mean, "log_prob": likelihood.log_prob(cells["x"])}
    found |= {name: torch.stack([q.mean, q.variance]) for name, q in posterior.items()}
    return {name: value.detach().numpy() for name, value in found.items()}


def equal(one, other):
    """Whether two sets of answers are the same, bit for bit."""
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)
