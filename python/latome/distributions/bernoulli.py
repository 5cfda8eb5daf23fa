"""What is there or not in a cell, over the kernels."""

from latome.backend import torch
from latome.kernels.bernoulli import bernoulli_log_prob
from latome.kernels.sparse import SparseCounts

__all__ = ["Bernoulli"]


class Bernoulli:
    """Presence (x > 0) with probability sigmoid(logits), times factors of the cell and the region where there are any.

    Arguments
    ---------
    logits : (..., m, g).
    log_cell, log_region : (..., m, 1) and (g,), logarithms of the factors, at most zero; or None.
    """

    def __init__(self, *, logits, log_cell=None, log_region=None):
        self.logits, self.log_cell, self.log_region = logits, log_cell, log_region

    @property
    def event_shape(self):
        """(g,)."""
        return self.logits.shape[-1:]

    @property
    def batch_shape(self):
        """(..., m)."""
        return self.logits.shape[:-1]

    @property
    def mean(self):
        """(..., m, g): the probability of presence."""
        log_mean = torch.nn.functional.logsigmoid(self.logits)
        for factor in (self.log_cell, self.log_region):
            log_mean = log_mean if factor is None else log_mean + factor
        return log_mean.exp()

    def log_prob(self, x):
        """(..., m): log-probability of where x, a SparseCounts or a dense (m, g) tensor, is not zero, in nats."""
        counts = x if isinstance(x, SparseCounts) else SparseCounts.from_dense(x)
        if self.logits.dim() > 2:
            return torch.stack([self[i].log_prob(counts) for i in range(len(self.logits))])
        return bernoulli_log_prob(counts, logits=self.logits, log_cell=self.log_cell, log_region=self.log_region)

    def __getitem__(self, sample):
        """The distribution of one posterior sample, from a stack of them (s, m, g)."""
        of_sample = self.log_cell is not None and self.log_cell.dim() == self.logits.dim()
        return type(self)(logits=self.logits[sample], log_cell=self.log_cell[sample] if of_sample else self.log_cell,
                          log_region=self.log_region)

    def sample(self, genes=None):
        """0 or 1, (..., m, g), of all regions or of those indexed by `genes`."""
        mean = self.mean
        return torch.bernoulli(mean if genes is None else mean[..., genes])
