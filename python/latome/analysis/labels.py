"""How likely each label is for each cell, by a model that knows labels."""

from typing import Literal

from latome.analysis.sweep import ELEMENTS, sweep
from latome.protocol.settings import check_setting

__all__ = ["label_probabilities"]


def label_probabilities(module, data, *, indices=None, batch_size=None, draw="mean"):
    """The probability of each label for each cell.

    Arguments
    ---------
    module : of a model with labels, such as scANVI.
    data : a `Dataset`.
    indices : rows to ask about, or a mask; None for all.
    batch_size : cells asked about at a time; None for as many as fit the cache.
    draw : "mean", at the posterior mean of the latent, or "sample", at one draw from it.

    Returns
    -------
    (n, labels) float32 whose rows sum to 1; columns in the order of `registry.categories["labels"]`.

    Example
    -------
    >>> label_probabilities(fit.module, data).argmax(1)
    """
    check_setting("draw", draw, Literal["mean", "sample"], {})

    def query(cells):
        return {"probabilities": module.label_probabilities(cells, draw)}

    return sweep(module, data, query, indices=indices, batch_size=batch_size, elements=ELEMENTS)["probabilities"]
