"""Adam over a flat vector takes the steps of torch's, by its single kernel and without it."""

import pytest

from latome.backend import torch
from latome.kernels.flat_adam import FlatAdam

GIVEN = [{"lr": 0.02, "eps": eps, "weight_decay": decay} for eps in (1e-8, 0.01) for decay in (0.0, 0.3)]


def vector(dtype=torch.float64):
    return torch.nn.Parameter(torch.randn(37, generator=torch.Generator().manual_seed(0), dtype=dtype))


def gradient(step, like):
    return torch.randn(37, generator=torch.Generator().manual_seed(step), dtype=like.dtype)


@pytest.mark.parametrize("given", GIVEN, ids=str)
@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("fused", [False, True])
def test_steps_are_those_of_torch(given, decoupled, fused):
    ours, theirs = vector(), vector()
    flat = FlatAdam(ours, **given, decoupled=decoupled, fused=fused)
    other = (torch.optim.AdamW if decoupled else torch.optim.Adam)([theirs], **given, foreach=False, fused=False)
    for step in range(15):
        ours.grad, theirs.grad = gradient(step, ours), gradient(step, theirs)
        flat.step()
        other.step()
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)
    assert float(flat.memory()["step"]) == 15
    torch.testing.assert_close(flat.memory()["exp_avg_sq"], other.state[theirs]["exp_avg_sq"])


@pytest.mark.parametrize("fused", [False, True])
def test_it_goes_on_from_the_memory_of_another(fused):
    def run(change):
        weights = vector(torch.float32)
        adam = FlatAdam(weights, lr=0.1, eps=0.01, weight_decay=0.1, fused=fused)
        for step in range(6):
            if step == change:
                again = FlatAdam(weights, lr=0.1, eps=0.01, weight_decay=0.1, fused=not fused)
                again.load_state_dict(adam.state_dict())
                adam = again
            weights.grad = gradient(step, weights)
            adam.step()
        return weights.detach()

    torch.testing.assert_close(run(3), run(None), rtol=1e-5, atol=1e-6)


def test_the_rate_may_change_and_the_gradient_is_left_alone():
    weights = vector()
    adam = FlatAdam(weights, lr=0.1, eps=1e-12, weight_decay=0.5, fused=False)
    weights.grad = given = gradient(0, weights)
    adam.param_groups[0]["lr"] = 0.0
    before = weights.detach().clone()
    adam.step()
    assert torch.equal(weights, before) and torch.equal(given, gradient(0, weights))
