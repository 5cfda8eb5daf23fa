"""Labels that a model gives to cells."""

import numpy as np

from latome.analysis.labels import label_probabilities as probabilities_of
from latome.bridge.answers import answers, doubts, given, opened

__all__ = ["label_probabilities"]


@answers
def label_probabilities(document, weights, data, options=None, seed=0):
    """The probability of each label of a model in an AnnData's cells: (n, L)."""
    with opened(document, weights, data, seed) as (fit, dataset):
        found = probabilities_of(fit.module, dataset, **given(options))
        return {"probabilities": np.asfortranarray(found, dtype=np.float64), "warnings": doubts(fit)}
