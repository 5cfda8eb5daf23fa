"""Arrays of a CellAssign case, by scvi-tools' names."""

import numpy as np

from latome.analysis.labels import label_probabilities
from latome.backend import torch
from parity_cases.compare import NotYet
from parity_cases.scvi_arrays import full_batch

__all__ = ["CellassignArrays"]

SHOWN = 40                                             # cells whose means and dispersions are stored


class CellassignArrays:
    """Answers `array(name)` for one fit and one dataset.

    Arguments
    ---------
    fit, data : a `Fit` of kind "cellassign" and a `Dataset` opened with its registry.
    """

    def __init__(self, fit, data):
        self.fit, self.module, self.data = fit, fit.module, data
        self.cells = full_batch(data)

    @torch.no_grad()
    def array(self, name):
        """The array of that name; NotYet where latome has no such number."""
        answers = {
            "gamma": lambda: label_probabilities(self.module, self.data),
            "gamma_columns": lambda: self.fit.registry.categories["labels"],
            "mu": lambda: self.by_type("mean"), "phi": lambda: self.by_type("theta"),
            "p_x_c": lambda: self.module.joint(self.cells),
            "q_per_cell": lambda: self.terms().reconstruction(),
            "loss": lambda: self.module.loss(self.terms(), 1.0, self.data.n_cells),
            "neg_log_prior": lambda: sum(self.module.global_terms().values()),
        }
        if name not in answers:
            raise NotYet(f"no counterpart of '{name}'")
        return np.asarray(answers[name]())

    def terms(self):
        return self.module.terms(self.cells)

    def by_type(self, parameter):
        """(cells, genes, types) of a parameter of the counts."""
        n = self.data.n_cells
        each = [self.module.generative({"type": torch.full((n,), code)}, self.cells).likelihood["x"]
                for code in range(self.fit.registry.n_labels)]
        return torch.stack([getattr(counts, parameter)[:SHOWN] for counts in each], -1)
