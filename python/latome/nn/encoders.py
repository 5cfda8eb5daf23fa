"""Encoders: from a cell to the distribution of its latents."""

from latome.backend import torch
from latome.distributions import DiagonalNormal
from latome.nn.blocks import FullyConnected

__all__ = ["NormalEncoder"]

SMALLEST_VARIANCE = 1e-4


class NormalEncoder(torch.nn.Module):
    """q(z | x) = Normal(mean(h), exp(log_variance(h)) + 1e-4), with h a fully connected network of x.

    Arguments
    ---------
    n_in, n_out : widths of x and z.
    n_hidden, n_layers, inputs, **block : of the `FullyConnected` network.
    """

    def __init__(self, n_in, n_out, n_hidden, n_layers, inputs=None, **block):
        super().__init__()
        self.hidden = FullyConnected(n_in, n_hidden, n_layers, inputs, **block)
        self.mean = torch.nn.Linear(n_hidden, n_out)
        self.log_variance = torch.nn.Linear(n_hidden, n_out)

    def forward(self, x, categories=None, continuous=None):
        """A DiagonalNormal over (m, n_out) from x (m, n_in)."""
        h = self.hidden(x, categories, continuous)                      # (m, h)
        return DiagonalNormal(self.mean(h), self.log_variance(h).exp() + SMALLEST_VARIANCE)
