"""What the models have in common that say what a cell is, and have no latent: SOLO and CellAssign."""

from abc import ABC

import numpy as np
import pandas as pd

from latome.errors import QueryError
from latome.faces.base import Model

__all__ = ["LabellingModel"]


class LabellingModel(Model, ABC):
    """A model whose answer is a label of each cell."""

    def __repr__(self):
        registry = self._fit.registry
        state = f"trained for {len(self._fit.history)} epochs" if self.is_trained else "not trained"
        labels = ", ".join(registry.categories["labels"])
        return (f"{type(self).__name__}: {registry.n_genes} features, {registry.n_labels} labels ({labels}), "
                f"{self._fit.n_parameters:,} parameters, {state}")

    def _table(self, verb, adata=None, indices=None, batch_size=None):
        """The answer (n, L) of a verb as a DataFrame: cells, by name, and labels."""
        values = self._ask(verb, adata, indices, batch_size)
        cells = np.asarray(self._data.cells if adata is None or adata is self.adata else adata.obs_names)
        return pd.DataFrame(values, index=cells if indices is None else cells[np.asarray(indices)],
                            columns=list(self._fit.registry.categories["labels"]))

    def get_latent_representation(self, *arguments, **keywords):
        """There is none. Raises QueryError."""
        raise self._without("latent")

    def minify_adata(self, *arguments, **keywords):
        """It needs a latent. Raises QueryError."""
        raise self._without("latent that minified data could keep")

    def _without(self, what):
        name = type(self).__name__
        return QueryError(what, problem=f"{name} has no {what}.", hint=f"Ask {name}.predict().")
