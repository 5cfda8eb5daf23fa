"""The weight of the KL divergence over epochs or steps, and the learning rate on a plateau."""

import numpy as np
import pytest
from examples import opened, options, same_weights, trained, untrained

from latome.backend import torch
from latome.fit import start, train
from latome.training.memory import remember, take_up
from latome.training.options import PRESETS, TrainingOptions
from latome.training.schedule import Plateau, kl_weight, learning_rate

CASES = [  # options, (epoch, step), weight
    ({}, (0, 0), 0.0), ({}, (100, 7), 0.25), ({}, (400, 0), 1.0), ({}, (900, 0), 1.0),
    ({"n_epochs_kl_warmup": 4}, (1, 999), 0.25), ({"n_epochs_kl_warmup": 4}, (3, 0), 0.75),
    ({"n_epochs_kl_warmup": None, "n_steps_kl_warmup": 10}, (999, 5), 0.5),
    ({"n_epochs_kl_warmup": None, "n_steps_kl_warmup": 10}, (0, 25), 1.0),
    ({"n_epochs_kl_warmup": 4, "n_steps_kl_warmup": 10}, (1, 10), 0.25),                # epochs go first
    ({"n_epochs_kl_warmup": None}, (0, 0), 1.0), ({"n_epochs_kl_warmup": None, "max_kl_weight": 0.3}, (0, 0), 0.3),
    ({"n_epochs_kl_warmup": 10, "min_kl_weight": 0.2, "max_kl_weight": 0.6}, (0, 0), 0.2),
    ({"n_epochs_kl_warmup": 10, "min_kl_weight": 0.2, "max_kl_weight": 0.6}, (5, 0), 0.4),
    ({"n_epochs_kl_warmup": 10, "min_kl_weight": 0.2, "max_kl_weight": 0.6}, (10, 0), 0.6),
]


@pytest.mark.parametrize(("given", "when", "weight"), CASES)
def test_weight(given, when, weight):
    assert kl_weight(TrainingOptions(**given), *when) == pytest.approx(weight, abs=1e-12)


# -- the learning rate -------------------------------------------------------------------------------------------------

class Rate:
    """What a schedule needs of an optimiser."""

    lr = 0.1


def rates(losses, metric="elbo_validation", **given):
    """The learning rate after each epoch."""
    rate, found = Rate(), []
    plateau = Plateau(TrainingOptions(reduce_lr_on_plateau=True, lr_scheduler_metric=metric, **given), rate)
    for epoch, loss in enumerate(losses):
        plateau.update({"epoch": epoch, "other": -epoch} | ({} if loss is None else {metric: loss}))
        found.append(rate.lr)
    return found


@pytest.mark.parametrize("patience", [0, 1, 3])
@pytest.mark.parametrize("metric", ["elbo_validation", "reconstruction_loss_validation", "kl_local_validation"])
def test_it_falls_with_the_first_epoch_beyond_patience(patience, metric):
    found = rates([5.0] * 12, metric, lr_patience=patience, lr_factor=0.5)
    # the first epoch is the best; `patience` more are borne, the next lowers the rate, and the count begins anew
    expected = [0.1 * 0.5 ** (epoch // (patience + 1)) for epoch in range(12)]
    assert found == pytest.approx(expected)


def test_an_improvement_begins_anew():
    assert rates([5, 5, 4, 4, 4, 4], lr_patience=2) == pytest.approx([0.1] * 5 + [0.06])
    assert rates([5, 4, 3, 2, 1, 0], lr_patience=0) == [0.1] * 6


def test_what_counts_as_an_improvement_is_a_difference():
    losses = [100.0, 99.6, 99.2, 98.8, 98.4]
    assert rates(losses, lr_patience=0, lr_threshold=0.5)[1:] == pytest.approx([0.06, 0.06, 0.036, 0.036])
    assert rates(losses, lr_patience=0, lr_threshold=0.3) == [0.1] * 5


def test_it_does_not_fall_below_the_least():
    assert rates([1.0] * 9, lr_patience=0, lr_factor=0.1, lr_min=0.005)[-1] == 0.005
    assert rates([1.0] * 9, lr_patience=0, lr_min=0.5) == [0.1] * 9     # nor does it rise to it


def test_epochs_without_validation_do_not_count():
    assert rates([5, None, 5, None, 5], lr_patience=1, lr_factor=0.5) == pytest.approx([0.1] * 4 + [0.05])


@pytest.mark.parametrize("given", [{}, {"lr_patience": 4, "lr_factor": 0.3, "lr_threshold": 0.2, "lr_min": 1e-3}])
def test_it_agrees_with_torch(given):
    losses = np.random.default_rng(1).normal(size=300).cumsum() * 0.3
    parameter = torch.nn.Parameter(torch.zeros(1))
    adam = torch.optim.Adam([parameter], lr=0.1)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        adam, factor=given.get("lr_factor", 0.6), patience=given.get("lr_patience", 30), threshold_mode="abs",
        threshold=given.get("lr_threshold", 0.0), min_lr=given.get("lr_min", 0.0))
    expected = []
    for loss in losses:
        theirs.step(loss)
        expected.append(adam.param_groups[0]["lr"])
    assert rates(losses, **given) == pytest.approx(expected) and len(set(expected)) > 1


def test_the_history_has_the_rate_of_each_epoch():
    data = opened()
    given = {"reduce_lr_on_plateau": True, "lr_patience": 0, "lr_factor": 0.5, "lr_threshold": 1e6, "max_epochs": 5}
    fit = trained(data, **given)
    history = fit.history.to_dict()
    np.testing.assert_allclose(history["lr"], [5e-3, 5e-3, 2.5e-3, 1.25e-3, 6.25e-4])
    assert np.isfinite(history["elbo_validation"]).all()               # it has validation switched on
    assert "lr" not in trained(data).history.to_dict()
    assert not same_weights(fit, trained(data, max_epochs=5))
    calm = trained(data, **(given | {"lr_patience": 30}))              # a schedule that never acts changes nothing
    assert same_weights(calm, trained(data, max_epochs=5))


def test_the_rate_is_what_the_steps_are_taken_with():
    """A learning rate of next to nothing after the first epochs leaves the weights where they are."""
    data = opened()
    given = {"reduce_lr_on_plateau": True, "lr_patience": 0, "lr_factor": 1e-9, "lr_threshold": 1e6, "max_epochs": 6}
    fit = untrained(data)
    seen = []
    train(fit, data, options(**given), callbacks=[lambda trainer: seen.append(trainer.optimizer.flat.detach().clone())])
    assert not torch.equal(seen[0], seen[1])
    torch.testing.assert_close(seen[5], seen[1], rtol=0, atol=1e-7)


# -- a cycle -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("step", "expected"), [
    (0, 0.1), (50, 0.55), (100, 1.0), (550, 0.5), (325, (1 + 0.5 ** 0.5) / 2), (1000, 0.0)])
def test_a_cycle(step, expected):
    options = TrainingOptions(lr=0.02, lr_schedule="cycle")
    assert learning_rate(options, step, 1000) == pytest.approx(0.02 * expected, abs=1e-12)
    assert learning_rate(TrainingOptions(lr=0.02), step, 1000) == 0.02


@pytest.mark.parametrize("n_steps", [1, 2, 3, 7, 400])
def test_a_cycle_of_any_length_stays_within_its_bounds(n_steps):
    options = TrainingOptions(lr=0.5, lr_schedule="cycle")
    rates = [learning_rate(options, step, n_steps) for step in range(n_steps)]
    assert all(0 < rate <= 0.5 for rate in rates) and rates[0] == pytest.approx(0.05)
    top = int(np.argmax(rates))
    assert (np.diff(rates[:top + 1]) > 0).all() and (np.diff(rates[top:]) < 0).all()


def test_training_follows_the_cycle_and_writes_it_down():
    data, given = opened(), {"lr_schedule": "cycle", "lr": 0.01, "max_epochs": 6}
    wanted, seen = options(**given), []
    trainer = start(untrained(data), data, wanted)
    while trainer.state == "running":
        trainer.advance(0)
        seen.append(trainer.optimizer.lr)
    steps = trainer.n_steps
    assert seen[:steps] == [learning_rate(wanted, step, steps) for step in range(steps)]
    per_epoch = steps // 6
    np.testing.assert_allclose(trainer.history.to_dict()["lr"], seen[per_epoch - 1:steps:per_epoch])


def test_a_cycle_that_was_interrupted_goes_on_from_its_checkpoint(tmp_path):
    data, given = opened(), {"lr_schedule": "cycle", "lr": 0.01, "max_epochs": 6}
    whole = trained(data, **given)
    first = start(untrained(data), data, options(**given))
    while first.epoch < 3:
        first.advance(0)
    kept = remember(first)
    second = start(untrained(data), data, options(**given))
    second.history = first.history
    take_up(second, *kept)
    second.advance()
    assert second.state == "finished"
    for name, value in whole.module.state_dict().items():
        assert torch.equal(second.module.state_dict()[name], value), name


def test_a_shortened_preset_goes_through_its_whole_cycle():
    given = PRESETS["fast"] | {"max_steps": 21, "n_steps_kl_warmup": 6, "max_epochs": None}
    history = trained(opened(), **given).history.to_dict()
    assert history["kl_weight"][-1] == 1 and history["lr"][-1] < 0.1 * history["lr"].max()
    assert np.isfinite(history["elbo_train"]).all()


# -- warm-up in training -----------------------------------------------------------------------------------------------

def test_the_warm_up_counts_steps_that_were_taken():
    """With minibatches left out, the steps are those of what is left."""
    data = opened()
    fit = trained(data, n_epochs_kl_warmup=None, n_steps_kl_warmup=8, limit_train_batches=2)
    np.testing.assert_allclose(fit.history.to_dict()["kl_weight"], [1 / 8, 3 / 8, 5 / 8, 7 / 8])


def test_epochs_go_before_steps():
    weights = trained(n_epochs_kl_warmup=4, n_steps_kl_warmup=1).history.to_dict()["kl_weight"]
    np.testing.assert_allclose(weights, [0, 0.25, 0.5, 0.75])


def test_a_rate_is_of_the_training_it_belongs_to():
    data = opened()
    given = {"reduce_lr_on_plateau": True, "lr_patience": 0, "lr_threshold": 1e6}
    fit = trained(data, **given)
    assert start(fit, data, options(**given)).optimizer.lr == 5e-3
