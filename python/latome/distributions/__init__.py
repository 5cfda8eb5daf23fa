"""Floor 1: distributions whose log_prob is one number a cell."""

from latome.distributions.counts import NegativeBinomial, NormalCounts, Poisson, ZeroInflatedNegativeBinomial
from latome.distributions.divergence import kl_divergence
from latome.distributions.normal import DiagonalNormal, LogisticNormal

__all__ = ["DiagonalNormal", "LogisticNormal", "NegativeBinomial", "NormalCounts", "Poisson",
           "ZeroInflatedNegativeBinomial", "kl_divergence"]
