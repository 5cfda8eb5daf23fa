"""Small data and models that several tests use."""

import numpy as np

from latome.backend import torch
from latome.data.minibatches import Minibatches
from latome.data.registry import Columns, open_data
from latome.data.simulate import simulate
from latome.fit import fit, initialise
from latome.modules.scvi import ScviSettings
from latome.training.options import TrainingOptions

SMALL = ScviSettings(n_hidden=12, n_latent=3)


def small_data(n_cells=90, n_genes=30, **simulation):
    """An AnnData of two types in two batches, with two further covariates."""
    return simulate(n_cells, n_genes, 2, 2, depth=200, categorical={"kit": 3}, continuous={"age": 0.3},
                    **{"seed": 1, **simulation})


def opened(adata=None, **columns):
    """A `Dataset` of it, by batch."""
    return open_data(small_data() if adata is None else adata, Columns(batch="batch", **columns))


def options(**more):
    """`TrainingOptions` of a training that takes a moment."""
    return TrainingOptions(**{"max_epochs": 4, "batch_size": 32, "n_epochs_kl_warmup": 5, "lr": 5e-3, "device": "cpu",
                              **more})


def untrained(data=None, settings=SMALL, seed=0):
    """A fit before training."""
    return initialise(settings, opened() if data is None else data, seed=seed)


def trained(data=None, settings=SMALL, seed=0, **more):
    """A fit after a short training."""
    return fit(settings, opened() if data is None else data, options(**more), seed=seed)


def weights_of(module):
    """{name: array} of all weights and buffers, copied."""
    return {name: value.detach().cpu().numpy().copy() for name, value in module.state_dict().items()}


def same_weights(one, other):
    """Whether two fits agree bit for bit."""
    a, b = weights_of(one.module), weights_of(other.module)
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def same_history(one, other):
    """Whether two fits have the same history, bit for bit."""
    a, b = one.history.to_dict(), other.history.to_dict()
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name], equal_nan=True) for name in a)


def random_state():
    """The state of the caller's own generators."""
    return torch.get_rng_state().numpy().copy(), np.random.get_state()[1].copy()


def probe(data, n=7):
    """A minibatch of the first n cells."""
    return next(iter(Minibatches(data, range(min(n, data.n_cells)), n)))
