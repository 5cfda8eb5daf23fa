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

__all__ = ["EPS", "count_log_prob", "nb_at_positive", "nb_at_zero"]

EPS = 1e-8                                             # inside the logarithms, as the reference text has it


def nb_at_zero(mu, theta):
    """A = log p(0) of the NB, and its odds mu / (theta + eps) as log1p: both the shape of mu."""
    ratio = (mu / (theta + EPS)).log1p()
    return -theta * ratio, ratio


def nb_at_positive(x, mu, theta, ratio):
    """What log p(x) adds to log p(0) for a positive count, elementwise; gammas in float64: they cancel."""
    theta64 = theta.double()
    gammas = torch.lgamma(x + theta64) - torch.lgamma(theta64)
    return x * ((mu + EPS).log() - (theta + EPS).log() - ratio) + gammas.to(mu.dtype) - torch.lgamma(x + 1)


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
    log_mu = mu.view(-1)[at].clamp_min(torch.finfo(mu.dtype).tiny).log()
    value = counts.row_sums(x * log_mu - torch.lgamma(x + 1)) - mu.sum(1)
    pull = -mu
    pull.view(-1)[at] += x
    return value, pull, None, None


def _negative_binomial(counts, mu, log_theta, gate):
    """Value (m,), mu d/dmu (m, g), d/dlog_theta (m, g) and d/dgate (m, g) of the NB or ZINB."""
    m, g = mu.shape
    theta = log_theta.exp()                                             # (g,) or (m, g)
    at_zero, ratio = nb_at_zero(mu, theta)                              # (m, g) both
    odds = -torch.expm1(-ratio)                                         # mu / (theta + mu + eps)
    shrink = theta / (theta + EPS)
    at = counts.positions
    x = counts.values.to(mu.dtype)                                      # (nnz,)
    theta_at = theta[counts.indices] if theta.dim() == 1 else theta.reshape(-1)[at]
    mu_at, ratio_at, odds_at = (dense.view(-1)[at] for dense in (mu, ratio, odds))
    change = nb_at_positive(x, mu_at, theta_at, ratio_at)               # (nnz,)

    gate_grad = None
    pull, theta_grad = theta * -odds, theta * torch.addcmul(-ratio, shrink.expand(m, g), odds)
    if gate is None:
        value = at_zero.sum(1)
    else:
        open_, zero = -gate, at_zero - gate                             # zero: log-odds of a counted zero
        value = torch.nn.functional.softplus(zero).sum(1) - torch.nn.functional.softplus(open_).sum(1)
        change = change - torch.nn.functional.softplus(-zero.view(-1)[at])
        share = zero.sigmoid()                                          # of a zero that the NB explains
        share.view(-1)[at] = 1.0
        gate_grad = open_.sigmoid() - share
        pull *= share
        theta_grad *= share
    value = value + counts.row_sums(change)
    pull.view(-1)[at] += x * (mu_at / (mu_at + EPS) - odds_at)
    theta64 = theta_at.double()
    digammas = (torch.digamma(x + theta64) - torch.digamma(theta64)).to(mu.dtype)
    theta_grad.view(-1)[at] += theta_at * (digammas - x / (theta_at + mu_at + EPS))
    return value, pull, theta_grad, gate_grad
