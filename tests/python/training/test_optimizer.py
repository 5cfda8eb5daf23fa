"""An optimiser over a flat buffer takes the steps of torch's own; gradients are bounded exactly."""

import copy

import pytest
from examples import opened, options, same_weights, trained, untrained

from latome.backend import torch
from latome.errors import SettingError, TrainingError
from latome.fit import start, train
from latome.training.optimizer import FlatOptimizer, adam, clipping, created_by


def network(seed=0):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.ReLU(), torch.nn.Linear(5, 3))


def loss_of(model, step):
    x = torch.randn(11, 6, generator=torch.Generator().manual_seed(step))
    return (model(x) ** 2).mean() + model(x).sum() * 0.01


def torchs_own(kind, parameters, **given):
    return getattr(torch.optim, kind)(parameters, **given)


@pytest.mark.parametrize("kind", ["Adam", "AdamW"])
@pytest.mark.parametrize("weight_decay", [0.0, 1e-6, 0.3])
@pytest.mark.parametrize("eps", [1e-8, 0.01])
def test_steps_are_those_of_torch(kind, weight_decay, eps):
    ours, theirs = network(), network()
    given = {"lr": 0.02, "eps": eps, "weight_decay": weight_decay}
    flat = FlatOptimizer(ours.parameters(), adam(**given, decoupled=kind == "AdamW"))
    other = torchs_own(kind, theirs.parameters(), **given, foreach=False, fused=False)
    for step in range(20):
        flat.zero_grad()
        other.zero_grad()
        loss_of(ours, step).backward()
        loss_of(theirs, step).backward()
        flat.step()
        other.step()
        for a, b in zip(ours.parameters(), theirs.parameters()):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    assert not torch.equal(next(ours.parameters()), next(network().parameters()))


def test_decoupled_decay_is_not_that_of_the_gradient():
    """Without a gradient AdamW shrinks a weight by 1 - lr decay; Adam's step is lr, whatever the decay."""
    for decoupled, expected in ((True, 1 - 0.1 * 0.5), (False, 1 - 0.1)):
        weight = torch.nn.Parameter(torch.ones(3))
        flat = FlatOptimizer([weight], adam(lr=0.1, eps=1e-12, weight_decay=0.5, decoupled=decoupled))
        flat.step()
        torch.testing.assert_close(weight.detach(), torch.full((3,), expected))


# -- bounded gradients -------------------------------------------------------------------------------------------------

GRADIENT = torch.tensor([3.0, -4.0, 0.0, 12.0])        # of norm 13


@pytest.mark.parametrize("most", [1e-6, 0.5, 12.999, 13.0, 14.0, 1e9])
def test_the_norm_is_the_smaller_of_its_own_and_the_bound(most):
    gradient = GRADIENT.clone()
    clipping(most, "norm")(gradient)
    assert float(gradient.norm()) == pytest.approx(min(13.0, most), rel=1e-6)
    torch.testing.assert_close(gradient / gradient.norm(), GRADIENT / 13)               # the direction stays


@pytest.mark.parametrize("most", [0.5, 3.5, 100.0])
def test_each_value_is_bounded(most):
    gradient = GRADIENT.clone()
    clipping(most, "value")(gradient)
    assert gradient.tolist() == [max(-most, min(most, v)) for v in GRADIENT.tolist()]


@pytest.mark.parametrize("by", ["norm", "value"])
def test_bounding_hides_nothing(by):
    zero, spoilt = torch.zeros(4), torch.tensor([1.0, float("nan"), 2.0, 3.0])
    clipping(1.0, by)(zero)
    assert zero.tolist() == [0.0] * 4
    clipping(1.0, by)(spoilt)
    assert spoilt.isnan().any()
    infinite = torch.tensor([1.0, float("inf")])
    clipping(1.0, "norm")(infinite)
    assert infinite.isnan().any()                      # inf over inf: seen at the end of the epoch
    assert clipping(None) is None


@pytest.mark.parametrize("by", ["norm", "value"])
def test_bounded_steps_are_those_of_torch(by):
    ours, theirs = network(), network()
    flat = FlatOptimizer(ours.parameters(), adam(lr=0.02, eps=0.01, weight_decay=0.1), clipping(0.01, by))
    other = torch.optim.Adam(theirs.parameters(), lr=0.02, eps=0.01, weight_decay=0.1)
    clip = {"norm": torch.nn.utils.clip_grad_norm_, "value": torch.nn.utils.clip_grad_value_}[by]
    free = network()
    for step in range(10):
        for model in (ours, theirs):
            model.zero_grad(set_to_none=False)
            loss_of(model, step).backward()
        assert next(theirs.parameters()).grad.abs().max() > 0.01                      # the bound is felt
        clip(theirs.parameters(), 0.01)
        flat.step()
        other.step()
    for a, b in zip(ours.parameters(), theirs.parameters()):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    assert not torch.equal(next(ours.parameters()), next(free.parameters()))


# -- an optimiser of the user's own ------------------------------------------------------------------------------------

CREATORS = {
    "momentum": lambda parameters: torch.optim.SGD(parameters, lr=0.01, momentum=0.9),
    "plain": lambda parameters: torch.optim.SGD(parameters, lr=0.01),
    "nadam": lambda parameters: torch.optim.NAdam(parameters, lr=0.01),
}


@pytest.mark.parametrize("name", CREATORS)
@pytest.mark.parametrize("restart", [None, 3])
def test_steps_of_an_own_optimiser(name, restart):
    """Those it takes parameter by parameter, also when its memory goes from one to the next."""
    ours, theirs = network(), network()
    flat, other = FlatOptimizer(ours.parameters(), created_by(CREATORS[name])), CREATORS[name](theirs.parameters())
    for step in range(6):
        if step == restart:
            before, flat = flat, FlatOptimizer(ours.parameters(), created_by(CREATORS[name]))
            flat.load_state(before.state())
        flat.zero_grad()
        other.zero_grad()
        loss_of(ours, step).backward()
        loss_of(theirs, step).backward()
        flat.step()
        other.step()
    for a, b in zip(ours.parameters(), theirs.parameters()):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("creator", "problem"), [
    (lambda parameters: None, "returned a NoneType"), (lambda: None, "optimizer_creator failed"),
    (lambda parameters: torch.optim.SGD(parameters, lr=-1), "optimizer_creator failed: Invalid learning rate"),
    (lambda parameters: torch.optim.SGD([torch.nn.Parameter(torch.zeros(3))], lr=1), "does not hold the parameters"),
])
def test_creators_that_will_not_do(creator, problem):
    with pytest.raises(SettingError, match=problem) as caught:
        FlatOptimizer(network().parameters(), created_by(creator))
    assert caught.value.field == "optimizer_creator" and "torch.optim.SGD" in caught.value.hint


def test_an_own_optimiser_trains_a_model():
    data = opened()
    fit = untrained(data)
    train(fit, data, options(), optimizer=lambda parameters: torch.optim.SGD(parameters, lr=1e-3))
    losses = fit.history.to_dict()["elbo_train"]
    assert losses[-1] < losses[0] and not same_weights(fit, trained(data))


def test_nothing_to_train_is_told():
    model = network()
    for p in model.parameters():
        p.requires_grad_(False)
    with pytest.raises(TrainingError, match="no parameter that may be trained"):
        FlatOptimizer(model.parameters(), adam(lr=0.1, eps=0.01, weight_decay=0))


def test_parameters_and_gradients_are_views():
    model = network()
    before = [p.detach().clone() for p in model.parameters()]
    flat = FlatOptimizer(model.parameters(), adam(lr=0.1, eps=0.01, weight_decay=0))
    assert flat.in_place() and all(p.data_ptr() % 64 == 0 for p in model.parameters())     # as a tensor of its own
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters()))
    loss_of(model, 0).backward()
    assert all(p.grad.abs().sum() > 0 for p in model.parameters())
    flat.zero_grad()
    assert all(p.grad is None or (p.grad == 0).all() for p in model.parameters())
    model.load_state_dict(network(seed=9).state_dict())
    assert flat.in_place()                             # loading copies into the views
    assert torch.equal(flat.flat[:30].view(5, 6), model[0].weight)
    model.double()
    assert not flat.in_place()                         # a conversion moves them away


def test_frozen_parameters_stay():
    model = network()
    model[0].weight.requires_grad_(False)
    frozen = model[0].weight.clone()
    flat = FlatOptimizer(model.parameters(), adam(lr=0.1, eps=0.01, weight_decay=0.5))
    loss_of(model, 0).backward()
    flat.step()
    assert torch.equal(model[0].weight, frozen) and [size for _, _, size in flat.places] == [5, 15, 3]


def test_its_memory_goes_on_exactly():
    def run(steps, restart):
        model = network()
        flat = FlatOptimizer(model.parameters(), adam(lr=0.05, eps=0.01, weight_decay=0.1))
        assert flat.state() == {}
        flat.load_state({})
        for step in range(steps):
            if step == restart:
                model = copy.deepcopy(model)
                again = FlatOptimizer(model.parameters(), adam(lr=0.05, eps=0.01, weight_decay=0.1))
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
    flat = FlatOptimizer(trained_model.parameters(), adam(lr=0.02, eps=0.01, weight_decay=0.0))
    loss_of(trained_model, 0).backward()
    flat.step()
    other = FlatOptimizer(elsewhere.parameters(), adam(lr=0.02, eps=0.01, weight_decay=0.0))
    other.load_state(flat.state())
    assert other.state()["exp_avg"].device.type == "meta"
