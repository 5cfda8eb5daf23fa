"""Arrays of a LinearSCVI case, by scvi-tools' names."""

from latome.analysis.loadings import loadings
from parity_cases.scvi_arrays import ScviArrays

__all__ = ["LdvaeArrays"]


class LdvaeArrays:
    """Answers `array(name)` for one fit and one dataset.

    Arguments
    ---------
    fit, data : a `Fit` of kind "ldvae" and a `Dataset` opened with its registry.
    """

    def __init__(self, fit, data):
        self.module = fit.module
        self.shared = ScviArrays(fit, data, "LinearSCVI", "decoder.factor_regressor.fc_layers.Layer 0.0.weight")

    def array(self, name):
        """The array of that name; NotYet where latome has no such number."""
        return loadings(self.module) if name == "loadings" else self.shared.array(name)
