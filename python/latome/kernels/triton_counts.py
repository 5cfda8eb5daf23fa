"""Likelihoods of counts on a CUDA device, in Triton; the equations stand in `counts`.

Three launches, and nothing is read back: every gene of a cell as a zero, with the softmax before it; what the entries
change, with gamma functions in float64; and the way back through the softmax. The arithmetic is tested by Triton's
interpreter on a processor. It has been neither compiled for nor timed on a GPU, so LATOME_TRITON=1 must ask for it;
without, a CUDA device takes torch's operations.
"""

import triton
import triton.language as tl

from latome.backend import torch

__all__ = ["evaluate_by_triton"]

KINDS = {"poisson": 0, "nb": 1, "zinb": 2}
BLOCK = 1024                                           # genes, or entries, that one program handles at once
POISSON, ZINB = tl.constexpr(0), tl.constexpr(2)
EPS, TINY = tl.constexpr(1e-8), tl.constexpr(1.1754944e-38)


def evaluate_by_triton(counts, kind, location, log_library, log_theta, gate, *, gradient, theta_rows=None):
    """(value, location, library, theta, gate) as `counts.evaluate` has them, theta by cell; None where not asked."""
    m, g = location.shape
    given = [one if one is None else one.detach().contiguous()
             for one in (location, log_library, log_theta, theta_rows, gate)]
    location, log_library, log_theta, theta_rows, gate = given
    value, total, shift, scale = location.new_empty(4, m)

    def result(wanted=True):
        return torch.empty_like(location) if gradient and wanted else None

    pull, theta, gate_grad = result(), result(log_theta is not None), result(gate is not None)
    form = 0 if log_theta is None or log_theta.dim() == 1 else 1 if theta_rows is not None else 2
    flags = {"KIND": KINDS[kind], "FORM": form, "LOGITS": log_library is not None, "GRADIENT": gradient, "BLOCK": BLOCK}
    arrays = (location, log_theta, theta_rows, gate, value, pull, theta, gate_grad, total, shift, scale)
    _zeros[(m,)](log_library, *arrays, g, **flags)
    _entries[(m,)](counts.indptr.long(), counts.indices.long(), counts.values.float(), *arrays, g, **flags)
    if not gradient:
        return value, None, None, None, None
    if log_library is None:
        return value, pull, None, theta, gate_grad
    _through_softmax[(m,)](location, log_library, pull, total, shift, scale, g, BLOCK=BLOCK)
    return value, pull, total.unsqueeze(1), theta, gate_grad


@triton.jit
def _log1p(x):
    """log(1 + x), x > -1: what rounding took from 1 + x is made good."""
    u = 1.0 + x
    found = tl.log(u) * (x / tl.where(u == 1.0, 1.0, u - 1.0))
    return tl.where(u == 1.0, x, tl.where(x > 1e30, x + x, found))


@triton.jit
def _zero(mu, theta, gate, KIND: tl.constexpr):
    """Of a zero: NB and full log-probability, odds, slope in log theta, share of the NB, and sigmoid(-gate)."""
    inverse = 1.0 / (theta + EPS)
    ratio = _log1p(mu * inverse)
    nb = -theta * ratio
    odds = mu / (mu + theta + EPS)
    near = ((odds / 6 + 0.2) * odds + 0.25) * odds + 1.0 / 3
    near = -theta * odds * ((near * odds + 0.5) * odds)                 # a series, where odds and ratio are close
    slope = tl.where(odds < 0.0625, near, theta * odds - theta * ratio) - theta * odds * (EPS * inverse)
    log_p, share, closed = nb, odds, odds
    if KIND == ZINB:
        a = nb - gate
        e1, e2 = tl.exp(-tl.abs(a)), tl.exp(-tl.abs(gate))
        level = tl.where(nb > gate, nb, gate) - tl.where(gate > 0, gate, 0.0)
        log_p = level + _log1p((e1 - e2) / (1.0 + e2)) + gate * 0.0
        share = tl.where(a < 0, e1, 1.0) / (1.0 + e1)
        closed = tl.where(gate > 0, e2, 1.0) / (1.0 + e2)
    return nb, log_p, odds, slope, share, closed


@triton.jit
def _theta_row(log_theta, theta_rows, n, g, FORM: tl.constexpr):
    """Where the cell's log_theta begins."""
    row = n * 0
    if FORM == 1:
        row = tl.load(theta_rows + n)
    if FORM == 2:
        row = n
    return log_theta + row * g


@triton.jit
def _softmax(location, log_library, n, g, BLOCK: tl.constexpr):
    """The largest logit of a cell, and what makes exp(logit - largest) its mean."""
    lanes = tl.arange(0, BLOCK)
    most = tl.full([BLOCK], -float("inf"), tl.float32)
    for start in range(0, g, BLOCK):
        j = start + lanes
        most = tl.maximum(most, tl.load(location + n * g + j, mask=j < g, other=-float("inf")))
    largest = tl.max(most, 0)
    sums = tl.zeros([BLOCK], tl.float32)
    for start in range(0, g, BLOCK):
        j = start + lanes
        sums += tl.exp(tl.load(location + n * g + j, mask=j < g, other=-float("inf")) - largest)
    return largest, tl.exp(tl.load(log_library + n)) / tl.sum(sums, 0)


@triton.jit
def _zeros(log_library, location, log_theta, theta_rows, gate, value, pull, theta_grad, gate_grad, total, shift, scale,
           g, KIND: tl.constexpr, FORM: tl.constexpr, LOGITS: tl.constexpr, GRADIENT: tl.constexpr,
           BLOCK: tl.constexpr):
    """One cell, all counts zero: value, total of d/dlog mu, gradients; shift, scale: mu = scale exp(l - shift)."""
    n = tl.program_id(0).to(tl.int64)
    largest, factor = 0.0, 1.0
    if LOGITS:
        largest, factor = _softmax(location, log_library, n, g, BLOCK)
    tl.store(shift + n, largest)
    tl.store(scale + n, factor)
    values, pulls = tl.zeros([BLOCK], tl.float32), tl.zeros([BLOCK], tl.float32)
    for start in range(0, g, BLOCK):
        j = start + tl.arange(0, BLOCK)
        inside, at = j < g, n * g + j
        mu = tl.exp(tl.load(location + at, mask=inside, other=-float("inf")) - largest) * factor
        slope = -mu
        if KIND == POISSON:
            values -= mu
        else:
            theta = tl.exp(tl.load(_theta_row(log_theta, theta_rows, n, g, FORM) + j, mask=inside, other=0.0))
            c = tl.load(gate + at, mask=inside, other=0.0) if KIND == ZINB else mu * 0.0
            nb, log_p, odds, of_theta, share, closed = _zero(mu, theta, c, KIND)
            values += tl.where(inside, log_p, 0.0)
            if KIND == ZINB:
                odds *= share
                of_theta *= share
            slope = -theta * odds
            if GRADIENT:
                tl.store(theta_grad + at, of_theta, mask=inside)
                if KIND == ZINB:
                    tl.store(gate_grad + at, closed - share, mask=inside)
        pulls += tl.where(inside, slope, 0.0)
        if GRADIENT:
            tl.store(pull + at, slope, mask=inside)
    tl.store(value + n, tl.sum(values, 0) + factor * 0.0)
    tl.store(total + n, tl.sum(pulls, 0))


@triton.jit
def _rest(inverse):
    """What Stirling's formula lacks of log Gamma(y), from 1 / y."""
    t = inverse * inverse
    return ((((-691.0 / 360360 * t + 1.0 / 1188) * t - 1.0 / 1680) * t + 1.0 / 1260) * t - 1.0 / 360) * t * inverse \
        + inverse / 12


@triton.jit
def _slope(inverse):
    """What log(y) - 1 / (2 y) has above digamma(y), from 1 / y."""
    t = inverse * inverse
    return (((((-691.0 / 32760 * t + 1.0 / 132) * t - 1.0 / 240) * t + 1.0 / 252) * t - 1.0 / 120) * t + 1.0 / 12) * t


@triton.jit
def _rising(t):
    """t (t + 1) ... (t + 7) and its derivative, by which Gamma is moved up to where Stirling's series holds."""
    p, dp = t, t * 0.0 + 1.0
    for i in tl.static_range(1, 8):
        dp = dp * (t + i) + p
        p = p * (t + i)
    return p, dp


@triton.jit
def _gamma_ratio(x, theta):
    """log Gamma(x + theta) - log Gamma(theta) and its derivative in theta; see csrc/wide.h."""
    y = x + theta
    a, b = 1.0 / (theta + 8.0), 1.0 / (y + 8.0)
    p_theta, d_theta = _rising(theta)
    p_y, d_y = _rising(y)
    growth = _log1p(x * a)
    slope = growth + 0.5 * x * a * b - _slope(b) + _slope(a) + d_theta / p_theta - d_y / p_y
    gammas = (y + 7.5) * growth + x * (tl.log(theta + 8.0) - 1.0) + _rest(b) - _rest(a) + tl.log(p_theta / p_y)
    return gammas, slope


@triton.jit
def _log_factorial(x):
    p, dp = _rising(x + 1.0)
    return (x + 8.5) * tl.log(x + 9.0) - (x + 9.0) + 0.9189385332046727 + _rest(1.0 / (x + 9.0)) - tl.log(p)


@triton.jit
def _nb_entry(x, mu, theta, gate, KIND: tl.constexpr):
    """What a positive count adds to the log-probability of zero; the slopes in log mu, log theta and gate."""
    nb, log_p, odds, of_theta, share, closed = _zero(mu, theta, gate, KIND)
    gammas, gamma_slope = _gamma_ratio(x, theta)
    more, both = mu + EPS, mu + theta + EPS
    change = x * (tl.log(more) - tl.log(both)) + gammas - _log_factorial(x)
    if KIND == ZINB:
        change += nb - log_p - _log1p(tl.exp(-tl.abs(gate))) - tl.where(gate > 0, gate, 0.0)
    return change, theta * odds * (x / more - 1.0), of_theta + theta * (gamma_slope - x / both), closed - 1.0


@triton.jit
def _entries(indptr, indices, counts, location, log_theta, theta_rows, gate, value, pull, theta_grad, gate_grad, total,
             shift, scale, g, KIND: tl.constexpr, FORM: tl.constexpr, LOGITS: tl.constexpr, GRADIENT: tl.constexpr,
             BLOCK: tl.constexpr):
    """One cell: what its entries change of the value, the total and the gradients."""
    n = tl.program_id(0).to(tl.int64)
    base, begin, end = tl.load(indptr), tl.load(indptr + n), tl.load(indptr + n + 1)
    changes, pulls = tl.zeros([BLOCK], tl.float64), tl.zeros([BLOCK], tl.float64)
    for start in range(begin - base, end - base, BLOCK):
        k = start + tl.arange(0, BLOCK)
        inside = k < end - base
        j = tl.load(indices + k, mask=inside, other=0)
        at = n * g + j
        x = tl.load(counts + k, mask=inside, other=1.0).to(tl.float64)
        e = tl.exp(tl.load(location + at, mask=inside, other=0.0) - tl.load(shift + n))
        mu = (e * tl.load(scale + n)).to(tl.float64)
        if KIND == POISSON:
            change = x * tl.log(tl.where(mu > TINY, mu, TINY)) - _log_factorial(x)
            slope = x - mu
        else:
            row = _theta_row(log_theta, theta_rows, n, g, FORM)
            theta = tl.exp(tl.load(row + j, mask=inside, other=0.0)).to(tl.float64)
            c = tl.load(gate + at, mask=inside, other=0.0).to(tl.float64) if KIND == ZINB else mu * 0.0
            change, slope, of_theta, of_gate = _nb_entry(x, mu, theta, c, KIND)
            if GRADIENT:
                tl.store(theta_grad + at, of_theta.to(tl.float32), mask=inside)
                if KIND == ZINB:
                    tl.store(gate_grad + at, of_gate.to(tl.float32), mask=inside)
        changes += tl.where(inside, change, 0.0)
        if GRADIENT:
            before = tl.load(pull + at, mask=inside, other=0.0).to(tl.float64)
            pulls += tl.where(inside, slope - before, 0.0)
            tl.store(pull + at, slope.to(tl.float32), mask=inside)
    tl.store(value + n, (tl.load(value + n) + tl.sum(changes, 0)).to(tl.float32))
    tl.store(total + n, (tl.load(total + n) + tl.sum(pulls, 0)).to(tl.float32))


@triton.jit
def _through_softmax(location, log_library, pull, total, shift, scale, g, BLOCK: tl.constexpr):
    """One cell: pull - rho total, in place."""
    n = tl.program_id(0).to(tl.int64)
    factor = tl.load(scale + n) / tl.exp(tl.load(log_library + n)) * tl.load(total + n)
    for start in range(0, g, BLOCK):
        j = start + tl.arange(0, BLOCK)
        inside = j < g
        e = tl.exp(tl.load(location + n * g + j, mask=inside, other=0.0) - tl.load(shift + n))
        tl.store(pull + n * g + j, tl.load(pull + n * g + j, mask=inside, other=0.0) - e * factor, mask=inside)
