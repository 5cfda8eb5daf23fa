"""Solo: a classifier for each batch, on an scVI of all cells."""

import numpy as np

from latome.bridge.answers import answers, asked, given
from latome.bridge.training import begun, ended, packed
from latome.compose.solo import doublet_scores, simulated
from latome.fit import check_seed
from latome.training.options import TrainingOptions
from latome.training.session import use_threads

__all__ = ["finish_doublets", "open_doublets", "start_doublets"]


@answers
def open_doublets(data, document, weights):
    """The scVI and its cells, for the runs of all batches."""
    return {"work": asked(document, weights, data)}


@answers
def start_doublets(work, rows, doublet_ratio, settings, options, seed):
    """A trainer on the cells in some rows and on doublets simulated of them."""
    parent, data = work
    options = TrainingOptions.make(**dict(options or {}))
    with use_threads(options.threads):
        fit, dataset = simulated(parent, data, rows=np.ravel(rows).astype(np.int64),
                                 doublet_ratio=float(doublet_ratio), settings=given(settings), seed=check_seed(seed))
    started = begun(fit, dataset, options)
    n = int(np.size(rows))
    return started | {"n_cells": n, "n_genes": None, "n_batch": None, "n_simulated": dataset.n_cells - n}


@answers
def finish_doublets(trainer):
    """The probability of a doublet: of the observed cells (m,), and of the simulated doublets; and the classifier."""
    fit = ended(trainer)
    scores = doublet_scores(fit, trainer.data)
    made = scores["simulated"].to_numpy(dtype=bool)
    values = scores["doublet"].to_numpy(dtype=np.float64)
    return packed(fit) | {"observed": values[~made], "simulated": values[made]}
