"""Log-likelihoods of every cell under every draw of the latents, without working through each pair.

For (zero-inflated) negative binomials and Poisson counts whose theta is that of the gene, under a given library size,

    log p(x_a | z_s) = base_a + sum_g x_ag u_sg + sum_{g: x_ag > 0} v_sg + sum_g w_sg

so that all pairs are two products of matrices. Cells differ in their library sizes, on which each pair depends
smoothly: all cells are given the library sizes of a few Chebyshev nodes in turn, and each cell's own lies between.
"""

from dataclasses import dataclass

from latome.backend import torch
from latome.distributions import NegativeBinomial, Poisson, ZeroInflatedNegativeBinomial
from latome.kernels.counts import EPS, nb_at_zero
from latome.kernels.sparse import SparseCounts

__all__ = ["at_own_size", "log_likelihoods"]

TOLERANCE = 0.05                                       # nats: how well a polynomial must foretell the next nodes
NODES = 8                                              # intervals of the first polynomial


def log_likelihoods(counts, x, members, shift):
    """(s, a) float64: log p(x_a | z_s) of cells that share their covariates, in nats.

    Arguments
    ---------
    counts : distributions over (s, g) that the draws decode to, under the library size of the first cell where that is
        the cell's own.
    x : SparseCounts; `members` (a,) are the cells asked about.
    shift : (a,) log library size of each of them, less that of the first.
    """
    log_rate = counts.rate.log()                                        # (s, g)
    dense = torch.stack([_dense(x, member) for member in members.tolist()])                 # (a, g)
    if not _linear(counts):
        return torch.stack([
            counts.with_log_mean(log_rate + by).log_prob(SparseCounts.from_dense(row.expand_as(log_rate))).double()
            for by, row in zip(shift, dense, strict=True)], 1)
    form = _LinearForm(counts, log_rate, dense, (dense > 0).to(dense.dtype))
    return at_own_size(form, shift) + form.base()


def _dense(x, cell):
    row = torch.zeros(x.n_genes)
    entries = slice(int(x.indptr[cell]), int(x.indptr[cell + 1]))
    row[x.indices[entries]] = x.values[entries]
    return row


def _linear(counts):
    """Whether theta is the same for all draws, so that what it makes of a count is too."""
    if isinstance(counts, Poisson):
        return True
    if not isinstance(counts, NegativeBinomial | ZeroInflatedNegativeBinomial):
        return False
    theta = counts.log_theta
    return theta.dim() == 1 or bool((theta == theta[:1]).all())


@dataclass(frozen=True)
class _LinearForm:
    """The sums over genes of the equation above.

    Arguments
    ---------
    counts : a distribution over (s, g).
    log_rate : (s, g), the logarithm of its rate.
    x, expressed : (a, g) counts, and 1 where there are any.
    """

    counts: object
    log_rate: torch.Tensor
    x: torch.Tensor
    expressed: torch.Tensor

    def base(self):
        """(a,) float64: what no draw changes."""
        x = self.x.double()
        if isinstance(self.counts, Poisson):
            return -torch.lgamma(x + 1).sum(1)
        theta = self._theta().double()
        gammas = torch.lgamma(x + theta) - torch.lgamma(theta) - torch.lgamma(x + 1)
        return (gammas * self.expressed).sum(1)

    def _theta(self):
        theta = self.counts.theta
        return theta if theta.dim() == 1 else theta[0]

    def __call__(self, by, cells):
        """(s, a') float64: the rest, of some of the cells, if the log library size were greater by `by`."""
        mu = (self.log_rate + by).exp()
        x, expressed = self.x[cells], self.expressed[cells]
        if isinstance(self.counts, Poisson):
            return (mu.clamp_min(torch.finfo(mu.dtype).tiny).log() @ x.T - mu.sum(1, keepdim=True)).double()
        theta, softplus = self._theta(), torch.nn.functional.softplus
        w, ratio = nb_at_zero(mu, theta)                                # (s, g)
        u = (mu + EPS).log() - (theta + EPS).log() - ratio
        found = (u @ x.T).double()                                      # (s, a')
        if isinstance(self.counts, ZeroInflatedNegativeBinomial):
            gate = self.counts.gate
            zero = softplus(w - gate) - softplus(-gate)
            found += (w - softplus(gate) - zero) @ expressed.T
            w = zero
        return found + w.sum(1, keepdim=True)


def at_own_size(function, at):
    """(s, a): a smooth function(float, cells) -> (s, a') of each cell at its own place (a,), from few nodes.

    The nodes are doubled until the polynomial through them foretells the new ones within `TOLERANCE`. Where there are
    no more places than nodes, each is asked itself.
    """
    points, place = torch.unique(at.double(), return_inverse=True)
    low, width = float(points[0]), float(points[-1] - points[0])
    everyone, n, values = slice(None), NODES, None

    def values_at(angles):
        return torch.stack([function(low + width * (1 + float(c)) / 2, everyone) for c in angles.cos()], 2)

    while 2 * n + 1 < len(points):
        angles = torch.arange(n + 1, dtype=torch.float64) * torch.pi / n
        values = values_at(angles) if values is None else values        # (s, a, n + 1)
        between = (angles[:-1] + angles[1:]) / 2
        new = values_at(between)
        error = (values @ _weights(n, between.cos()).T - new).abs().max()
        values = torch.stack([values, torch.cat([new, new[..., :1]], 2)], 3).flatten(2)[..., :-1]          # interleaved
        n *= 2
        if error < TOLERANCE:
            own = _weights(n, 2 * (points - low) / width - 1)[place]    # (a, n + 1)
            return torch.einsum("san,an->sa", values, own)
    found = None
    for i, point in enumerate(points):
        cells = (place == i).nonzero().squeeze(1)
        part = function(float(point), cells)
        found = part.new_empty(len(part), len(at)) if found is None else found
        found[:, cells] = part
    return found


def _weights(n, at):
    """(a, n + 1): what the values at cos(pi j / n) contribute to their polynomial's at points (a,) of [-1, 1]."""
    nodes = (torch.arange(n + 1, dtype=torch.float64) * torch.pi / n).cos()
    sign = torch.ones(n + 1, dtype=torch.float64)
    sign[1::2] = -1
    sign[[0, -1]] /= 2
    apart = at.unsqueeze(1) - nodes                                     # barycentric formula
    exact = apart == 0
    terms = sign / torch.where(exact, 1.0, apart)
    terms = torch.where(exact.any(1, keepdim=True), exact.double(), terms)
    return terms / terms.sum(1, keepdim=True)
