"""What is held stays, and what is not is trained as if the rest were constants."""

import pytest

from latome.backend import torch
from latome.errors import TrainingError
from latome.training.held import Held
from latome.training.optimizer import FlatOptimizer, adam, clipping

TARGET = torch.arange(15.0).reshape(5, 3) / 7


class Toy(torch.nn.Module):
    """A table of five rows, a vector, and a batch norm."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.table, self.vector = torch.nn.Parameter(torch.randn(5, 3)), torch.nn.Parameter(torch.randn(3))
        self.norm = torch.nn.BatchNorm1d(3)

    def forward(self):
        return (self.norm(self.table * self.vector) - TARGET).square().sum()


def rows(module, n=2):
    """All of it held, but the rows of the table from n on."""
    return {name: None for name in module.state_dict()} | {"table": n}


@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize("clip", [None, clipping(0.05), clipping(0.01, "value")])
def test_rows_that_are_not_held_move_as_parameters_of_their_own(decay, clip):
    module, alone = Toy().eval(), Toy().eval()
    fixed, free = alone.table.detach()[:2].clone(), torch.nn.Parameter(alone.table.detach()[2:].clone())
    held, make = Held(module, rows(module)), adam(lr=0.1, eps=0.01, weight_decay=decay)
    whole = set(held.parameters())
    assert whole == {module.vector, module.norm.weight, module.norm.bias}
    ours = FlatOptimizer([p for p in module.parameters() if p not in whole], make, clip)
    theirs = FlatOptimizer([free], make, clip)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    for _ in range(5):
        ours.zero_grad()
        module().backward()
        held.silence()
        ours.step()
        held.restore()
        theirs.zero_grad()
        torch.func.functional_call(alone, {"table": torch.cat([fixed, free])}, ()).backward()
        theirs.step()
    torch.testing.assert_close(module.table.detach()[2:], free.detach())
    assert not torch.equal(module.table[2:], before["table"][2:])
    assert torch.equal(module.table[:2], before["table"][:2])
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items() if name != "table")


def test_put_back_restores_all_that_is_held():
    module = Toy()
    held, before = Held(module, rows(module)), {name: value.clone() for name, value in module.state_dict().items()}
    with torch.no_grad():
        for value in module.state_dict().values():
            value += 1
    held.put_back()
    after = module.state_dict()
    assert torch.equal(after["table"][:2], before["table"][:2])
    assert torch.equal(after["table"][2:], before["table"][2:] + 1)
    assert all(torch.equal(after[name], before[name]) for name in ("vector", "norm.weight", "norm.running_mean"))


def test_batch_norms_that_are_held_stay_in_evaluation_mode():
    module = Toy()
    module.train()
    Held(module, {"table": 2}).eval()
    assert module.norm.training
    Held(module, rows(module)).eval()
    assert not module.norm.training and module.training


def test_nothing_held_is_nothing_done_and_all_held_is_an_error():
    module = Toy()
    held = Held(module, {})
    assert not held.parameters() and not held.parts and not held.copies
    with pytest.raises(TrainingError, match="nothing to train"):
        Held(module, dict.fromkeys(module.state_dict()))
