"""Log-likelihoods of counts over a sparse minibatch, value and gradient in one pass.

For cell n and gene g, with mean mu, inverse dispersion theta and zero-inflation logit c (`gate`):

    NB       log p(x) = A + x [log(mu + eps) - log(theta + mu + eps)]
                          + lgamma(x + theta) - lgamma(theta) - lgamma(x + 1)
             A        = -theta log(1 + mu / (theta + eps))            the log-probability of zero
    ZINB     log p(0) = softplus(A - c) - softplus(-c)
             log p(x) = NB - softplus(c)                              x > 0
    Poisson  log p(x) = x log(mu) - mu - lgamma(x + 1)

Every gene is first treated as a zero, in closed form; the entries of the minibatch then add what a
positive count changes, so lgamma and digamma are taken at positive counts only. The gradient is analytic
and is computed beside the value: `backward` only multiplies. Means come either from logits,
mu = exp(log_library) softmax(logits), or from their logarithm.
"""

from latome.backend import torch
from latome.kernels.gammas import wide_gamma_ratios

__all__ = ["EPS", "count_log_prob", "nb_at_positive", "nb_at_zero"]

EPS = 1e-8                                             # inside the logarithms, as the reference text has it
TABLE = 16                                             # counts up to this are looked up
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


def count_log_prob(counts, *, kind, logits=None, log_library=None, log_mean=None, log_theta=None, gate=None):
    """Log-probability of each cell's counts, summed over genes.

    Arguments
    ---------
    counts : SparseCounts of m cells and g genes without explicit zeros.
    kind : "nb", "zinb" or "poisson".
    logits, log_library : (m, g) and (m, 1): the mean is exp(log_library) softmax(logits); or
    log_mean : (m, g), the logarithm of the mean.
    log_theta : (g,) or (m, g), logarithm of the inverse dispersion; not for "poisson".
    gate : (m, g), zero-inflation logit; for "zinb" only.

    Returns (m,), in nats.
    """
    from_logits = log_mean is None
    location = logits if from_logits else log_mean
    return _CountLogProb.apply(counts, kind, location, log_library if from_logits else None, log_theta, gate)


class _CountLogProb(torch.autograd.Function):
    """One node of the graph for the whole likelihood."""

    @staticmethod
    def forward(ctx, counts, kind, location, library, log_theta, gate):
        rho = None if library is None else location.softmax(1)
        mu = location.exp() if rho is None else rho * library.exp()
        if kind == "poisson":
            value, pull, theta_grad, gate_grad = _poisson(counts, mu)
        else:
            value, pull, theta_grad, gate_grad = _negative_binomial(counts, mu, log_theta, gate)
        total = None
        if rho is not None:                            # through the softmax: pull - rho * sum(pull)
            total = pull.sum(1, keepdim=True)
            pull = torch.addcmul(pull, rho, total, value=-1)
        ctx.save_for_backward(pull, total, theta_grad, gate_grad)
        ctx.shared_theta = log_theta is not None and log_theta.dim() == 1
        return value

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, upstream):
        pull, total, theta_grad, gate_grad = ctx.saved_tensors
        weight = upstream.unsqueeze(1)                                  # (m, 1)
        wanted = ctx.needs_input_grad[2:]
        location = weight * pull if wanted[0] else None
        library = weight * total if wanted[1] else None
        log_theta = None
        if wanted[2]:
            log_theta = upstream @ theta_grad if ctx.shared_theta else weight * theta_grad
        gate = weight * gate_grad if wanted[3] else None
        return None, None, location, library, log_theta, gate


def _poisson(counts, mu):
    """Value (m,) and mu d/dmu (m, g)."""
    at = counts.positions
    x = counts.values.to(mu.dtype)
    log_mu = pick(mu, at).clamp_min(torch.finfo(mu.dtype).tiny).log()
    value = counts.row_sums(x * log_mu - torch.lgamma(x + 1)) - mu.sum(1)
    return value, add_at(-mu, at, x), None, None


def _negative_binomial(counts, mu, log_theta, gate):
    """Value (m,), mu d/dmu (m, g), d/dlog_theta (m, g) and d/dgate (m, g) of the NB or ZINB."""
    theta = log_theta.exp()                                             # (g,) or (m, g)
    at_zero, ratio = nb_at_zero(mu, theta)                              # (m, g) both
    odds = mu / (mu + (theta + EPS))                                    # (m, g)
    at = counts.positions
    x = counts.values.to(mu.dtype)                                      # (nnz,)
    theta_at = theta.index_select(0, counts.indices) if theta.dim() == 1 else pick(theta, at)
    mu_at, ratio_at, odds_at = pick(mu, at), pick(ratio, at), pick(odds, at)
    gammas, digammas = _gamma_ratios(x, theta, theta_at, counts.indices)
    change = x * ((mu_at + EPS).log() - (theta_at + EPS).log() - ratio_at) + gammas - torch.lgamma(x + 1)

    theta_grad = torch.addcmul(ratio.neg_(), (theta / (theta + EPS)).expand_as(odds), odds).mul_(theta)
    pull = odds.mul_(-theta)                                            # both as if every count were zero
    gate_grad = None
    if gate is None:
        value = at_zero.sum(1)
    else:
        value, change, share, gate_grad = _inflate(at_zero, gate, change, at)
        pull.mul_(share)
        theta_grad.mul_(share)
    value = value + counts.row_sums(change)
    add_at(pull, at, x * (mu_at / (mu_at + EPS) - odds_at))
    add_at(theta_grad, at, theta_at * (digammas - x / (theta_at + mu_at + EPS)))
    return value, pull, theta_grad, gate_grad


def _inflate(at_zero, gate, change, at):
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
    share.view(-1).index_fill_(0, at, 1.0)
    return log_zero.sum(1), change, share, closed.sub_(share)


def _gamma_ratios(x, theta, theta_at, genes):
    """lgamma(x + theta) - lgamma(theta) and its derivative in theta, at the entries: (nnz,) both.

    Small whole counts of a gene-wise theta come from a table, sum_{i < x} log(theta + i): exact, and without
    the cancellation of two large gammas. The others are taken in float64.
    """
    if theta.dim() != 1:
        return wide_gamma_ratios(x, theta_at)
    steps = theta + torch.arange(TABLE, dtype=theta.dtype, device=theta.device).unsqueeze(1)     # (TABLE, g)
    count = x.long()
    place = (count.clamp(1, TABLE) - 1) * theta.shape[0] + genes
    gammas = pick(steps.log().cumsum(0), place)
    digammas = pick(steps.reciprocal().cumsum(0), place)
    others = ((count > TABLE) | (count != x)).nonzero().squeeze(1)
    if others.numel():
        gammas[others], digammas[others] = wide_gamma_ratios(x[others], theta, genes[others])
    return gammas, digammas


def pick(dense, at):
    """(nnz,): the values of a dense (m, g) array at flat positions."""
    return dense.reshape(-1).index_select(0, at)


def add_at(dense, at, values):
    """Add values (nnz,) to a dense (m, g) array at flat positions, in place."""
    dense.view(-1).index_add_(0, at, values)
    return dense
