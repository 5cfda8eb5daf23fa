"""Models as objects, in the interface of the papers: set up an AnnData, make a model, train it, ask it."""

from latome.data.registry import Columns
from latome.faces.autozi import AUTOZI
from latome.faces.cellassign import CellAssign
from latome.faces.counts import CountModel
from latome.faces.linear_scvi import LinearSCVI
from latome.faces.scanvi import SCANVI
from latome.faces.solo import SOLO

__all__ = ["AUTOZI", "CellAssign", "LinearSCVI", "SCANVI", "SCVI", "SOLO"]


class SCVI(CountModel):
    """scVI (Lopez et al., 2018).

    Arguments
    ---------
    adata : AnnData prepared by `setup_anndata`.
    settings : n_hidden, n_latent, n_layers, dropout_rate, dispersion, gene_likelihood, use_observed_lib_size,
        latent_distribution, encode_covariates, deeply_inject_covariates, use_batch_norm, use_layer_norm,
        batch_representation, log_variational, var_activation, continuous_in, for_mapping.

    Example
    -------
    >>> SCVI.setup_anndata(adata, batch_key="donor")
    >>> model = SCVI(adata, n_latent=20)
    >>> model.train()
    >>> adata.obsm["X_scvi"] = model.get_latent_representation()
    """

    kind = "scvi"

    @classmethod
    def setup_anndata(cls, adata, layer=None, batch_key=None, labels_key=None, size_factor_key=None,
                      categorical_covariate_keys=None, continuous_covariate_keys=None):
        """Say which columns play which role. Sets: `adata.uns["latome"]["SCVI"]`, a JSON text, and nothing else.

        Raises FieldError when a column is missing or holds what it should not, or the counts are not counts.
        """
        cls._set_up(adata, Columns(layer, batch_key, labels_key, categorical_covariate_keys, continuous_covariate_keys,
                                   size_factor=size_factor_key))
