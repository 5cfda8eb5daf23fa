"""Encoders: from a cell to the distribution of its latents."""

from latome.backend import torch
from latome.distributions import DiagonalNormal
from latome.kernels.narrow import Head
from latome.nn.blocks import FullyConnected

__all__ = ["NormalEncoder"]

SMALLEST_VARIANCE = 1e-4


ACTIVATIONS = {"exp": torch.exp, "softplus": torch.nn.functional.softplus}


class NormalEncoder(torch.nn.Module):
    """q(z | x) = Normal(mean(h), exp(log_variance(h)) + 1e-4), with h a fully connected network of x.

    Arguments
    ---------
    n_in, n_out : widths of x and z.
    n_hidden, n_layers, inputs, **block : of the `FullyConnected` network.
    family : the distribution, `DiagonalNormal` or `LogisticNormal`.
    variance : "exp" or "softplus", what makes the variance positive.
    smallest : added to the variance.
    """

    def __init__(self, n_in, n_out, n_hidden, n_layers, inputs=None, *, family=DiagonalNormal, variance="exp",
                 smallest=SMALLEST_VARIANCE, **block):
        super().__init__()
        self.family, self.positive, self.smallest = family, ACTIVATIONS[variance], smallest
        self.hidden = FullyConnected(n_in, n_hidden, n_layers, inputs, **block)
        self.mean = torch.nn.Linear(n_hidden, n_out)
        self.log_variance = torch.nn.Linear(n_hidden, n_out)

    def forward(self, x, categories=None, continuous=None):
        """A distribution of the family over (m, n_out) from x (m, n_in)."""
        exponential = self.positive is torch.exp
        heads = (Head(self.mean.weight, self.mean.bias),
                 Head(self.log_variance.weight, self.log_variance.bias, self.smallest if exponential else None))
        mean, variance = self.hidden.to_heads(x, heads, categories, continuous)
        return self.family(mean, variance if exponential else self.positive(variance) + self.smallest)
