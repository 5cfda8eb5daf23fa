"""Floor 1: distributions whose log_prob is one number a cell."""

from latome.distributions.bernoulli import Bernoulli
from latome.distributions.beta import Beta
from latome.distributions.categorical import Categorical
from latome.distributions.counts import NegativeBinomial, NormalCounts, Poisson, ZeroInflatedNegativeBinomial
from latome.distributions.divergence import kl_divergence
from latome.distributions.inflation import mixed_gate
from latome.distributions.mixture import NegativeBinomialMixture
from latome.distributions.normal import DiagonalNormal, LogisticNormal, StandardNormal

__all__ = ["Bernoulli", "Beta", "Categorical", "DiagonalNormal", "LogisticNormal", "NegativeBinomial",
           "NegativeBinomialMixture", "NormalCounts", "Poisson", "StandardNormal", "ZeroInflatedNegativeBinomial",
           "kl_divergence",
           "mixed_gate"]
