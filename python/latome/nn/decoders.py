"""Decoders: from a latent to the parameters of the counts."""

from latome.backend import torch
from latome.kernels.heads import Affine
from latome.nn.blocks import FullyConnected, Inputs, over_samples
from latome.nn.covariates import CovariateLinear

__all__ = ["ExpressionDecoder", "LinearDecoder", "NormalizedLinear"]


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


class LinearDecoder(torch.nn.Module):
    """From z to the logits of expression and, where asked for, of zero inflation, by one normalised linear map each.

    Arguments
    ---------
    n_latent, n_genes : widths of z and of each output.
    inputs : the covariates, an `Inputs`.
    gate : give the logit of zero inflation.
    """

    def __init__(self, n_latent, n_genes, inputs=None, *, gate=False):
        super().__init__()
        sizes = (inputs or Inputs()).of_layer(0)
        self.logits = NormalizedLinear(n_latent, n_genes, *sizes)
        self.gate = NormalizedLinear(n_latent, n_genes, *sizes) if gate else None

    def forward(self, z, categories=None, continuous=None):
        """{"logits": `Affine` (..., m, g)} and "gate" likewise where the decoder has it."""
        inputs = self.logits.beside(z, categories, continuous)          # (..., m, p)
        heads = {"logits": self.logits, "gate": self.gate}
        return {name: head(inputs) for name, head in heads.items() if head is not None}


class NormalizedLinear(torch.nn.Module):
    """y = BatchNorm(W u), u = [z, continuous, one-hot covariates]: one affine map of u, in training too.

    The normalisation needs the mean and variance of W u over the cells, (g,) each. They follow from the mean and the
    covariance C of u, a matrix of p x p: mean(W u) = W mean(u), var(W u) = diag(W C W'). So no array of cells x genes
    is made for it, and the outputs are an `Affine` of u.

    Arguments
    ---------
    n_in, n_out, category_sizes, n_continuous : of the `CovariateLinear`, which has no bias.
    """

    def __init__(self, n_in, n_out, category_sizes=(), n_continuous=0):
        super().__init__()
        self.linear = CovariateLinear(n_in, n_out, category_sizes, n_continuous, bias=False)
        self.norm = torch.nn.BatchNorm1d(n_out, eps=1e-3, momentum=0.01)

    def beside(self, z, categories, continuous):
        """u (..., m, p) from z (..., m, k), categories (m, c) int64 and continuous (m, d)."""
        linear, parts = self.linear, [z]
        if linear.continuous is not None:
            parts.append(continuous)
        for column, table in zip(linear.columns, linear.tables, strict=True):
            one_hot = z.new_zeros(len(categories), len(table))           # torch's own looks at all codes first
            parts.append(one_hot.scatter_(1, categories[:, column, None], 1))
        return torch.cat([part.expand(*z.shape[:-1], -1) for part in parts], -1) if len(parts) > 1 else z

    def columns(self):
        """W' (p, g)."""
        linear = self.linear
        parts = [linear.weight.t(), *([] if linear.continuous is None else [linear.continuous.t()]), *linear.tables]
        return torch.cat(parts) if len(parts) > 1 else parts[0]

    def forward(self, u):
        """`Affine` (..., m, g) of u (..., m, p); in training with the moments of these cells."""
        norm, columns = self.norm, self.columns()
        if norm.training and type(norm) is not torch.nn.BatchNorm1d:    # one that looks beyond these cells
            return over_samples(norm, u @ columns)
        mean, variance = self._moments(u, columns) if norm.training else (norm.running_mean, norm.running_var)
        scale = norm.weight * (variance + norm.eps).rsqrt()             # (g,)
        return Affine(u, (columns * scale).t(), torch.addcmul(norm.bias, scale, mean, value=-1))

    def _moments(self, u, columns):
        """Mean and variance (g,) each of W u over these cells. Sets: the running ones, as `BatchNorm1d` does."""
        norm, u = self.norm, u.reshape(-1, u.shape[-1])
        middle, n = u.mean(0), len(u)
        centred = u - middle
        covariance = centred.t() @ centred / n                          # (p, p)
        mean = middle @ columns
        variance = (columns * (covariance @ columns)).sum(0).clamp_min(0)       # rounding may take it below
        with torch.no_grad():
            norm.num_batches_tracked.add_(1)
            norm.running_mean.lerp_(mean, norm.momentum)
            norm.running_var.lerp_(variance * (n / max(n - 1, 1)), norm.momentum)
        return mean, variance

    def loadings(self):
        """(g, k): diag(gamma / sqrt(running variance + eps)) W, the columns of z alone."""
        return self.linear.weight * (self.norm.weight * (self.norm.running_var + self.norm.eps).rsqrt()).unsqueeze(1)
