"""Adam over a flat buffer takes the steps of torch's own, parameter by parameter."""

import copy

import pytest
from examples import opened, options, same_weights, trained, untrained

from latome.backend import torch
from latome.fit import start, train
from latome.training.optimizer import FlatAdam


def network(seed=0):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.ReLU(), torch.nn.Linear(5, 3))


def loss_of(model, step):
    x = torch.randn(11, 6, generator=torch.Generator().manual_seed(step))
    return (model(x) ** 2).mean() + model(x).sum() * 0.01


@pytest.mark.parametrize("weight_decay", [0.0, 1e-6, 0.3])
@pytest.mark.parametrize("eps", [1e-8, 0.01])
def test_steps_are_those_of_adam(weight_decay, eps):
    ours, theirs = network(), network()
    flat = FlatAdam(ours.parameters(), lr=0.02, eps=eps, weight_decay=weight_decay)
    adam = torch.optim.Adam(theirs.parameters(), lr=0.02, eps=eps, weight_decay=weight_decay, foreach=False,
                            fused=False)
    for step in range(20):
        flat.zero_grad()
        adam.zero_grad()
        loss_of(ours, step).backward()
        loss_of(theirs, step).backward()
        flat.step()
        adam.step()
        for a, b in zip(ours.parameters(), theirs.parameters()):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    assert not torch.equal(next(ours.parameters()), next(network().parameters()))


def test_parameters_and_gradients_are_views():
    model = network()
    before = [p.detach().clone() for p in model.parameters()]
    flat = FlatAdam(model.parameters(), lr=0.1, eps=0.01, weight_decay=0)
    assert flat.in_place() and flat.flat.numel() == sum(p.numel() for p in model.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters()))
    loss_of(model, 0).backward()
    assert all(p.grad.abs().sum() > 0 for p in model.parameters())
    flat.zero_grad()
    assert all((p.grad == 0).all() for p in model.parameters())
    model.load_state_dict(network(seed=9).state_dict())
    assert flat.in_place()                             # loading copies into the views
    assert torch.equal(flat.flat[:30].view(5, 6), model[0].weight)
    model.double()
    assert not flat.in_place()                         # a conversion moves them away


def test_frozen_parameters_stay():
    model = network()
    model[0].weight.requires_grad_(False)
    frozen = model[0].weight.clone()
    flat = FlatAdam(model.parameters(), lr=0.1, eps=0.01, weight_decay=0.5)
    loss_of(model, 0).backward()
    flat.step()
    assert torch.equal(model[0].weight, frozen) and flat.flat.numel() == 5 + 15 + 3


def test_its_memory_goes_on_exactly():
    def run(steps, restart):
        model = network()
        flat = FlatAdam(model.parameters(), lr=0.05, eps=0.01, weight_decay=0.1)
        assert flat.state() == {}
        flat.load_state({})
        for step in range(steps):
            if step == restart:
                model = copy.deepcopy(model)
                again = FlatAdam(model.parameters(), lr=0.05, eps=0.01, weight_decay=0.1)
                again.load_state(flat.state())
                flat = again
            flat.zero_grad()
            loss_of(model, step).backward()
            flat.step()
        return torch.cat([p.detach().view(-1) for p in model.parameters()])

    assert torch.equal(run(8, None), run(8, 4))


def test_the_buffer_is_rebuilt_when_a_model_is_trained_again():
    data = opened()
    one, other = trained(data), trained(data)
    other.module.load_state_dict(copy.deepcopy(other.module.state_dict()))
    other.module.double().float()                      # the parameters leave the first buffer
    more = options(max_epochs=2)
    assert start(other, data, more).optimizer.in_place()
    other = trained(data)
    other.module.double().float()
    assert same_weights(train(one, data, more), train(other, data, more))
    assert not same_weights(one, untrained(data))


def test_memory_goes_to_the_device_of_the_parameters():
    trained_model, elsewhere = network(), network().to("meta")
    flat = FlatAdam(trained_model.parameters(), lr=0.02, eps=0.01, weight_decay=0.0)
    loss_of(trained_model, 0).backward()
    flat.step()
    other = FlatAdam(elsewhere.parameters(), lr=0.02, eps=0.01, weight_decay=0.0)
    other.load_state(flat.state())
    assert other.state()["exp_avg"].device.type == "meta"
