"""Distributions of a cell's counts, over the kernels.

Each is given by logits (..., m, g) and a log library size (..., m, 1), mu = exp(log_library) softmax(logits),
or by `log_mean` (..., m, g).
`log_prob` takes a SparseCounts or a dense (m, g) tensor and sums over genes; `mean`, `rho` and `sample`
are computed only when asked for.
"""

from latome.backend import torch
from latome.kernels.counts import count_log_prob, nb_at_positive, nb_at_zero
from latome.kernels.sparse import SparseCounts

__all__ = ["NegativeBinomial", "Poisson", "ZeroInflatedNegativeBinomial"]

LARGEST_RATE = 1e8                                     # a Poisson draw beyond this overflows its sampler


class _Counts:
    """What the three have in common: the mean, and the road to the kernel."""

    kind = None

    def __init__(self, *, logits=None, log_library=None, log_mean=None, log_theta=None, gate=None):
        self.logits, self.log_library, self.log_mean_ = logits, log_library, log_mean
        self.log_theta, self.gate = log_theta, gate

    @property
    def _location(self):
        return self.logits if self.log_mean_ is None else self.log_mean_

    @property
    def event_shape(self):
        """(g,)."""
        return self._location.shape[-1:]

    @property
    def batch_shape(self):
        """(..., m)."""
        return self._location.shape[:-1]

    @property
    def rho(self):
        """(..., m, g): expression fractions; each cell sums to 1."""
        if self.log_mean_ is None:
            return self.logits.softmax(-1)
        return self.log_mean_.softmax(-1)

    @property
    def rate(self):
        """(..., m, g): mean of the counts before zero inflation."""
        if self.log_mean_ is None:
            return self.rho * self.log_library.exp()
        return self.log_mean_.exp()

    @property
    def mean(self):
        """(..., m, g): expected counts."""
        return self.rate

    @property
    def theta(self):
        """(g,) or (..., m, g): inverse dispersion; the variance is mu + mu^2 / theta."""
        return self.log_theta.exp()

    def log_prob(self, x):
        """(..., m): log-probability of the counts x, a SparseCounts or a dense (m, g) tensor, in nats."""
        counts = x if isinstance(x, SparseCounts) else SparseCounts.from_dense(x)
        if self._location.dim() == 2:
            return self._kernel(counts)
        return torch.stack([self[i].log_prob(counts) for i in range(self._location.shape[0])])

    def __getitem__(self, sample):
        """The distribution of one posterior sample, from a stack of them (s, m, g)."""
        depth = self._location.dim()

        def pick(value):
            return value[sample] if value is not None and value.dim() == depth else value

        location = {"logits": self.logits, "log_library": self.log_library, "log_mean": self.log_mean_}
        return type(self)(**{name: pick(value) for name, value in location.items()}, **self._parameters(pick))

    def _parameters(self, pick):
        return {"log_theta": pick(self.log_theta), "gate": pick(self.gate)}

    def _kernel(self, counts):
        return count_log_prob(
            counts, kind=self.kind, logits=self.logits, log_library=self.log_library,
            log_mean=self.log_mean_, log_theta=self.log_theta, gate=self.gate,
        )

    def _of(self, values, genes):
        return values if genes is None else values[..., genes]

    def _draw_negative_binomial(self, genes):
        """Counts (..., m, g): a Poisson whose rate is drawn from Gamma(theta, theta / mu)."""
        rate = self._of(self.rate, genes)
        theta = self._of(self.theta, genes).expand_as(rate)
        rate = torch._standard_gamma(theta.contiguous()) * rate / theta
        return torch.poisson(rate.clamp_max(LARGEST_RATE))


class NegativeBinomial(_Counts):
    """Negative binomial of mean mu and inverse dispersion theta: variance mu + mu^2 / theta."""

    kind = "nb"

    def __init__(self, *, logits=None, log_library=None, log_mean=None, log_theta):
        super().__init__(logits=logits, log_library=log_library, log_mean=log_mean, log_theta=log_theta)

    def _parameters(self, pick):
        return {"log_theta": pick(self.log_theta)}

    def elementwise_log_prob(self, x):
        """(..., m, g): log-probability of each count; for tests, never on the training path."""
        rate, theta = self.rate, self.theta
        at_zero, ratio = nb_at_zero(rate, theta)
        return torch.where(x > 0, at_zero + nb_at_positive(x, rate, theta.expand_as(rate), ratio), at_zero)

    def sample(self, genes=None):
        """Counts (..., m, g) drawn from the distribution, of all genes or of those indexed by `genes`."""
        return self._draw_negative_binomial(genes)


class ZeroInflatedNegativeBinomial(_Counts):
    """A negative binomial whose counts are replaced by zero with probability sigmoid(gate)."""

    kind = "zinb"

    def __init__(self, *, logits=None, log_library=None, log_mean=None, log_theta, gate):
        super().__init__(
            logits=logits, log_library=log_library, log_mean=log_mean, log_theta=log_theta, gate=gate
        )

    @property
    def mean(self):
        return self.rate * (-self.gate).sigmoid()

    def elementwise_log_prob(self, x):
        """(..., m, g): log-probability of each count; for tests, never on the training path."""
        softplus = torch.nn.functional.softplus
        rate, theta = self.rate, self.theta
        at_zero, ratio = nb_at_zero(rate, theta)
        positive = at_zero + nb_at_positive(x, rate, theta.expand_as(rate), ratio) - softplus(self.gate)
        return torch.where(x > 0, positive, softplus(at_zero - self.gate) - softplus(-self.gate))

    def sample(self, genes=None):
        """Counts (..., m, g) drawn from the distribution, of all genes or of those indexed by `genes`."""
        counted = self._draw_negative_binomial(genes)
        return counted * torch.bernoulli((-self._of(self.gate, genes)).sigmoid().expand_as(counted))


class Poisson(_Counts):
    """Poisson of mean mu."""

    kind = "poisson"

    def __init__(self, *, logits=None, log_library=None, log_mean=None):
        super().__init__(logits=logits, log_library=log_library, log_mean=log_mean)

    def _parameters(self, pick):
        return {}

    def elementwise_log_prob(self, x):
        """(..., m, g): log-probability of each count; for tests, never on the training path."""
        rate = self.rate
        return torch.xlogy(x, rate) - rate - torch.lgamma(x + 1)

    def sample(self, genes=None):
        """Counts (..., m, g) drawn from the distribution, of all genes or of those indexed by `genes`."""
        return torch.poisson(self._of(self.rate, genes).clamp_max(LARGEST_RATE))
