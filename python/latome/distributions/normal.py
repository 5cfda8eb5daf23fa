"""The normal distribution with a diagonal covariance: every latent's posterior and prior."""

import math

import numpy as np

from latome.backend import torch
from latome.kernels.latents import drawn_with_divergence

__all__ = ["DiagonalNormal", "LogisticNormal", "StandardNormal"]


class DiagonalNormal:
    """Normal(mean, diag(variance)) over a vector of k latents.

    Arguments
    ---------
    mean, variance : (..., k), or anything that broadcasts to it; variance > 0.
    """

    __slots__ = ("_from_standard", "mean", "variance")

    def __init__(self, mean, variance):
        self.mean, self.variance = mean, variance
        self._from_standard = None                     # the divergence, once a draw has computed it beside

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
        shape = self.mean.shape
        if shape != self.variance.shape:
            shape = np.broadcast_shapes(shape, self.variance.shape)     # torch's own loads sympy: a second
        noise = torch.randn((*sample_shape, *shape), dtype=self.mean.dtype, device=self.mean.device)
        both = drawn_with_divergence(self.mean, self.variance, noise)
        if both is None:
            return _Draw.apply(self.mean, self.variance, noise)
        z, self._from_standard = both
        return z

    def log_prob(self, z):
        """(...,): log-density of the normal variable z (..., k), summed over latents, in nats."""
        square = (z - self.mean).square() / self.variance
        return -0.5 * (square + self.variance.log() + math.log(2 * math.pi)).sum(-1)

    def kl(self, other):
        """(...,): KL(self || other) in nats; `other` is a DiagonalNormal."""
        if isinstance(other, StandardNormal) and self.mean.shape == self.variance.shape:
            known = self._from_standard
            return _FromStandard.apply(self.mean, self.variance) if known is None else known
        ratio = self.variance / other.variance
        shift = (self.mean - other.mean).square() / other.variance
        return 0.5 * (ratio - ratio.log() - 1 + shift).sum(-1)


class StandardNormal(DiagonalNormal):
    """Normal(0, I) over the vectors of latents `like` (..., k).

    Arguments
    ---------
    like : a tensor of the same width, type and device.
    """

    __slots__ = ("like",)

    def __init__(self, like):
        self.like, self._from_standard = like, None

    @property
    def mean(self):
        """(k,) zeros."""
        return torch.zeros(self.like.shape[-1], dtype=self.like.dtype, device=self.like.device)

    @property
    def variance(self):
        """(k,) ones."""
        return torch.ones(self.like.shape[-1], dtype=self.like.dtype, device=self.like.device)


class _Draw(torch.autograd.Function):
    """mean + sqrt(variance) noise, of the shape of the noise."""

    @staticmethod
    def forward(ctx, mean, variance, noise):
        sd = variance.sqrt()
        ctx.save_for_backward(sd, noise)
        ctx.shapes = mean.shape, variance.shape
        return torch.addcmul(mean, sd, noise)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, upstream):
        sd, noise = ctx.saved_tensors
        of_mean, of_variance = ctx.shapes
        return upstream.sum_to_size(of_mean), (upstream * noise / sd).mul_(0.5).sum_to_size(of_variance), None


class _FromStandard(torch.autograd.Function):
    """KL(Normal(mean, variance) || Normal(0, I)), (...,): one node of the graph rather than a dozen."""

    @staticmethod
    def forward(ctx, mean, variance):
        ctx.save_for_backward(mean, variance)
        return (variance + mean.square()).sub_(1).sub_(variance.log()).sum(-1).mul_(0.5)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, upstream):
        mean, variance = ctx.saved_tensors
        upstream = upstream.unsqueeze(-1)
        return upstream * mean, (variance.reciprocal().neg_().add_(1)).mul_(0.5 * upstream)


class LogisticNormal(DiagonalNormal):
    """softmax of a `DiagonalNormal`: a latent of k positive shares that sum to 1.

    `mean`, `variance`, `log_prob` and `kl` are those of the normal variable, whose divergence from another is a bound
    on that of their softmax.
    """

    __slots__ = ()

    def transform(self, z):
        """The shares (..., k) that a normal variable stands for."""
        return z.softmax(-1)
