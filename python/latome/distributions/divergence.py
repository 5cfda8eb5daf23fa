"""Kullback-Leibler divergence between the distributions of this floor, and those of torch."""

from latome.backend import torch
from latome.distributions.normal import DiagonalNormal

__all__ = ["kl_divergence"]


def kl_divergence(q, p):
    """KL(q || p) of one cell each: (...,), in nats.

    Two `DiagonalNormal`s, or two torch distributions (whose events are then summed by torch itself).
    """
    if isinstance(q, DiagonalNormal) and isinstance(p, DiagonalNormal):
        return q.kl(p)
    return torch.distributions.kl_divergence(q, p)
