"""Which genes are zero-inflated, as an AutoZI model sees it."""

import numpy as np
import pandas as pd

from latome.backend import torch
from latome.errors import QueryError

__all__ = ["zero_inflation"]


@torch.no_grad()
def zero_inflation(module, registry):
    """The posterior of zero inflation by gene, and the decision.

        delta_g ~ Beta(alpha_g, beta_g),   zero-inflated where P(delta_g < 1/2) > 1/2

    Arguments
    ---------
    module, registry : of a fit of kind "autozi".

    Returns
    -------
    A DataFrame: gene; batch or label, where zero inflation was decided for each; alpha, beta (of the posterior);
    prob_zero_inflated, P(delta < 1/2); is_zero_inflated. Rows by gene, then batch or label, as the registry has them.

    Example
    -------
    >>> table = zero_inflation(fit.module, fit.registry)
    >>> table[table.is_zero_inflated].gene
    """
    from scipy.special import betainc

    posterior_of = getattr(module, "delta_posterior", None)
    if posterior_of is None:
        raise QueryError("model", problem=f"{module.title or type(module).__name__} does not decide which genes are "
                         "zero-inflated.", hint="Train a model of kind 'autozi'.")
    posterior, by = posterior_of(), module.settings.zero_inflation.removeprefix("gene").removeprefix("-")
    alpha, beta = (value.double().numpy() for value in (posterior.alpha, posterior.beta))     # (g,) or (categories, g)
    groups = registry.categories[{"batch": "batch", "label": "labels"}[by]] if by else [""]
    table = pd.DataFrame({"gene": np.repeat(registry.genes, len(groups))})
    if by:
        table[by] = list(groups) * registry.n_genes
    table["alpha"], table["beta"] = alpha.T.ravel(), beta.T.ravel()
    table["prob_zero_inflated"] = betainc(table["alpha"], table["beta"], 0.5)
    table["is_zero_inflated"] = table["prob_zero_inflated"] > 0.5
    return table
