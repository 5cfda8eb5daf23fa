"""Ratios of gamma functions, as the negative binomial needs them, without cancellation.

For y = x + theta and Stirling's series, log Gamma(y) = (y - 1/2) log y - y + log(2 pi) / 2 + c(y),

    lgamma(y) - lgamma(theta)   = (y - 1/2) log(1 + x / theta) + x (log theta - 1) + c(y) - c(theta)
    digamma(y) - digamma(theta) = log(1 + x / theta) + x / (2 theta y) - d(y) + d(theta)

holds its precision however large theta is. Abramowitz and Stegun, 6.1.40 and 6.3.18.
"""

import math

from latome.backend import torch

__all__ = ["wide_gamma_ratios"]

STIRLING = 16.0                                        # from here on the series is exact in float64
HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


def wide_gamma_ratios(x, theta, genes=None):
    """lgamma(x + theta) - lgamma(theta) and digamma(x + theta) - digamma(theta) at the entries.

    Arguments
    ---------
    x : (nnz,) or any shape; counts, >= 0, whole or not.
    theta : > 0, of the shape of x; or (g,), and
    genes : (nnz,) which theta each count goes with.

    Returns two tensors of the shape of x and the type of theta; float64 is used on the way.
    """
    def at(values):
        return values if genes is None else values.index_select(0, genes)

    wide, x64 = theta.double(), x.double()
    base = torch.lgamma(wide), torch.digamma(wide)                      # once a gene
    theta_at = at(wide)
    y = x64 + theta_at
    gammas, digammas = _stirling(y)
    gammas.sub_(at(base[0]))
    digammas.sub_(at(base[1]))
    if bool((wide >= STIRLING).any()):
        large = (theta_at >= STIRLING).nonzero(as_tuple=True)
        gammas[large], digammas[large] = _ratios_of_large(x64[large], theta_at[large], y[large])
    return gammas.to(theta.dtype), digammas.to(theta.dtype)


def _ratios_of_large(x, theta, y):
    growth = (x / theta).log1p()
    (c_y, d_y), (c_theta, d_theta) = _corrections(1 / y), _corrections(1 / theta)
    gammas = (y - 0.5) * growth + x * (theta.log() - 1) + c_y - c_theta
    return gammas, growth + x / (2 * theta * y) - d_y + d_theta


def _stirling(y):
    """lgamma and digamma; the series is faster than the exact functions, which remain for small y."""
    inverse, log = y.reciprocal(), y.log()
    c, d = _corrections(inverse)
    gammas = c.add_(HALF_LOG_2PI).sub_(y).addcmul_(y - 0.5, log)
    digammas = log.sub_(d).sub_(inverse, alpha=0.5)
    small = (y < STIRLING).nonzero(as_tuple=True)
    if small[0].numel():
        gammas[small], digammas[small] = torch.lgamma(y[small]), torch.digamma(y[small])
    return gammas, digammas


def _corrections(inverse):
    """c and d of the series, from 1 / y."""
    square = inverse * inverse
    c = (square * (-1 / 1680)).add_(1 / 1260).mul_(square).sub_(1 / 360).mul_(square).add_(1 / 12).mul_(inverse)
    d = (square * (-1 / 240)).add_(1 / 252).mul_(square).sub_(1 / 120).mul_(square).add_(1 / 12).mul_(square)
    return c, d
