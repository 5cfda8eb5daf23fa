"""Distributions of a cell's counts, over the kernels.

Each is given by logits (..., m, g) and a log library size (..., m, 1), mu = exp(log_library) softmax(logits); by
`log_rho` (..., m, g), which need not sum to one, and the log library size, mu = exp(log_library + log_rho); or by
`log_mean` (..., m, g). Logits and gate may be an `Affine`, which is computed when it is needed. The inverse dispersion
is `log_theta`, (g,), (..., m, g), or a table (b, g) with the row of each cell in `theta_rows` (m,), which is never
spread out over cells.
`log_prob` takes a SparseCounts or a dense (m, g) tensor and sums over genes; `mean`, `rho` and `sample`
are computed only when asked for.
"""

import math

from latome.backend import torch
from latome.kernels.counts import count_log_prob, nb_at_positive, nb_at_zero
from latome.kernels.heads import Affine, given, head_log_prob
from latome.kernels.sparse import SparseCounts

__all__ = ["NegativeBinomial", "NormalCounts", "Poisson", "ZeroInflatedNegativeBinomial"]

LARGEST_RATE = 1e8                                     # a Poisson draw beyond this overflows its sampler


class _Counts:
    """What they have in common: the mean, and the road to the kernel."""

    kind = None

    def __init__(self, *, logits=None, log_library=None, log_mean=None, log_rho=None, log_theta=None, theta_rows=None,
                 gate=None):
        self._logits, self.log_library, self.log_mean_, self.log_rho = logits, log_library, log_mean, log_rho
        self.theta_table, self.theta_rows, self._gate = log_theta, theta_rows, gate

    @property
    def _location(self):
        return next(place for place in (self._logits, self.log_rho, self.log_mean_) if place is not None)

    @property
    def logits(self):
        """(..., m, g): logits of the expression fractions, or None."""
        return given(self._logits)

    @property
    def gate(self):
        """(..., m, g): zero-inflation logits, or None."""
        return given(self._gate)

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
        """(..., m, g): expression fractions; each cell sums to 1, unless they were given as `log_rho`."""
        if self.log_rho is not None:
            return self.log_rho.exp()
        return given(self._location).softmax(-1)

    @property
    def rate(self):
        """(..., m, g): mean of the counts before zero inflation."""
        if self.log_mean_ is None:
            return self.rho * self.log_library.exp()
        return self.log_mean_.exp()

    @property
    def _log_mean(self):
        """(..., m, g) where the mean is given as a logarithm; None where by logits."""
        return self.log_mean_ if self.log_rho is None else self.log_rho + self.log_library

    @property
    def mean(self):
        """(..., m, g): expected counts."""
        return self.rate

    @property
    def log_theta(self):
        """(g,) or (..., m, g): logarithm of the inverse dispersion, of each cell where cells have rows of a table."""
        return self.theta_table if self.theta_rows is None else self.theta_table[self.theta_rows]

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

        location = {"logits": self._logits, "log_library": self.log_library, "log_mean": self.log_mean_,
                    "log_rho": self.log_rho}
        return type(self)(**{name: pick(value) for name, value in location.items()}, **self._parameters(pick))

    def with_log_mean(self, log_mean):
        """The same distribution about another mean, whose logarithm is (..., m, g)."""
        return type(self)(log_mean=log_mean, **self._parameters(lambda value: value))

    def _parameters(self, pick):
        return {"log_theta": pick(self.theta_table), "theta_rows": self.theta_rows, "gate": pick(self._gate)}

    def _kernel(self, counts):
        theta = {"log_theta": self.theta_table, "theta_rows": self.theta_rows}
        if isinstance(self._logits, Affine) and isinstance(self._gate, Affine | None):
            return head_log_prob(counts, kind=self.kind, logits=self._logits, log_library=self.log_library,
                                 gate=self._gate, **theta)
        return count_log_prob(counts, kind=self.kind, logits=self.logits, log_library=self.log_library,
                              log_mean=self._log_mean, gate=self.gate, **theta)

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

    def __init__(self, *, log_theta, theta_rows=None, **location):
        super().__init__(log_theta=log_theta, theta_rows=theta_rows, **location)

    def _parameters(self, pick):
        return {"log_theta": pick(self.theta_table), "theta_rows": self.theta_rows}

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

    def __init__(self, *, log_theta, gate, theta_rows=None, **location):
        super().__init__(log_theta=log_theta, theta_rows=theta_rows, gate=gate, **location)

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

    def __init__(self, **location):
        super().__init__(**location)

    def _parameters(self, pick):
        return {}

    def elementwise_log_prob(self, x):
        """(..., m, g): log-probability of each count; for tests, never on the training path."""
        rate = self.rate
        return torch.xlogy(x, rate) - rate - torch.lgamma(x + 1)

    def sample(self, genes=None):
        """Counts (..., m, g) drawn from the distribution, of all genes or of those indexed by `genes`."""
        return torch.poisson(self._of(self.rate, genes).clamp_max(LARGEST_RATE))


class NormalCounts(_Counts):
    """Normal of mean mu and a standard deviation of its own: for values that are no counts, such as normalised ones."""

    kind = "normal"

    def __init__(self, *, log_sd, **location):
        super().__init__(**location)
        self.log_sd = log_sd

    @property
    def sd(self):
        """(g,) or (..., m, g): standard deviation."""
        return self.log_sd.exp()

    @property
    def theta(self):
        raise AttributeError("a normal distribution has `sd`, no inverse dispersion")

    def _parameters(self, pick):
        return {"log_sd": pick(self.log_sd)}

    def log_prob(self, x):
        """(..., m): log-density of x, a SparseCounts or a dense (m, g) tensor, in nats."""
        return self.elementwise_log_prob(x.dense() if isinstance(x, SparseCounts) else x).sum(-1)

    def elementwise_log_prob(self, x):
        """(..., m, g): log-density of each value."""
        square = ((x - self.rate) / self.sd).square()
        return -0.5 * (square + math.log(2 * math.pi)) - self.log_sd

    def sample(self, genes=None):
        """Values (..., m, g) drawn from the distribution, of all genes or of those indexed by `genes`."""
        rate = self._of(self.rate, genes)
        return rate + self._of(self.sd, genes) * torch.randn_like(rate)
