"""AutoZI as an object."""

from latome.analysis.zero_inflation import zero_inflation
from latome.backend import torch
from latome.data.registry import Columns
from latome.faces.counts import CountModel

__all__ = ["AUTOZI"]


class AUTOZI(CountModel):
    """AutoZI (Clivio et al., 2019): scVI that decides for each gene whether its counts are zero-inflated.

    Its marginal likelihood is that of a cell, given the posterior of zero inflation.

    Arguments
    ---------
    adata : AnnData prepared by `setup_anndata`.
    settings : n_hidden, n_latent, n_layers, dropout_rate, dispersion, latent_distribution, alpha_prior, beta_prior
        (None: learnt), minimal_dropout, zero_inflation, use_observed_lib_size.

    Example
    -------
    >>> AUTOZI.setup_anndata(adata, batch_key="donor")
    >>> model = AUTOZI(adata)
    >>> model.train()
    >>> table = model.get_zero_inflation()
    >>> table[table["is_zero_inflated"]]["gene"]
    """

    kind = "autozi"

    @classmethod
    def setup_anndata(cls, adata, batch_key=None, labels_key=None, layer=None):
        """Say which columns play which role. Sets: `adata.uns["latome"]["AUTOZI"]`, a JSON text, and nothing else.

        Raises FieldError when a column is missing or holds what it should not, or the counts are not counts.
        """
        cls._set_up(adata, Columns(layer, batch_key, labels_key))

    @torch.no_grad()
    def get_alphas_betas(self, as_numpy=True):
        """{"alpha_posterior", "beta_posterior", "alpha_prior", "beta_prior"}: parameters of Beta distributions.

        The posterior's are (genes,), or (genes, categories) where zero inflation is decided by batch or label; the
        prior's (1,). The latter are those that were asked for, or what was learnt.
        """
        posterior, prior = self._fit.module.delta_posterior(), self._fit.module.delta_prior()
        found = {"alpha_posterior": posterior.alpha.t(), "beta_posterior": posterior.beta.t(),
                 "alpha_prior": prior.alpha.t(), "beta_prior": prior.beta.t()}
        return {name: value.numpy() for name, value in found.items()} if as_numpy else found

    def get_zero_inflation(self):
        """The decision by gene: a DataFrame of gene, batch or label (if by those), alpha, beta, prob_zero_inflated
        and is_zero_inflated."""
        return zero_inflation(self._fit.module, self._fit.registry)
