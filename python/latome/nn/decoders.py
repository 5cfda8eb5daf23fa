"""Decoders: from a latent to the parameters of the counts."""

from latome.backend import torch
from latome.kernels.heads import Affine
from latome.nn.blocks import FullyConnected

__all__ = ["ExpressionDecoder"]


class ExpressionDecoder(torch.nn.Module):
    """From z to the logits of expression and, where asked for, zero inflation and dispersion.

    Arguments
    ---------
    n_latent, n_genes : widths of z and of each output.
    n_hidden, n_layers, inputs, **block : of the `FullyConnected` network.
    gate : give the logit of zero inflation.
    cell_dispersion : give the log inverse dispersion of each gene in each cell.
    """

    def __init__(self, n_latent, n_genes, n_hidden, n_layers, inputs=None, *, gate=False,
                 cell_dispersion=False, **block):
        super().__init__()
        self.hidden = FullyConnected(n_latent, n_hidden, n_layers, inputs, **block)
        self.logits = torch.nn.Linear(n_hidden, n_genes)
        self.gate = torch.nn.Linear(n_hidden, n_genes) if gate else None
        self.log_theta = torch.nn.Linear(n_hidden, n_genes) if cell_dispersion else None

    def forward(self, z, categories=None, continuous=None):
        """{"logits": `Affine` (..., m, g)} and "gate", "log_theta" likewise where the decoder has them."""
        h = self.hidden(z, categories, continuous)                      # (..., m, h)
        heads = {"logits": self.logits, "gate": self.gate, "log_theta": self.log_theta}
        return {name: Affine(h, head.weight, head.bias) for name, head in heads.items() if head is not None}
