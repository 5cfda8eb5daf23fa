"""Draws of latents and their divergence against torch's own operations in float64."""

import pytest

from latome.backend import torch
from latome.distributions import DiagonalNormal, kl_divergence
from latome.distributions.normal import StandardNormal
from latome.kernels.latents import drawn_with_divergence
from latome.kernels.native import status

needs_library = pytest.mark.skipif(not status()["compiled"], reason=f"no compiled kernels: {status()['problem']}")


@needs_library
@pytest.mark.parametrize("m, k", [(128, 10), (3, 16), (5, 33), (1, 1)])
def test_values_and_gradients(m, k):
    torch.manual_seed(0)
    given = [torch.randn(m, k), torch.rand(m, k) * 2 + 1e-4, torch.randn(m, k)]
    given[1][0, 0] = 1 + 1e-4                          # where the terms of the divergence cancel
    mine, exact = ([one.to(dtype, copy=True).requires_grad_() for one in given[:2]]
                   for dtype in (torch.float32, torch.float64))
    pull, weights = torch.randn(m, k), torch.randn(m)
    z, divergence = drawn_with_divergence(*mine, given[2])
    mean, variance = exact
    z64 = mean + variance.sqrt() * given[2]
    divergence64 = 0.5 * (variance - 1 - variance.log() + mean.square()).sum(1)
    torch.testing.assert_close(z.double(), z64, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(divergence.double(), divergence64, rtol=1e-5, atol=1e-6)
    ((z * pull).sum() + (divergence * weights).sum()).backward()
    ((z64 * pull).sum() + (divergence64 * weights).sum()).backward()
    for one, other in zip(mine, exact, strict=True):
        assert float((one.grad.double() - other.grad).norm()) <= 1e-6 * float(other.grad.norm())


def test_a_draw_changes_nothing_of_the_divergence():
    torch.manual_seed(0)
    mean, variance = torch.randn(6, 4, requires_grad=True), (torch.rand(6, 4) + 0.1).requires_grad_()
    results = []
    for draws in (False, True):
        q = DiagonalNormal(mean, variance)
        z = q.rsample() if draws else mean
        divergence = kl_divergence(q, StandardNormal(z))
        results.append([divergence, *torch.autograd.grad(divergence.sum(), [mean, variance])])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


def test_what_the_kernels_do_not_take():
    mean, variance = torch.randn(6, 4), torch.rand(6, 4)
    assert drawn_with_divergence(mean, variance, mean) is None          # no gradient is asked
    mean.requires_grad_()
    assert drawn_with_divergence(mean, variance[:1], mean) is None
    assert drawn_with_divergence(mean.double(), variance.double(), mean.double()) is None
