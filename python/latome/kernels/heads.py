"""Counts straight from a hidden layer: the output layers and the likelihood in one node of the graph.

With logits = h W' + b, the gradients of W, b and h are products with the likelihood's derivative P in the logits. A
cell's upstream weight w enters on the narrow side, dW = P' (w h) and dh = w (P W), so no array of cells x genes is
touched once more; and P takes the place of the logits.
"""

from contextlib import contextmanager
from typing import NamedTuple

from latome.backend import torch
from latome.kernels.counts import evaluate
from latome.kernels.node import summed_by_row
from latome.kernels.products import input_product, product, weight_product

__all__ = ["Affine", "given", "head_log_prob", "products_in"]

_products = [torch.float32]                            # the type of products, innermost last


@contextmanager
def products_in(kind):
    """Inside, output layers multiply in float32 or bfloat16 ("bfloat16"); sums, losses and weights stay float32.

    Sixteen bits keep two or three digits; processors with instructions for them are twice as fast or more.
    """
    _products.append(getattr(torch, kind))
    try:
        yield
    finally:
        _products.pop()


class Affine:
    """The output of a linear layer, computed when it is first asked for.

    Arguments
    ---------
    hidden : (..., m, h).
    weight, bias : (g, h) and (g,).
    """

    def __init__(self, hidden, weight, bias):
        self.hidden, self.weight, self.bias = hidden, weight, bias
        self._value = None

    @property
    def shape(self):
        """(..., m, g)."""
        return torch.Size((*self.hidden.shape[:-1], self.weight.shape[0]))

    def dim(self):
        """Number of dimensions."""
        return self.hidden.dim()

    def __getitem__(self, sample):
        return Affine(self.hidden[sample], self.weight, self.bias)

    def value(self):
        """(..., m, g): the output itself."""
        if self._value is None:
            self._value = torch.nn.functional.linear(self.hidden, self.weight, self.bias)
        return self._value


def given(value):
    """A tensor as it is, or the value of an `Affine`."""
    return value.value() if isinstance(value, Affine) else value


def head_log_prob(counts, *, kind, logits, log_library, log_theta=None, theta_rows=None, gate=None):
    """Log-probability (m,) of each cell's counts, summed over genes, in nats.

    Arguments
    ---------
    counts : SparseCounts of m cells and g genes.
    kind : "nb", "zinb" or "poisson".
    logits : `Affine` (m, g); the mean is exp(log_library) softmax(logits).
    log_library : (m, 1).
    log_theta, theta_rows : as of `kernels.counts.evaluate`.
    gate : `Affine` (m, g) of the same hidden layer, for "zinb".
    """
    tensors = [logits.hidden, logits.weight, logits.bias, log_library, log_theta]
    tensors += [None, None] if gate is None else [gate.weight, gate.bias]
    recorded = torch.is_grad_enabled() and any(one is not None and one.requires_grad for one in tensors)
    fits = logits.hidden.dtype == torch.float32
    plan = _Plan(counts, kind, theta_rows, _products[-1] if fits else logits.hidden.dtype)
    if recorded:
        return _HeadLogProb.apply(plan, *tensors)
    return plan.evaluate(*plan.narrowed(*tensors), gradient=False).value


class _Plan(NamedTuple):
    """What the node needs beside tensors that take gradients."""

    counts: object
    kind: str
    theta_rows: object
    products: object

    def narrow(self, value):
        """A tensor in the type of products."""
        return value if value is None or value.dtype is self.products else value.to(self.products)

    def evaluate(self, hidden, weight, bias, log_library, log_theta, gate_weight, gate_bias, *, gradient,
                 theta_sum=False):
        """The likelihood and its derivatives; hidden and weights in the type of products."""
        logits = _product(hidden, weight, bias)
        gate = None if gate_weight is None else _product(hidden, gate_weight, gate_bias)
        return evaluate(self.counts, self.kind, logits, log_library, log_theta, gate, gradient=gradient, overwrite=True,
                        theta_rows=self.theta_rows, theta_sum=theta_sum, sums=gradient, bias=(bias, gate_bias))

    def narrowed(self, hidden, weight, bias, log_library, log_theta, gate_weight, gate_bias):
        """The arguments of `evaluate`."""
        return (self.narrow(hidden), self.narrow(weight), bias, log_library, log_theta, self.narrow(gate_weight),
                gate_bias)


def _product(hidden, weight, bias):
    """(m, g): hidden weight', of the type of the bias, which the likelihood adds."""
    return product(hidden, weight).to(bias.dtype)


class _HeadLogProb(torch.autograd.Function):
    """Output layers and likelihood.

    The gradients of biases and dispersion are summed over cells at once, as if all had the same weight; where they turn
    out not to, they are summed again, for which the dispersion's have to be evaluated again.
    """

    @staticmethod
    def forward(ctx, plan, *tensors):
        log_theta, narrowed = tensors[4], plan.narrowed(*tensors)
        cheap = log_theta is not None and log_theta.dim() == 1 and log_theta.device.type == "cpu"
        found = plan.evaluate(*narrowed, gradient=True, theta_sum=cheap)
        ctx.plan, ctx.cheap = plan, cheap
        ctx.save_for_backward(*found[1:], tensors[0], *narrowed)
        return found.value

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, upstream):
        pull, library, theta, gate, pull_sum, gate_sum, hidden, *narrowed = ctx.saved_tensors
        _, weight, _, _, log_theta, gate_weight, _ = narrowed
        w, same = upstream.unsqueeze(1), _same(upstream)                # (m, 1); a number
        scaled, wanted = ctx.plan.narrow(w * hidden), ctx.needs_input_grad[1:]
        of_hidden, of_weight = _of_layer(ctx.plan.narrow(pull), pull, weight, scaled, wanted)
        of_bias = _of_bias(upstream, same, pull, pull_sum) if wanted[2] else None
        of_gate = of_gate_bias = None
        if gate is not None:
            more, of_gate = _of_layer(ctx.plan.narrow(gate), gate, gate_weight, scaled, (wanted[0], wanted[5]))
            of_gate_bias = _of_bias(upstream, same, gate, gate_sum) if wanted[6] else None
            of_hidden = more.add_(of_hidden) if wanted[0] else None
        of_hidden = of_hidden.mul_(w) if wanted[0] else None
        of_library = w * library if wanted[3] else None
        of_theta = _of_theta(ctx, upstream, same, theta, log_theta, narrowed) if wanted[4] else None
        return None, of_hidden, of_weight, of_bias, of_library, of_theta, of_gate, of_gate_bias


def _same(upstream):
    """The weight that all cells have; None where they differ, or are not at hand."""
    if upstream.device.type != "cpu":
        return None
    weights = set(upstream.tolist())                   # faster than any operation on so few numbers
    return weights.pop() if len(weights) == 1 else None


def _of_layer(narrow, pull, weight, scaled, wanted):
    """What a layer's derivatives P (m, g) give: P W (m, h), not yet weighted; and the gradient of W."""
    of_hidden = input_product(narrow, weight).to(pull.dtype) if wanted[0] else None
    of_weight = weight_product(narrow, scaled).to(pull.dtype) if wanted[1] else None
    return of_hidden, of_weight


def _of_bias(upstream, same, pull, pull_sum):
    """The gradient of a bias (g,)."""
    return upstream @ pull if pull_sum is None or same is None else pull_sum * same


def _of_theta(ctx, upstream, same, theta, log_theta, narrowed):
    """The gradient of log_theta, of its shape."""
    if ctx.cheap and same is not None:
        return theta * same
    if ctx.cheap:
        theta = ctx.plan.evaluate(*narrowed, gradient=True).theta
    if log_theta.dim() == 1:
        return upstream @ theta
    weighted = upstream.unsqueeze(1) * theta
    rows = ctx.plan.theta_rows
    return weighted if rows is None else summed_by_row(weighted, rows, log_theta.shape)
