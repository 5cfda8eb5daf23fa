"""The compiled Adam against torch's."""

import pytest

from latome.backend import torch
from latome.kernels.adam import CompiledAdam, can_step
from latome.kernels.flat_adam import FlatAdam
from latome.kernels.native import status

needs_library = pytest.mark.skipif(not status()["compiled"], reason=f"no compiled kernels: {status()['problem']}")


def views(flat, shapes):
    parts, start = [], 0
    for shape in shapes:
        size = torch.Size(shape).numel()
        parts.append(torch.nn.Parameter(flat.data[start:start + size].view(shape)))
        start += size
    return parts


@needs_library
@pytest.mark.parametrize("kind, decay", [("Adam", 0.0), ("Adam", 0.1), ("AdamW", 0.1)])
@pytest.mark.parametrize("eps", [1e-8, 0.01])
@pytest.mark.parametrize("threads", [1, 2])
def test_steps(kind, decay, eps, threads):
    shapes = [(33, 5), (1,), (70, 300), (17,)]
    n = sum(torch.Size(shape).numel() for shape in shapes)
    torch.manual_seed(0)
    start = torch.randn(n)
    ours, theirs = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.double())
    mine = FlatAdam(ours, lr=0.01, eps=eps, weight_decay=decay, decoupled=kind == "AdamW")
    reference = getattr(torch.optim, kind)([theirs], lr=0.01, eps=eps, weight_decay=decay)
    parts = views(ours, shapes)
    compiled = CompiledAdam(mine, parts)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for step in range(6):
            gradient = torch.randn(n) * 10 ** torch.randint(-6, 3, (n,))
            gradient[:40] = 0
            start = 0
            for part in parts:
                part.grad = gradient[start:start + part.numel()].view(part.shape)
                start += part.numel()
            if step == 2:                              # one without a gradient counts as zero
                parts[1].grad = None
                gradient[165] = 0
            theirs.grad = gradient.double()
            compiled.step()
            reference.step()
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(ours.detach().double(), theirs.detach(), rtol=2e-6, atol=2e-7)
    state = mine.state[ours]
    assert state["step"] == 6 and state["exp_avg"].shape == (n,)


@needs_library
def test_it_takes_turns_with_torch():
    torch.manual_seed(1)
    start = torch.randn(100)
    flats = [torch.nn.Parameter(start.clone()) for _ in range(2)]
    optimizers = [FlatAdam(flat, lr=0.05, eps=1e-3, weight_decay=0.0) for flat in flats]
    parts = views(flats[0], [(10, 10)])
    compiled = CompiledAdam(optimizers[0], parts)
    for step in range(6):
        gradient = torch.randn(100)
        flats[0].grad, flats[1].grad, parts[0].grad = gradient, gradient, gradient.view(10, 10).t().contiguous().t()
        compiled.step() if step % 2 else optimizers[0].step()
        optimizers[1].step()
    torch.testing.assert_close(flats[0], flats[1], rtol=1e-6, atol=1e-6)


def test_what_it_does_not_do():
    flat = torch.nn.Parameter(torch.zeros(3))
    adam = FlatAdam(flat, lr=0.1, eps=0.01, weight_decay=0.0)
    assert not can_step(torch.optim.SGD([flat], lr=0.1), [flat])
    assert not can_step(adam, [torch.nn.Parameter(torch.zeros(3, dtype=torch.float64))])
    assert can_step(adam, [flat]) == status()["compiled"]
