"""Arrays of a SCANVI case, by scvi-tools' names."""

from functools import cached_property

import numpy as np

from latome.analysis.labels import label_probabilities
from latome.backend import torch
from latome.distributions import kl_divergence
from latome.protocol.priors import standard_normal
from parity_cases.scvi_arrays import ScviArrays

__all__ = ["ScanviArrays"]


class ScanviArrays:
    """Answers `array(name)` for one fit and one dataset.

    Arguments
    ---------
    fit, data : a `Fit` of kind "scanvi" and a `Dataset` opened with its registry.
    """

    def __init__(self, fit, data):
        self.fit, self.module, self.data = fit, fit.module, data
        self.shared = ScviArrays(fit, data, "SCANVI")
        self.labels = np.array(fit.registry.categories["labels"])

    def array(self, name):
        """The array of that name; NotYet where latome has no such number."""
        own = {
            "predict_soft": lambda: self.probabilities, "predict_soft_columns": lambda: self.labels,
            "predict_hard": lambda: self.labels[self.probabilities.argmax(1)],
            "classifier_logits": lambda: self.logits,
            "qz2_mean": lambda: self.by_label[0].mean, "qz2_var": lambda: self.by_label[0].variance,
            "pz1_mean": lambda: self.by_label[1].mean, "pz1_var": lambda: self.by_label[1].variance,
            "kl_z": lambda: self.divergence(self.module.posterior(self.shared.cells)["z"]),
            "kl_z2": lambda: self.divergence(self.by_label[0]).t(),
            "reconstruction_loss": lambda: -self.shared.terms.log_likelihood["x"].value,
            "module_reconstruction_loss": lambda: self.shared.terms.reconstruction(),
            "module_kl_local": lambda: self.shared.terms.divergences(),
            "classification_cross_entropy": self.cross_entropy,
        }
        if name not in own:
            return self.shared.array(name)
        with torch.no_grad():
            found = own[name]()
        return found.numpy() if isinstance(found, torch.Tensor) else np.asarray(found)

    # parts -------------------------------------------------------------------------------------------------
    @cached_property
    def probabilities(self):
        return label_probabilities(self.module, self.data)

    @cached_property
    def z(self):
        return self.shared.means["z"]                                   # (m, k)

    @cached_property
    def logits(self):
        return self.module.classifier(self.z)

    @cached_property
    def by_label(self):
        """q(z2 | z, y) at the mean of z, and p(z | z2, y) at the mean of that: moments (labels, m, k)."""
        m, found = len(self.z), ([], [])
        for code in range(len(self.labels)):
            codes = torch.full((m, 1), code)
            q = self.module.deeper(self.z, codes)
            for parts, distribution in zip(found, (q, self.module.shallower(q.mean, codes)), strict=True):
                parts.append(distribution)
        return [type(parts[0])(*(torch.stack([getattr(part, moment) for part in parts])
                                 for moment in ("mean", "variance"))) for parts in found]

    @staticmethod
    def divergence(q):
        return kl_divergence(q, standard_normal(q.mean))

    def cross_entropy(self):
        codes = torch.from_numpy(self.data.codes["labels"])
        return torch.nn.functional.cross_entropy(self.logits, codes, ignore_index=-1)
