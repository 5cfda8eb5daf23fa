"""The Beta distribution, of parameters as small as they may become."""

from latome.backend import torch

__all__ = ["Beta"]

MARGIN = 1e-7                                          # a draw lies this far from 0 and 1 at least


class Beta:
    """Beta(alpha, beta) over (0, 1), elementwise.

    Arguments
    ---------
    alpha, beta : (...), positive.
    """

    __slots__ = ("alpha", "beta")

    def __init__(self, alpha, beta):
        self.alpha, self.beta = alpha, beta

    @property
    def mean(self):
        """(...): alpha / (alpha + beta)."""
        return self.alpha / (self.alpha + self.beta)

    def rsample(self):
        """A draw (...), through which gradients flow: at least 1e-7 from 0 and from 1.

        A Gamma of a small shape lies below the smallest float as often as not; the logarithms of two do not, and
        G_a / (G_a + G_b) = sigmoid(log G_a - log G_b).
        """
        draw = (log_gamma_draw(self.alpha) - log_gamma_draw(self.beta)).sigmoid()
        return MARGIN + (1 - 2 * MARGIN) * draw

    def kl(self, other):
        """(...): KL(self || other) in nats; `other` is a Beta that broadcasts to this one."""
        a, b, c, d = self.alpha, self.beta, other.alpha, other.beta
        both = a + b
        return (log_beta(c, d) - log_beta(a, b) + (a - c) * a.digamma() + (b - d) * b.digamma()
                + (c + d - both) * both.digamma())


def log_beta(a, b):
    """log B(a, b), elementwise."""
    return a.lgamma() + b.lgamma() - (a + b).lgamma()


def log_gamma_draw(shape):
    """The logarithm of a draw from Gamma(shape, 1): of one of shape + 1, times u^(1 / shape) with u uniform."""
    exponential = torch.empty_like(shape).exponential_()                # -log u, which is finite
    return torch._standard_gamma(shape + 1).log() - exponential / shape
