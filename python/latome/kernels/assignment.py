"""Log-probability of each cell's counts under each cell type, where a type differs from the others at its markers only.

For cell n, gene g and type c, with size s_n, a cell's log rate eta_ng without markers and the fold change
delta_gc > 0 of the marker pairs (g, c):

    mu    = s_n exp(eta_ng + delta_gc [g is a marker of c])
    phi   = sum_b a_b exp(-(mu - v_b)^2 / (2 h^2)) + 1e-10         v_b = v_0 + b h, b = 0 ... B - 1
    log p = phi log(phi + eps) - (x + phi) log(phi + mu + eps) + x log(mu + eps)
            + lgamma(x + phi) - lgamma(phi) - lgamma(x + 1)

log p depends on c at marker pairs alone. So there are J = genes + pairs columns to evaluate, not genes x types: the
first g without any marker, then one a pair; each type's sum takes the pairs of its markers and the plain columns of
the other genes, which is one product with a 0/1 matrix `members` (J, C).

The Gaussians have equal spacing: with t = (mu - v_0) / h,

    exp(-(mu - v_b)^2 / (2 h^2)) = exp(-t^2 / 2) exp(t)^b exp(-b^2 / 2),

so phi and its derivative are polynomials in exp(t), by Horner's rule, times exp(-t^2 / 2); no exponential is taken a
Gaussian. Value and derivative are computed in one pass; lgamma and digamma are taken at positive counts only.
"""

from typing import NamedTuple

import numpy as np

from latome.backend import torch
from latome.kernels.counts import EPS

__all__ = ["Basis", "Panel", "dispersion", "marker_log_prob"]

SMALLEST_PHI = 1e-10
FURTHEST = {torch.float32: 18.0, torch.float64: 26.0}  # |t| beyond which phi is nothing; later the products overflow
SHIFT = 40.0                                           # exp(-SHIFT) in the weights: the polynomial stays in float32


class Panel(NamedTuple):
    """The marker pairs of g genes and C types.

    Arguments
    ---------
    gene, type : (p,) int64 of each pair, in the order of the genes.
    begin : (g + 1,) int64, where the pairs of each gene begin.
    columns : (J,) int64, the gene of each column: 0 ... g - 1, then those of the pairs.
    members : (J, C) float, 1 where a column counts for a type.
    """

    gene: object
    type: object
    begin: object
    columns: object
    members: object

    @classmethod
    def of(cls, markers):
        """From a bool array (g, C)."""
        gene, kind = markers.nonzero()
        members = np.concatenate([~markers, np.eye(markers.shape[1], dtype=bool)[kind]]).astype(np.float32)
        columns = np.concatenate([np.arange(len(markers)), gene])
        begin = np.append(0, markers.sum(1).cumsum())
        return cls(*(torch.from_numpy(values) for values in (gene, kind, begin, columns, members)))

    def entries(self, counts):
        """(which entry of the counts, its place in the flattened (m, J)) for every entry and column of its gene."""
        n, g = len(self.columns), counts.n_genes
        plain = counts.rows * n + counts.indices
        of_gene = self.begin.diff().index_select(0, counts.indices)     # pairs of the gene of each entry
        which = torch.repeat_interleave(of_gene)
        first = counts.rows * n + g + self.begin.index_select(0, counts.indices) - (of_gene.cumsum(0) - of_gene)
        places = torch.arange(len(which), device=which.device) + first.index_select(0, which)
        return torch.cat([torch.arange(len(plain), device=which.device), which]), torch.cat([plain, places])


class Basis(NamedTuple):
    """The Gaussians that the dispersion is made of, ten at most.

    Arguments
    ---------
    log_a : (B,) logarithms of their heights.
    first, spacing : 0-dimensional, the place v_0 of the first and their distance h.
    """

    log_a: object
    first: object
    spacing: object

    def weights(self):
        """(B,): what multiplies exp(t)^b, times exp(-SHIFT)."""
        b = torch.arange(len(self.log_a), dtype=self.log_a.dtype, device=self.log_a.device)
        return (self.log_a - b * b / 2 - SHIFT).exp()

    def places(self, mu):
        """t at means of any shape."""
        furthest = FURTHEST[mu.dtype]
        return ((mu - self.first) / self.spacing).clamp_(-furthest, furthest)

    def heights(self, t, *, slope):
        """(phi without its smallest value, its derivative by t if `slope`, else None)."""
        *lower, top = self.weights().unbind()
        growth = t.exp()
        value = (growth * top).add_(lower.pop())
        change = top.expand_as(t).clone() if slope else None            # the derivative by growth
        for weight in reversed(lower):
            if slope:
                torch.addcmul(value, change, growth, out=change)
            value.mul_(growth).add_(weight)
        half = (t * t).mul_(-0.25).add_(SHIFT / 2).exp_()               # twice: once would leave float32
        value.mul_(half).mul_(half)
        return value, change.mul_(growth).mul_(half).mul_(half).sub_(t * value) if slope else None

    def responses(self, t, outer):
        """(B,): sums of `outer`, of the shape of t, times each Gaussian: what reaches log_a through phi."""
        n = len(self.log_a)
        part = (t * (n - 1)).addcmul_(t, t, value=-0.5).exp_().mul_(outer)           # of the last Gaussian
        shrink = torch.neg(t).exp_()
        sums = [part.sum()]
        for _ in range(n - 1):                         # downwards: upwards would begin with zeros where t is large
            sums.append(part.mul_(shrink).sum())
        b = torch.arange(n, dtype=t.dtype, device=t.device)
        return torch.stack(sums[::-1]) * (self.log_a - b * b / 2).exp()


def dispersion(mu, basis):
    """phi at means of any shape."""
    return basis.heights(basis.places(mu), slope=False)[0] + SMALLEST_PHI


def marker_log_prob(counts, size, log_rate, delta, basis, panel):
    """(m, C): log p(x_n | type c), in nats.

    Arguments
    ---------
    counts : SparseCounts of m cells and g genes without explicit zeros.
    size : (m,), the size factors.
    log_rate : (1, g) or (m, g), eta.
    delta : (p,), of the pairs of `panel`.
    basis : `Basis`.
    panel : `Panel`.
    """
    by_column = log_rate.index_select(1, panel.columns)                 # (1 or m, J)
    by_column = by_column + torch.cat([delta.new_zeros(counts.n_genes), delta])
    return _Columns.apply(by_column, basis.log_a, counts, size, basis, panel) @ panel.members


class _Columns(torch.autograd.Function):
    """(m, J): log p of each column."""

    @staticmethod
    def forward(ctx, log_rate, log_a, counts, size, basis, panel):
        basis = basis._replace(log_a=log_a.detach())
        wanted = any(ctx.needs_input_grad[:2])
        mu = size.unsqueeze(1) * log_rate.exp()                         # (m, J)
        t = basis.places(mu)
        phi, slope = basis.heights(t, slope=wanted)
        phi.add_(SMALLEST_PHI)
        value, by_mu, by_phi = _at_zero(mu, phi, wanted)
        _add_positive(counts, panel, mu, phi, value, by_mu, by_phi)
        if wanted:
            by_rate = by_mu.addcmul_(by_phi, slope.div_(basis.spacing)).mul_(mu)
            ctx.save_for_backward(by_rate, by_phi, t)
            ctx.basis, ctx.one_row = basis, log_rate.shape[0] == 1
        return value

    @staticmethod
    def backward(ctx, gradient):
        by_rate, by_phi, t = ctx.saved_tensors
        by_rate = gradient * by_rate
        heights = ctx.basis.responses(t, gradient * by_phi)
        return by_rate.sum(0, keepdim=True) if ctx.one_row else by_rate, heights, None, None, None, None


def _at_zero(mu, phi, wanted):
    """(log p(0), its derivatives by mu and phi or None), each (m, J)."""
    near = phi + EPS
    log_ratio = (mu / near).log1p_()                                    # log((phi + mu + eps) / (phi + eps))
    value = (phi * log_ratio).neg_()
    if not wanted:
        return value, None, None
    by_mu = -phi / (near + mu)
    by_phi = phi.div(near).add_(by_mu).sub_(log_ratio)
    return value, by_mu, by_phi


def _add_positive(counts, panel, mu, phi, value, by_mu, by_phi):
    """Add in place what a positive count changes."""
    which, at = panel.entries(counts)
    x = counts.values.index_select(0, which)
    mu, phi = (values.view(-1).index_select(0, at) for values in (mu, phi))
    near, total = mu + EPS, phi + mu + EPS
    y = x + phi
    change = (near / total).log_().mul_(x).add_(torch.lgamma(y)).sub_(torch.lgamma(phi))
    # lgamma(x + 1) here, not once a cell: the sum over genes would grow, and lose its last digits
    change.sub_(torch.lgamma(counts.values + 1).index_select(0, which))
    value.view(-1).scatter_add_(0, at, change)
    if by_mu is not None:
        by_total = x / total
        by_mu.view(-1).scatter_add_(0, at, x.div(near).sub_(by_total))
        by_phi.view(-1).scatter_add_(0, at, _digamma(y).sub_(_digamma(phi)).sub_(by_total))


def _digamma(y):
    """digamma at y > 0: in float32 the series of Abramowitz and Stegun 6.3.18 at z = y + 6, and 6.3.6 back to y."""
    if y.dtype == torch.float64:
        return torch.digamma(y)
    v = y * (y + 5)                                    # y (y + 5), (y + 1) (y + 4), (y + 2) (y + 3) = v, v + 4, v + 6
    back = v.reciprocal().add_((v + 4).reciprocal_()).add_((v + 6).reciprocal_()).mul_(y * 2 + 5)
    z = y + 6
    inverse = z.reciprocal()
    square = inverse * inverse
    series = (square / 120).sub_(1 / 12).mul_(square)
    return z.log_().add_(inverse, alpha=-0.5).add_(series).sub_(back)
