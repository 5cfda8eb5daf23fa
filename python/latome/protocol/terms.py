"""The terms of a minibatch's objective, each one number a cell."""

from dataclasses import dataclass, field

from latome.backend import torch

__all__ = ["Term", "Terms", "added"]


def added(values):
    """The sum of tensors, without the zero that `sum` begins with: each operation costs microseconds a step."""
    values = iter(values)
    total = next(values)
    for value in values:
        total = total + value
    return total


@dataclass(frozen=True)
class Term:
    """One term of the objective.

    Arguments
    ---------
    value : (m,), in nats; a log-likelihood or a divergence.
    warmed : whether the KL warm-up scales it.
    weight : constant factor.
    """

    value: torch.Tensor
    warmed: bool = False
    weight: float = 1.0

    def scaled(self, kl_weight):
        """(m,): the value as it enters the loss."""
        factor = self.weight * (kl_weight if self.warmed else 1.0)
        return self.value if factor == 1 else self.value * factor


@dataclass(frozen=True)
class Terms:
    """A minibatch's objective: maximise log_likelihood - divergence - penalty.

    Arguments
    ---------
    log_likelihood, divergence : {name: Term}.
    penalty : {name: (scalar, weight)} further losses of the whole minibatch, such as a classifier's.
    tally : {name: tensor} of what is counted beside the objective. The loop adds them up over an epoch's minibatches,
        so their shapes stay the same; `Module.tallied` makes numbers of the sums.
    """

    log_likelihood: dict
    divergence: dict = field(default_factory=dict)
    penalty: dict = field(default_factory=dict)
    tally: dict = field(default_factory=dict)

    def reconstruction(self):
        """(m,): minus the log-likelihoods, unweighted."""
        return -added(term.value for term in self.log_likelihood.values())

    def divergences(self):
        """(m,): the divergences, unweighted; zeros where there are none."""
        values = [term.value for term in self.divergence.values()]
        return added(values) if values else torch.zeros_like(self.reconstruction())

    def per_cell(self, kl_weight):
        """(m,): the loss of each cell, weighted and warmed up."""
        gain = added(term.scaled(kl_weight) for term in self.log_likelihood.values())
        cost = [term.scaled(kl_weight) for term in self.divergence.values()]
        return added(cost) - gain if cost else -gain
