"""Arrays of a SOLO case, by scvi-tools' names."""

import numpy as np

from latome.analysis.labels import label_probabilities
from latome.analysis.sweep import sweep
from latome.compose.solo import drawn_pairs, open_features, simulated
from latome.data.sources import read_h5ad
from parity_cases.compare import NotYet

__all__ = ["SoloArrays"]

RATIO, SEED = 2, 1                                     # as theirs draws the pairs


class SoloArrays:
    """Answers `array(name)` for one fit and the features it was made with.

    Arguments
    ---------
    fit : a `Fit` of kind "solo".
    path : of the features.
    parent : what answers for the scVI model it was made from.
    """

    def __init__(self, fit, path, parent):
        self.fit, self.module, self.parent = fit, fit.module, parent
        self.data = open_features(read_h5ad(path), fit.registry)

    def array(self, name):
        """The array of that name; NotYet where latome has no such number."""
        answers = {
            "predict_soft": lambda: label_probabilities(self.module, self.data),
            "predict_soft_columns": lambda: self.fit.registry.categories["labels"],
            "predict_logits": self.logits,
            "doublet_parents": lambda: drawn_pairs(self.parent.data.codes["batch"], RATIO, SEED),
            "features": self.features,
        }
        if name not in answers:
            raise NotYet(f"no counterpart of '{name}'")
        return np.asarray(answers[name]())

    def features(self):
        """Of the observed cells and the doublets, encoded by the parent as latome simulates them."""
        _, made = simulated(self.parent.fit, self.parent.data, doublet_ratio=RATIO, seed=SEED)
        return made.source.take(np.arange(made.n_cells)).toarray()

    def logits(self):
        found = sweep(self.module, self.data,
                      lambda cells: {"logits": self.module.generative({}, cells).likelihood["labels"].logits})
        return found["logits"]
