"""Output layers fused with the likelihood, against the two apart in float64."""

import pytest

from latome.backend import torch
from latome.kernels.counts import count_log_prob
from latome.kernels.heads import Affine, given, head_log_prob, products_in
from latome.kernels.sparse import SparseCounts

M, H, G = 12, 9, 37


def drawn(kind, dtype, *, theta="gene", seed=0):
    """(counts, {name: leaf}, theta_rows)."""
    torch.manual_seed(seed)
    x = (torch.rand(M, G) < 0.3) * torch.randint(1, 30, (M, G)).double()
    leaves = {"hidden": torch.randn(M, H).relu(), "weight": torch.randn(G, H), "bias": torch.randn(G),
              "log_library": torch.rand(M, 1) + 5}
    rows = None
    if kind != "poisson":
        shape = {"gene": (G,), "batch": (3, G), "cell": (M, G)}[theta]
        leaves["log_theta"] = torch.randn(shape)
        rows = torch.arange(M) % 3 if theta == "batch" else None
    if kind == "zinb":
        leaves |= {"gate_weight": torch.randn(G, H), "gate_bias": torch.randn(G)}
    leaves = {name: leaf.to(dtype).requires_grad_() for name, leaf in leaves.items()}
    return SparseCounts.from_dense(x.to(dtype)), leaves, rows


def fused(counts, kind, leaves, rows):
    logits = Affine(leaves["hidden"], leaves["weight"], leaves["bias"])
    gate = Affine(leaves["hidden"], leaves["gate_weight"], leaves["gate_bias"]) if kind == "zinb" else None
    return head_log_prob(counts, kind=kind, logits=logits, log_library=leaves["log_library"],
                         log_theta=leaves.get("log_theta"), theta_rows=rows, gate=gate)


def apart(counts, kind, leaves, rows):
    linear = torch.nn.functional.linear
    gate = linear(leaves["hidden"], leaves["gate_weight"], leaves["gate_bias"]) if kind == "zinb" else None
    return count_log_prob(counts, kind=kind, logits=linear(leaves["hidden"], leaves["weight"], leaves["bias"]),
                          log_library=leaves["log_library"], log_theta=leaves.get("log_theta"), theta_rows=rows,
                          gate=gate)


@pytest.mark.parametrize("weights", ["equal", "unequal"])
@pytest.mark.parametrize("theta", ["gene", "batch", "cell"])
@pytest.mark.parametrize("kind", ["zinb", "nb", "poisson"])
@pytest.mark.parametrize("dtype, near", [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_value_and_gradients(kind, theta, weights, dtype, near):
    counts, ours, rows = drawn(kind, dtype, theta=theta)
    counts64, theirs, _ = drawn(kind, torch.float64, theta=theta)
    pull = torch.full((M,), 0.2) if weights == "equal" else torch.rand(M) + 0.1
    found, expected = fused(counts, kind, ours, rows), apart(counts64, kind, theirs, rows)
    torch.testing.assert_close(found.double(), expected, rtol=near, atol=near)
    (found * pull.to(dtype)).sum().backward()
    (expected * pull.double()).sum().backward()
    for name, leaf in ours.items():
        difference = (leaf.grad.double() - theirs[name].grad).norm() / theirs[name].grad.norm()
        assert difference < near, name


@pytest.mark.parametrize("kind", ["zinb", "nb", "poisson"])
def test_the_same_value_without_gradients(kind):
    counts, leaves, rows = drawn(kind, torch.float32)
    with torch.no_grad():
        plain = fused(counts, kind, leaves, rows)
    assert not plain.requires_grad
    torch.testing.assert_close(plain, fused(counts, kind, leaves, rows).detach(), rtol=1e-6, atol=1e-5)


def test_frozen_layers_take_no_gradient():
    counts, leaves, rows = drawn("zinb", torch.float32)
    for name in ("weight", "gate_bias", "log_theta"):
        leaves[name].requires_grad_(False)
    fused(counts, "zinb", leaves, rows).sum().backward()
    taken = {name for name, leaf in leaves.items() if leaf.grad is not None}
    assert taken == set(leaves) - {"weight", "gate_bias", "log_theta"}


def test_products_of_sixteen_bits_are_close_and_only_inside():
    counts, leaves, rows = drawn("zinb", torch.float32)
    exact = fused(counts, "zinb", leaves, rows).detach()
    with products_in("bfloat16"):
        rounded = fused(counts, "zinb", leaves, rows)
    rounded.sum().backward()
    with_rounding = {name: leaf.grad.clone() for name, leaf in leaves.items()}
    for leaf in leaves.values():
        leaf.grad = None
    again = fused(counts, "zinb", leaves, rows)
    again.sum().backward()
    assert torch.equal(again.detach(), exact)
    assert not torch.equal(rounded.detach(), exact)
    torch.testing.assert_close(rounded.detach(), exact, rtol=0.02, atol=0.5)
    for name, leaf in leaves.items():
        assert with_rounding[name].dtype == torch.float32
        assert (with_rounding[name] - leaf.grad).norm() < 0.05 * leaf.grad.norm(), name


def test_an_affine_is_computed_once_and_when_asked():
    hidden, weight, bias = torch.randn(4, 5, 3), torch.randn(7, 3), torch.randn(7)
    lazy = Affine(hidden, weight, bias)
    assert lazy.shape == (4, 5, 7) and lazy.dim() == 3 and lazy._value is None
    expected = torch.nn.functional.linear(hidden, weight, bias)
    torch.testing.assert_close(lazy[2].value(), expected[2])
    assert lazy._value is None
    torch.testing.assert_close(given(lazy), expected)
    assert given(lazy) is lazy.value() and given(bias) is bias and given(None) is None
