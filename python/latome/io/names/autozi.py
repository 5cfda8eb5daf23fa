"""Names of the tensors of AUTOZI: those of SCVI, and the parameters of zero inflation."""

from latome.io.names import scvi
from latome.io.names.parts import Entry, part_of

__all__ = ["entries", "spare"]

_TABLES = {"alpha_logit": "alpha_posterior_logit", "beta_logit": "beta_posterior_logit"}
_PRIORS = {"prior_alpha_logit": "alpha_prior_logit", "prior_beta_logit": "beta_prior_logit"}


def entries(module):
    """The entries of AUTOZI."""
    turned = module.alpha_logit.dim() == 2             # ours (categories, g), theirs (g, categories)
    return [*scvi.entries(module), *(Entry(peer, (part_of(module, ours, turned),)) for ours, peer in _TABLES.items()),
            *(Entry(peer, (part_of(module, ours),)) for ours, peer in _PRIORS.items())]


spare = scvi.spare
