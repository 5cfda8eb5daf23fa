"""Arrays of an AUTOZI case, by scvi-tools' names."""

import re

from latome.backend import torch
from latome.distributions import mixed_gate
from latome.modules.expression import ExpressionModule
from parity_cases.scvi_arrays import ScviArrays

__all__ = ["AutoziArrays"]


class AutoziArrays:
    """Answers `array(name)` for one fit and one dataset.

    Arguments
    ---------
    fit, data : a `Fit` of kind "autozi" and a `Dataset` opened with its registry.
    """

    def __init__(self, fit, data):
        self.module, self.shared = fit.module, ScviArrays(fit, data, "AUTOZI")

    @torch.no_grad()
    def array(self, name):
        """The array of that name; NotYet where latome has no such number."""
        parameter = re.fullmatch(r"(alpha|beta)_(prior|posterior)", name)
        if parameter:
            distribution = {"prior": self.module.delta_prior, "posterior": self.module.delta_posterior}
            return getattr(distribution[parameter.group(2)](), parameter.group(1)).numpy()
        shared, module = self.shared, self.module
        own = {
            "bernoulli_mean": lambda: module.delta_posterior().mean,
            "kl_global": lambda: module.global_terms()["delta"],
            "px_dropout_logits": self.gate,
            "kl_divergence_z": lambda: shared.divergence("z"),
            "kl_divergence_l": lambda: shared.divergence("library") if module.library_encoder else torch.zeros(
                shared.data.n_cells),
        }
        return own[name]().numpy() if name in own else shared.array(name)

    def gate(self):
        """The zero inflation of a gene that has some: delta at zero."""
        gate = ExpressionModule.heads(self.module, self.shared.means, self.shared.cells)["gate"].value()
        return mixed_gate(gate, torch.zeros(()), self.module.settings.minimal_dropout)
