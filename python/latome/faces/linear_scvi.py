"""LDVAE as an object."""

import pandas as pd

from latome.analysis.loadings import loadings
from latome.data.registry import Columns
from latome.faces.counts import CountModel

__all__ = ["LinearSCVI"]


class LinearSCVI(CountModel):
    """LDVAE (Svensson et al., 2020): scVI with a linear decoder, whose weights are loadings of genes.

    Arguments
    ---------
    adata : AnnData prepared by `setup_anndata`.
    settings : n_hidden, n_latent, n_layers (of the encoder), dropout_rate, dispersion, gene_likelihood,
        use_observed_lib_size, latent_distribution.

    Example
    -------
    >>> LinearSCVI.setup_anndata(adata, batch_key="donor")
    >>> model = LinearSCVI(adata, n_latent=10)
    >>> model.train()
    >>> model.get_loadings()["Z_0"].nlargest(20)
    """

    kind = "ldvae"

    @classmethod
    def setup_anndata(cls, adata, batch_key=None, labels_key=None, layer=None):
        """Say which columns play which role. Sets: `adata.uns["latome"]["LinearSCVI"]`, a JSON text, and nothing else.

        Raises FieldError when a column is missing or holds what it should not, or the counts are not counts.
        """
        cls._set_up(adata, Columns(layer, batch_key, labels_key))

    def get_loadings(self):
        """The change of each gene's logit of expression along each factor: a DataFrame (genes x Z_0, Z_1, ...)."""
        values = loadings(self._fit.module)
        return pd.DataFrame(values, index=self._genes(None), columns=[f"Z_{i}" for i in range(values.shape[1])])
