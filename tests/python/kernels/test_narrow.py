"""Narrow linear layers against torch's own in float64."""

import copy

import pytest

from latome.backend import torch
from latome.kernels import narrow
from latome.kernels.narrow import narrow_linears


@pytest.mark.parametrize("m, h, widths", [(128, 128, (10, 10)), (7, 33, (1,)), (1, 5, (3, 1, 64)), (3, 4, (2,)),
                                          (40, 40, (65,))])
@pytest.mark.parametrize("dtype, near", [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_values_and_gradients(m, h, widths, dtype, near):
    torch.manual_seed(0)
    layers = [torch.nn.Linear(h, k, dtype=dtype) for k in widths]
    exact = [copy.deepcopy(layer).double() for layer in layers]
    x = torch.randn(m, h, dtype=dtype, requires_grad=True)
    x64 = x.detach().double().requires_grad_()
    pulls = [torch.randn(m, k, dtype=torch.float64) for k in widths]
    found, expected = narrow_linears(x, *layers), [layer(x64) for layer in exact]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=near, atol=near)
    sum((one * pull.to(dtype)).sum() for one, pull in zip(found, pulls, strict=True)).backward()
    sum((one * pull).sum() for one, pull in zip(expected, pulls, strict=True)).backward()
    pairs = [(x, x64)] + [(p, q) for one, other in zip(layers, exact, strict=True)
                          for p, q in zip(one.parameters(), other.parameters(), strict=True)]
    for p, q in pairs:
        assert (p.grad.double() - q.grad).norm() <= near * q.grad.norm()


def test_frozen_heads_and_an_unused_one():
    torch.manual_seed(0)
    first, second = torch.nn.Linear(6, 3), torch.nn.Linear(6, 2)
    first.weight.requires_grad_(False)
    x = torch.randn(5, 6)
    a, _ = narrow_linears(x, first, second)
    a.sum().backward()
    assert first.weight.grad is None
    torch.testing.assert_close(first.bias.grad, torch.full((3,), 5.0))
    assert second.weight.grad is None or not second.weight.grad.any()


def test_stacks_of_samples_take_the_road_of_torch():
    layer, x = torch.nn.Linear(6, 3), torch.randn(2, 5, 6)
    assert not narrow._fits(x, layer.weight)
    torch.testing.assert_close(narrow_linears(x, layer)[0], layer(x))
