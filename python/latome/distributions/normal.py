"""The normal distribution with a diagonal covariance: every latent's posterior and prior."""

import math

import numpy as np

from latome.backend import torch

__all__ = ["DiagonalNormal", "LogisticNormal"]


class DiagonalNormal:
    """Normal(mean, diag(variance)) over a vector of k latents.

    Arguments
    ---------
    mean, variance : (..., k), or anything that broadcasts to it; variance > 0.
    """

    __slots__ = ("mean", "variance")

    def __init__(self, mean, variance):
        self.mean, self.variance = mean, variance

    @property
    def event_shape(self):
        """(k,)."""
        return self.mean.shape[-1:]

    @property
    def stddev(self):
        return self.variance.sqrt()

    def transform(self, z):
        """The latent (..., k) that a normal variable stands for: itself."""
        return z

    def rsample(self, sample_shape=()):
        """A draw (*sample_shape, ..., k) of the latent, through which gradients flow."""
        return self.transform(self.rsample_normal(sample_shape))

    def rsample_normal(self, sample_shape=()):
        """A draw (*sample_shape, ..., k) of the normal variable, through which gradients flow."""
        shape = np.broadcast_shapes(self.mean.shape, self.variance.shape)   # torch's own loads sympy: a second
        noise = torch.randn((*sample_shape, *shape), dtype=self.mean.dtype, device=self.mean.device)
        return self.mean + self.stddev * noise

    def log_prob(self, z):
        """(...,): log-density of the normal variable z (..., k), summed over latents, in nats."""
        square = (z - self.mean).square() / self.variance
        return -0.5 * (square + self.variance.log() + math.log(2 * math.pi)).sum(-1)

    def kl(self, other):
        """(...,): KL(self || other) in nats; `other` is a DiagonalNormal."""
        ratio = self.variance / other.variance
        shift = (self.mean - other.mean).square() / other.variance
        return 0.5 * (ratio - ratio.log() - 1 + shift).sum(-1)


class LogisticNormal(DiagonalNormal):
    """softmax of a `DiagonalNormal`: a latent of k positive shares that sum to 1.

    `mean`, `variance`, `log_prob` and `kl` are those of the normal variable, whose divergence from another is a bound
    on that of their softmax.
    """

    __slots__ = ()

    def transform(self, z):
        """The shares (..., k) that a normal variable stands for."""
        return z.softmax(-1)
