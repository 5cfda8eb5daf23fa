"""The heads over a network against torch's own linear layers in float64."""

import pytest

from latome.backend import torch
from latome.kernels.layers import Layer, network
from latome.kernels.narrow import Head, head_output
from latome.kernels.native import status

pytestmark = pytest.mark.skipif(not status()["compiled"], reason=f"no compiled kernels: {status()['problem']}")


def made(m, h, widths, dtype):
    """An input (m, 4), the layer under the heads, and their weights and biases."""
    torch.manual_seed(0)
    x, layer = torch.randn(m, 4), (torch.randn(h, 4), torch.randn(h))
    heads = [(0.1 * torch.randn(k, h), torch.randn(k)) for k in widths]
    return x.to(dtype), *([one.to(dtype).requires_grad_() for one in pair] for pair in (layer, *heads))


@pytest.mark.parametrize("m, h, widths", [(128, 128, (10, 10)), (7, 33, (1,)), (1, 5, (3, 1, 64)), (3, 4, (2,)),
                                          (40, 40, (65,)), (9000, 128, (2,))])
@pytest.mark.parametrize("floor", [None, 1e-4])
def test_values_and_gradients(m, h, widths, floor):
    (x, layer, *heads), (x64, exact, *exact_heads) = (made(m, h, widths, d) for d in (torch.float32, torch.float64))
    linear = torch.nn.functional.linear
    found = network(x, [Layer(*layer)], [Head(*head, floor) for head in heads])
    expected = [linear(linear(x64, *exact).relu(), *head) for head in exact_heads]
    expected = expected if floor is None else [one.exp() + floor for one in expected]
    pulls = [torch.randn(one.shape, dtype=torch.float64) for one in expected]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=2e-5, atol=1e-5)
    sum((one * pull.float()).sum() for one, pull in zip(found, pulls, strict=True)).backward()
    sum((one * pull).sum() for one, pull in zip(expected, pulls, strict=True)).backward()
    for mine, other in zip((layer, *heads), (exact, *exact_heads), strict=True):
        for p, q in zip(mine, other, strict=True):
            assert (p.grad.double() - q.grad).norm() <= 2e-5 * q.grad.norm()


def test_frozen_heads_and_an_unused_one():
    x, layer, first, second = made(5, 6, (3, 2), torch.float32)
    first[0].requires_grad_(False)
    a, _ = network(x, [Layer(*layer)], [Head(*first), Head(*second)])
    a.sum().backward()
    assert first[0].grad is None
    torch.testing.assert_close(first[1].grad, torch.full((3,), 5.0))
    assert second[0].grad is None or not second[0].grad.any()


def test_wide_and_transposed_heads_take_the_road_of_torch():
    x = torch.randn(5, 6)
    for weight in (torch.randn(70, 6), torch.randn(6, 3).t()):
        head = Head(weight, torch.randn(len(weight)))
        torch.testing.assert_close(head_output(x, head)[0], torch.nn.functional.linear(x, weight, head.bias))
