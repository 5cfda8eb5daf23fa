"""Loadings of genes on the factors of a linear decoder."""

from latome.backend import torch
from latome.errors import QueryError
from latome.nn import LinearDecoder

__all__ = ["loadings"]


@torch.no_grad()
def loadings(module):
    """How much each gene's logit of expression changes along each factor, from the weights of the linear decoder.

        diag(gamma / sqrt(v + eps)) W

    with W the weights of the factors, and gamma, v and eps of the batch normalisation that follows them. Weights of
    batches and covariates are left out.

    Arguments
    ---------
    module : of a fit of kind "ldvae".

    Returns
    -------
    (g, k) float32, rows in the order of the registry's genes.

    Example
    -------
    >>> loadings(fit.module)[:, 0].argsort()[-10:]                  # the genes that grow most along the first factor
    """
    decoder = getattr(module, "decoder", None)
    if not isinstance(decoder, LinearDecoder):
        raise QueryError("model", problem=f"{module.title or type(module).__name__} has no linear decoder, so genes "
                         "have no loadings.", hint="Train a model of kind 'ldvae'.")
    return decoder.logits.loadings().numpy()
