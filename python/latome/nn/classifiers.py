"""Classifiers: from a vector to the logits of classes."""

from latome.backend import torch
from latome.kernels.narrow import Head
from latome.nn.blocks import FullyConnected

__all__ = ["Classifier"]


class Classifier(torch.nn.Module):
    """W h + b, with h a fully connected network of x, or x itself where there are no layers.

    Arguments
    ---------
    n_in, n_classes : widths of x and of the logits.
    n_hidden, n_layers, **block : of the `FullyConnected` network.
    """

    def __init__(self, n_in, n_classes, n_hidden, n_layers, **block):
        super().__init__()
        self.hidden = FullyConnected(n_in, n_hidden, n_layers, **block) if n_layers else None
        self.logits = torch.nn.Linear(n_hidden if n_layers else n_in, n_classes)

    def forward(self, x):
        """(..., m, classes) from x (..., m, n_in)."""
        weight, bias = self.logits.weight, self.logits.bias
        if self.hidden is None:
            return torch.nn.functional.linear(x, weight, bias)
        return self.hidden.to_heads(x, [Head(weight, bias)])[0]
