"""Fully connected blocks: linear, normalisation, activation, dropout; covariates where asked for."""

from dataclasses import dataclass

from latome.backend import torch
from latome.kernels.layers import Layer, Norm, compiled, network
from latome.nn.covariates import CovariateLinear

__all__ = ["FullyConnected", "Inputs", "over_samples"]


@dataclass(frozen=True)
class Inputs:
    """What enters a network beside its first input.

    Arguments
    ---------
    category_sizes : number of categories of each categorical covariate.
    n_continuous : number of continuous covariates.
    every_layer : categorical covariates enter each layer, not the first alone.
    continuous_every_layer : continuous covariates do so too.
    """

    category_sizes: tuple = ()
    n_continuous: int = 0
    every_layer: bool = True
    continuous_every_layer: bool = False

    def of_layer(self, i):
        """(category sizes, number of continuous covariates) that enter layer i."""
        sizes = self.category_sizes if i == 0 or self.every_layer else ()
        n_continuous = self.n_continuous if i == 0 or self.continuous_every_layer else 0
        return sizes, n_continuous


def over_samples(layer, x):
    """Apply a layer that wants (rows, features) to x (..., rows, features)."""
    if x.dim() == 2:
        return layer(x)
    return layer(x.reshape(-1, x.shape[-1])).view(*x.shape[:-1], -1)


class FullyConnected(torch.nn.Module):
    """n_layers of linear -> batch norm -> layer norm -> ReLU -> dropout, each of n_hidden units.

    Arguments
    ---------
    n_in : width of the first input.
    n_hidden, n_layers : width and number of the layers.
    inputs : the covariates, an `Inputs`.
    dropout : probability of dropping a unit.
    batch_norm, layer_norm : which normalisations each layer has; layer norm has no parameters.
    """

    def __init__(self, n_in, n_hidden, n_layers, inputs=None, *, dropout=0.0, batch_norm=True, layer_norm=False):
        super().__init__()
        inputs = inputs or Inputs()
        self.linears = torch.nn.ModuleList(
            CovariateLinear(n_in if i == 0 else n_hidden, n_hidden, *inputs.of_layer(i)) for i in range(n_layers)
        )
        norms = [torch.nn.BatchNorm1d(n_hidden, eps=1e-3, momentum=0.01) for _ in range(n_layers if batch_norm else 0)]
        self.batch_norms = torch.nn.ModuleList(norms)
        self.layer_norm = layer_norm
        self.dropout = dropout

    def forward(self, x, categories=None, continuous=None):
        """(..., m, n_hidden) from x (..., m, n_in), or from SparseCounts (m, n_in)."""
        if self.compiled(x):
            return network(x, self.layers(categories, continuous))
        for i in range(len(self.linears)):
            x = self._layer(i, x, categories, continuous)
        return x

    def to_heads(self, x, heads, categories=None, continuous=None):
        """The outputs (..., m, k) of `Head`s over the last layer; x as above."""
        if self.compiled(x):
            return network(x, self.layers(categories, continuous), heads)
        h = self(x, categories, continuous)                             # (..., m, h)
        found = [torch.nn.functional.linear(h, head.weight, head.bias) for head in heads]
        return [y if head.floor is None else y.exp() + head.floor for y, head in zip(found, heads, strict=True)]

    def compiled(self, x):
        """Whether the compiled kernels do all of this network: normalised by torch's batch norm, or not at all."""
        if self.layer_norm or not compiled(x, self.linears[0].weight):
            return False
        return all(type(norm) is torch.nn.BatchNorm1d for norm in self.batch_norms)

    def _layer(self, i, x, categories, continuous):
        functional = torch.nn.functional
        x = self.linears[i](x, categories, continuous)
        if self.batch_norms:
            x = over_samples(self.batch_norms[i], x)
        if self.layer_norm:
            x = functional.layer_norm(x, x.shape[-1:])
        x = functional.relu(x)
        if self.dropout and self.training:
            x = functional.dropout(x, self.dropout)
        return x

    def layers(self, categories=None, continuous=None):
        """The `Layer`s of the compiled kernels."""
        norms = list(self.batch_norms) or [None] * len(self.linears)
        dropout = self.dropout if self.training else 0.0
        return [
            Layer(linear.weight, linear.bias, None if linear.continuous is None else continuous, linear.continuous,
                  categories, linear.columns, tuple(linear.tables) if linear.columns else (), _norm(norm), dropout)
            for linear, norm in zip(self.linears, norms, strict=True)
        ]


def _norm(batch):
    """The `Norm` of a batch norm, or None."""
    if batch is None:
        return None
    own, held = batch._parameters, batch._buffers      # plain dicts: a module's attributes are searched for
    return Norm(own["weight"], own["bias"], held["running_mean"], held["running_var"], held["num_batches_tracked"],
                batch.momentum, batch.eps, batch.training)
