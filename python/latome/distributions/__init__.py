"""Floor 1: distributions whose log_prob is one number a cell."""

from latome.distributions.counts import NegativeBinomial, Poisson, ZeroInflatedNegativeBinomial
from latome.distributions.divergence import kl_divergence
from latome.distributions.normal import DiagonalNormal

__all__ = ["DiagonalNormal", "NegativeBinomial", "Poisson", "ZeroInflatedNegativeBinomial", "kl_divergence"]
