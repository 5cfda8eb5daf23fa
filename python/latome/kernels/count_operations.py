"""Likelihoods of counts in torch's operations: any device, float32 or float64; the equations stand in `counts`."""

from latome.backend import torch
from latome.kernels.gammas import wide_gamma_ratios

__all__ = ["EPS", "evaluate_by_operations", "nb_at_positive", "nb_at_zero"]

EPS = 1e-8                                             # inside the logarithms, as the reference text has it
TABLE = 16                                             # counts up to this are looked up
LARGEST_TABLE = 1 << 20                                # elements; beyond it, each entry is computed
SATURATED = 80.0                                       # a logit beyond this is certainty in float32


def nb_at_zero(mu, theta):
    """A = log p(0) of the NB, and its odds mu / (theta + eps) as log1p: both the shape of mu."""
    ratio = (mu / (theta + EPS)).log1p()
    return -theta * ratio, ratio


def nb_at_positive(x, mu, theta, ratio):
    """What log p(x) adds to log p(0) for a positive count, elementwise."""
    theta64 = theta.double()                                            # plain, differentiable: what tests compare with
    gammas = (torch.lgamma(x + theta64) - torch.lgamma(theta64)).to(mu.dtype)
    return x * ((mu + EPS).log() - (theta + EPS).log() - ratio) + gammas - torch.lgamma(x + 1)


def evaluate_by_operations(counts, kind, location, log_library, log_theta, gate, *, gradient, theta_rows=None):
    """(value, location, library, theta, gate) as `counts.evaluate` has them, theta by cell; None where not asked."""
    rho = None if log_library is None else location.softmax(1)
    mu = location.exp() if rho is None else rho * log_library.exp()
    if kind == "poisson":
        value, pull, theta_grad, gate_grad = _poisson(counts, mu, gradient)
    else:
        theta = _Theta(log_theta.exp(), theta_rows)
        value, pull, theta_grad, gate_grad = _negative_binomial(counts, mu, theta, gate, gradient)
    if not gradient:
        return value, None, None, None, None
    total = None
    if rho is not None:                                # through the softmax: pull - rho * sum(pull)
        total = pull.sum(1, keepdim=True)
        pull = torch.addcmul(pull, rho, total, value=-1)
    return value, pull, total, theta_grad, gate_grad


class _Theta:
    """Inverse dispersions (g,), (b, g) with the row of each cell, or (m, g): where each entry's stands."""

    def __init__(self, theta, rows):
        self.flat, self.rows, self.shared = theta.reshape(-1), rows, theta.dim() == 1
        self.tabulated = (self.shared or rows is not None) and theta.numel() * TABLE <= LARGEST_TABLE
        self.of_cells = theta if rows is None else theta.index_select(0, rows)          # (g,) or (m, g)

    def places(self, counts):
        """(nnz,) int64: where in `flat`."""
        if self.shared:
            return counts.indices
        rows = counts.rows if self.rows is None else self.rows.index_select(0, counts.rows)
        return rows * counts.n_genes + counts.indices


def _poisson(counts, mu, gradient):
    """Value (m,) and mu d/dmu (m, g)."""
    at = counts.positions
    x = counts.values.to(mu.dtype)
    log_mu = pick(mu, at).clamp_min(torch.finfo(mu.dtype).tiny).log()
    value = counts.row_sums(x * log_mu - torch.lgamma(x + 1)) - mu.sum(1)
    return value, add_at(-mu, at, x) if gradient else None, None, None


def _negative_binomial(counts, mu, thetas, gate, gradient):
    """Value (m,), mu d/dmu (m, g), d/dlog_theta (m, g) and d/dgate (m, g) of the NB or ZINB."""
    theta = thetas.of_cells                                             # (g,) or (m, g)
    at_zero, ratio = nb_at_zero(mu, theta)                              # (m, g) both
    at, places = counts.positions, thetas.places(counts)
    x = counts.values.to(mu.dtype)                                      # (nnz,)
    theta_at, mu_at, ratio_at = pick(thetas.flat, places), pick(mu, at), pick(ratio, at)
    gammas, digammas = _gamma_ratios(x, thetas, theta_at, places)
    change = x * ((mu_at + EPS).log() - (theta_at + EPS).log() - ratio_at) + gammas - torch.lgamma(x + 1)
    share = gate_grad = None
    if gate is None:
        value = at_zero.sum(1)
    else:
        value, change, share, gate_grad = _inflate(at_zero, gate, change, at, gradient)
    value = value + counts.row_sums(change)
    if not gradient:
        return value, None, None, None
    odds = mu / (mu + (theta + EPS))                                    # (m, g)
    theta_grad = torch.addcmul(ratio.neg_(), (theta / (theta + EPS)).expand_as(odds), odds).mul_(theta)
    odds_at = pick(odds, at)
    pull = odds.mul_(-theta)                                            # both as if every count were zero
    if share is not None:
        pull.mul_(share)
        theta_grad.mul_(share)
    add_at(pull, at, x * odds_at * (theta_at / (mu_at + EPS)))
    add_at(theta_grad, at, theta_at * (digammas - x / (theta_at + mu_at + EPS)))
    return value, pull, theta_grad, gate_grad


def _inflate(at_zero, gate, change, at, gradient):
    """Zero inflation of an NB: value at all zeros (m,), change at the entries (nnz,), share and d/dgate (m, g).

    `share` is how much of a zero the NB explains, s = sigmoid(A - c), and 1 at a positive count. By Bayes
    log p(0) = A + log(sigmoid(-c) / s), so the two sigmoids of the gradient also give the value.
    """
    change = change + pick(at_zero, at) - torch.nn.functional.softplus(pick(gate, at))
    bounded = gate.clamp_max(SATURATED)                                 # the sigmoids must not underflow
    at_zero = torch.maximum(at_zero, bounded - SATURATED)
    share = (at_zero - bounded).sigmoid_()
    closed = bounded.neg_().sigmoid_()                                  # sigmoid(-c)
    log_zero = at_zero.add_((closed / share).log_())
    change = change - pick(log_zero, at)
    if not gradient:
        return log_zero.sum(1), change, None, None
    share.view(-1).index_fill_(0, at, 1.0)
    return log_zero.sum(1), change, share, closed.sub_(share)


def _gamma_ratios(x, thetas, theta_at, places):
    """lgamma(x + theta) - lgamma(theta) and its derivative in theta, at the entries: (nnz,) both.

    Small whole counts of a theta that cells share come from a table, sum_{i < x} log(theta + i): exact, and without
    the cancellation of two large gammas. The others are taken in float64.
    """
    if not thetas.tabulated:
        return wide_gamma_ratios(x, theta_at)
    theta = thetas.flat
    steps = theta + torch.arange(TABLE, dtype=theta.dtype, device=theta.device).unsqueeze(1)     # (TABLE, g)
    count = x.long()
    place = (count.clamp(1, TABLE) - 1) * theta.shape[0] + places
    gammas = pick(steps.log().cumsum(0), place)
    digammas = pick(steps.reciprocal().cumsum(0), place)
    others = ((count > TABLE) | (count != x)).nonzero().squeeze(1)
    if others.numel() > theta.numel():                 # the gammas of theta itself once a gene, not once an entry
        gammas[others], digammas[others] = wide_gamma_ratios(x[others], theta, places[others])
    elif others.numel():
        gammas[others], digammas[others] = wide_gamma_ratios(x[others], theta_at[others])
    return gammas, digammas


def pick(dense, at):
    """(nnz,): the values of a dense array at flat positions."""
    return dense.reshape(-1).index_select(0, at)


def add_at(dense, at, values):
    """Add values (nnz,) to a dense (m, g) array at flat positions, in place."""
    dense.view(-1).index_add_(0, at, values)
    return dense
