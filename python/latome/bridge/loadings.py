"""Loadings of genes on the factors of a linear decoder."""

import numpy as np

from latome.analysis.loadings import loadings as loadings_of
from latome.bridge.answers import answers, doubts, unpacked

__all__ = ["loadings"]


@answers
def loadings(document, weights):
    """Loadings of the genes: (g, k)."""
    fit = unpacked(document, weights)
    return {"value": np.asfortranarray(loadings_of(fit.module), dtype=np.float64), "warnings": doubts(fit)}
