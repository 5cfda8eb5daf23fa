"""Counts that come from a background or from a foreground, over the kernels."""

from latome.backend import torch
from latome.distributions.counts import LARGEST_RATE
from latome.kernels.mixtures import mixture_log_prob

__all__ = ["NegativeBinomialMixture"]


class NegativeBinomialMixture:
    """Two negative binomials of one inverse dispersion: background with probability sigmoid(mixing), or foreground.

    Arguments
    ---------
    log_background, log_foreground : (..., m, g), logarithms of the means.
    log_theta : (g,), (m, g), or (b, g) with the row of each cell in `theta_rows` (m,).
    mixing : (..., m, g), logit of the background.
    mask : (m, g), weights of the terms of `log_prob`: 0 where a protein was not measured; None for all.
    """

    def __init__(self, *, log_background, log_foreground, log_theta, mixing, theta_rows=None, mask=None):
        self.log_background, self.log_foreground, self.mixing = log_background, log_foreground, mixing
        self.theta_table, self.theta_rows, self.mask = log_theta, theta_rows, mask

    @property
    def event_shape(self):
        """(g,)."""
        return self.mixing.shape[-1:]

    @property
    def batch_shape(self):
        """(..., m)."""
        return self.mixing.shape[:-1]

    @property
    def log_theta(self):
        """(g,) or (m, g): logarithm of the inverse dispersion."""
        return self.theta_table if self.theta_rows is None else self.theta_table[self.theta_rows]

    @property
    def mean(self):
        """(..., m, g): expected counts."""
        background = self.mixing.sigmoid()
        return background * self.log_background.exp() + (1 - background) * self.log_foreground.exp()

    def log_prob(self, x):
        """(..., m): log-probability of the counts x, a SparseCounts or a dense (m, g) tensor, in nats."""
        if self.mixing.dim() > 2:
            return torch.stack([self[i].log_prob(x) for i in range(len(self.mixing))])
        return mixture_log_prob(x, log_background=self.log_background, log_foreground=self.log_foreground,
                                log_theta=self.theta_table, mixing=self.mixing, theta_rows=self.theta_rows,
                                mask=self.mask)

    def __getitem__(self, sample):
        """The distribution of one posterior sample, from a stack of them (s, m, g)."""
        depth = self.mixing.dim()
        back, fore = (one[sample] if one.dim() == depth else one for one in (self.log_background, self.log_foreground))
        return type(self)(log_background=back, log_foreground=fore, log_theta=self.theta_table,
                          mixing=self.mixing[sample], theta_rows=self.theta_rows, mask=self.mask)

    def sample(self, genes=None):
        """Counts (..., m, g) drawn from the distribution, of all proteins or of those indexed by `genes`."""
        back, fore, mixing = (one if genes is None else one[..., genes]
                              for one in (self.log_background, self.log_foreground, self.mixing))
        rate = torch.where(torch.bernoulli(mixing.sigmoid()).bool(), back, fore).exp()
        log_theta = self.log_theta if genes is None else self.log_theta[..., genes]
        theta = log_theta.exp().expand_as(rate)
        return torch.poisson((torch._standard_gamma(theta.contiguous()) * rate / theta).clamp_max(LARGEST_RATE))
