"""A module whose posterior and decoder are written down, so that what must come out is known."""

import anndata
import numpy as np
import pandas as pd

from latome.backend import torch
from latome.data.registry import Columns, open_data
from latome.distributions import DiagonalNormal, Poisson
from latome.protocol import Generated, Module

SIZES = {"a": 30, "b": 50, "c": 20}                     # cells by type
LEVEL = {"a": 1.0, "b": 0.0, "c": -0.5}                 # of z: half the natural log of the ratio of the two genes


class Known(Module):
    """Two genes and one latent: log(rho_1 / rho_2) = 2 z + lift of the batch, z ~ Normal(level of the cell, variance).

    Arguments
    ---------
    variance : of each cell's posterior.
    lift : by batch.
    """

    def __init__(self, variance=1e-12, lift=(0.0, 0.0)):
        super().__init__()
        self.variance, self.lift = variance, torch.tensor(lift)
        self.encoded, self.decoded = [], []

    def inference(self, cells):
        self.encoded += cells["index"].tolist()
        mean = cells["continuous"]                                      # (m, 1)
        return {"z": DiagonalNormal(mean, torch.full_like(mean, self.variance))}

    def generative(self, latents, cells):
        assert not self.training and torch.is_inference_mode_enabled()
        self.decoded += zip(cells["index"].tolist(), cells["batch"].tolist(), strict=True)
        ratio = 2 * latents["z"] + self.lift[cells["batch"]][:, None]   # (m, 1)
        logits = torch.cat([ratio / 2, -ratio / 2], dim=1)
        return Generated({"x": Poisson(logits=logits, log_library=cells["total"].log()[:, None])})


def known_cells(levels=LEVEL, sizes=SIZES, batches=None, seed=0):
    """An AnnData of two genes, cells of one type after another; `batches` is the share of batch "y" by type."""
    rng = np.random.default_rng(seed)
    kinds = np.repeat(list(sizes), list(sizes.values()))
    share = np.array([(batches or {}).get(kind, 0.5) for kind in kinds])
    obs = pd.DataFrame({"type": kinds, "level": [levels[kind] for kind in kinds],
                        "batch": np.where(rng.random(len(kinds)) < share, "y", "x")},
                       index=[f"cell_{i}" for i in range(len(kinds))])
    obs.iloc[:2, obs.columns.get_loc("batch")] = ["x", "y"]             # both batches are there
    return anndata.AnnData(rng.poisson(20, (len(kinds), 2)).astype(np.float32) + 1, obs=obs)


def opened(adata):
    """Its `Dataset`."""
    return open_data(adata, Columns(batch="batch", continuous=("level",)))


def log2_ratio(first, second):
    """log2 fold change of gene 1 between two values of log(rho_1 / rho_2)."""
    rho = [1 / (1 + np.exp(-value)) for value in (first, second)]
    return np.log2(rho[0] / rho[1])
