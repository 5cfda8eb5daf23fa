"""The gate of a mixture of an NB and a ZINB against float64, at both ends of its range, and its gradients."""

import numpy as np
import pytest

from latome.backend import torch
from latome.distributions import mixed_gate

GATE = torch.tensor([-60.0, -5.0, 0.0, 8.0, 40.0], dtype=torch.float64)
DELTA = torch.tensor([[1e-7], [0.3], [1 - 1e-7]], dtype=torch.float64)


def test_values():
    inflated = (1 - DELTA.numpy()) * (0.01 + 0.99 / (1 + np.exp(-GATE.numpy())))
    expected = np.log(inflated) - np.log1p(-inflated)
    np.testing.assert_allclose(mixed_gate(GATE, DELTA, 0.01), expected, rtol=1e-6)
    np.testing.assert_allclose(mixed_gate(GATE.float(), DELTA[1:2].float(), 0.01), expected[1:2], rtol=1e-5)


@pytest.mark.parametrize("minimum", [0.0, 0.01, 0.5])
@pytest.mark.parametrize("shape", [(1, 5), (4, 5), (3, 1, 5)])
def test_gradients(minimum, shape):
    torch.manual_seed(0)
    gate, delta = 3 * torch.randn(4, 5).double(), torch.rand(shape).double() * 0.9 + 0.05
    leaves = gate.requires_grad_(), delta.requires_grad_()

    def of_both(gate, delta):
        return mixed_gate(gate.expand(*delta.shape[:-2], 4, 5), delta, minimum)

    assert torch.autograd.gradcheck(of_both, leaves)
    torch.testing.assert_close(mixed_gate(gate.detach(), delta.detach(), minimum), mixed_gate(gate, delta, minimum))


@pytest.mark.parametrize("minimum", [0.0, 0.01])
def test_far_out_it_stays_finite(minimum):
    gate = torch.tensor([-200.0, -90.0, 90.0, 200.0], requires_grad=True)
    delta = torch.tensor([[1e-7], [0.5], [1 - 1e-7]], requires_grad=True)
    found = mixed_gate(gate.expand(3, -1), delta.expand(-1, 4), minimum)
    found.sum().backward()
    assert found.isfinite().all() and gate.grad.isfinite().all() and delta.grad.isfinite().all()
