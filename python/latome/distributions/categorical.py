"""A label of each cell, one of L."""

from latome.backend import torch

__all__ = ["Categorical"]


class Categorical:
    """P(label = l) = softmax(logits)_l.

    Arguments
    ---------
    logits : (..., m, L), up to a constant a cell.
    """

    def __init__(self, logits):
        self.logits = logits

    @property
    def probabilities(self):
        """(..., m, L), each cell's sum to 1."""
        return self.logits.softmax(-1)

    def log_prob(self, labels):
        """(..., m): log-probability of the codes (m,) int64, in nats."""
        log_probabilities = self.logits.log_softmax(-1)
        codes = labels.expand(log_probabilities.shape[:-1]).unsqueeze(-1)
        return log_probabilities.gather(-1, codes).squeeze(-1)

    def sample(self):
        """(..., m) int64 codes drawn."""
        flat = self.probabilities.reshape(-1, self.logits.shape[-1])
        return torch.multinomial(flat, 1).view(self.logits.shape[:-1])
