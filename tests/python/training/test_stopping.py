"""Early stopping: patience, the smallest improvement, the quantity watched; and the weights of the best epoch."""

import json

import numpy as np
import pytest
from examples import opened, options, same_weights, trained, untrained, weights_of

from latome.errors import SettingError, TrainingError
from latome.fit import start, train
from latome.training.options import TrainingOptions
from latome.training.stopping import BestWeights, EarlyStopping, Watch

CASES = {  # losses by epoch, options, the epoch that stops (None: never)
    "falls on": ([5, 4, 3, 2, 1], {"early_stopping_patience": 2}, None),
    "stands still": ([5, 5, 5, 5, 5], {"early_stopping_patience": 2}, 2),
    "rises": ([5, 6, 7, 8], {"early_stopping_patience": 1}, 1),
    "patience begins anew": ([5, 6, 4, 6, 6], {"early_stopping_patience": 2}, 4),
    "small steps do not count": ([5, 4.9, 4.8, 4.7], {"early_stopping_patience": 3, "early_stopping_min_delta": 0.5},
                                 3),
    "small steps add up against the best": ([5, 4.7, 4.4, 4.3, 4.2],
                                            {"early_stopping_patience": 2, "early_stopping_min_delta": 0.5}, 4),
    "epochs before the warm-up do not count": ([1, 9, 9, 9, 9, 9], {"early_stopping_patience": 2,
                                                                    "early_stopping_warmup_epochs": 2}, 4),
    "epochs without validation do not count": ([5, None, 5, None, 5], {"early_stopping_patience": 2}, 4),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("monitor", ["elbo_validation", "elbo_train"])
def test_when_it_stops(name, monitor):
    losses, given, expected = CASES[name]
    stopping = EarlyStopping(TrainingOptions(early_stopping=True, early_stopping_monitor=monitor, **given))
    stopped = None
    for epoch, loss in enumerate(losses):
        row = {"epoch": epoch, "elbo_other": -epoch} | ({} if loss is None else {monitor: loss})
        if stopping.update(row):
            stopped = epoch
            break
    assert stopped == expected


def test_it_never_stops_unasked():
    stopping = EarlyStopping(TrainingOptions(early_stopping_patience=1))
    assert not any(stopping.update({"epoch": epoch, "elbo_validation": 5.0}) for epoch in range(9))


def test_a_watch_goes_on_from_its_memory():
    values = np.random.default_rng(0).normal(size=40)
    whole, again = Watch("loss", 0.1, 3), Watch("loss", 0.1, 3)
    for epoch, value in enumerate(values):
        whole.update({"epoch": epoch, "loss": value})
        again.update({"epoch": epoch, "loss": value})
        facts = json.loads(json.dumps(again.memory()))
        again = Watch("loss", 0.1, 3)
        again.restore(facts)
        assert (again.best, again.waited) == (whole.best, whole.waited)
    assert whole.best == min(v for i, v in enumerate(values) if i >= 3)


def test_the_best_weights_are_those_of_the_smallest_value():
    best = BestWeights(TrainingOptions(early_stopping_warmup_epochs=2))
    for epoch, value in enumerate([1.0, 2.0, 9.0, 7.0, None, 7.0, 8.0]):
        best.update({"epoch": epoch} | ({} if value is None else {"elbo_validation": value}), {"w": epoch})
    assert (best.epoch, best.weights) == (3, {"w": 3})                  # the first of two alike; none of the warm-up


# -- keep_best in training ---------------------------------------------------------------------------------------------

RISING = {"lr": 0.25, "max_epochs": 12, "keep_best": True}             # so fast that the last epoch is not the best


@pytest.fixture(scope="module")
def data():
    return opened()


def course(data, **more):
    """(fit, epoch of the smallest validation loss, weights at the end of each epoch)."""
    seen = []
    fit = train(untrained(data), data, options(**(RISING | more)),
                callbacks=[lambda trainer: seen.append(weights_of(trainer.module))])
    return fit, int(np.argmin(fit.history.to_dict()["elbo_validation"])), seen


def same(module, weights):
    return all(np.array_equal(value, weights[name]) for name, value in weights_of(module).items())


def test_the_model_gets_the_weights_of_its_best_epoch(data):
    fit, best, seen = course(data)
    assert 0 < best < 11 and len(fit.history) == 12 and fit.training["best_epoch"] == best
    assert same(fit.module, seen[best]) and not same(fit.module, seen[-1]) and not fit.module.training
    assert not same_weights(fit, trained(data, **(RISING | {"keep_best": False, "check_val_every_n_epoch": 1})))


def test_training_goes_on_from_the_best(data):
    fit, best, seen = course(data)
    trainer = start(fit, data, options())
    assert same(trainer.module, seen[best]) and trainer.epoch == 12


def test_the_best_is_kept_however_training_ends(data, monkeypatch):
    def stop(trainer):
        if trainer.epoch == 11:
            raise KeyboardInterrupt

    fit = train(untrained(data), data, options(**RISING), callbacks=[stop])
    assert fit.training["stopped"] == "interrupted" and same(fit.module, course(data)[2][fit.training["best_epoch"]])
    loss = type(fit.module).loss

    def spoilt(module, terms, weight, *more):
        return loss(module, terms, weight, *more) * (float("nan") if weight >= 1 else 1.0)             # from epoch 6

    fit = untrained(data)
    monkeypatch.setattr(type(fit.module), "loss", spoilt)
    with pytest.raises(TrainingError, match="in epoch 6"):
        train(fit, data, options(**RISING))
    monkeypatch.undo()
    losses = fit.history.to_dict()["elbo_validation"]
    assert len(losses) == 5 and fit.training["best_epoch"] == int(np.argmin(losses))
    assert same(fit.module, course(data)[2][fit.training["best_epoch"]])


@pytest.mark.parametrize(("given", "name"), [
    ({"early_stopping": True}, "early_stopping"), ({"keep_best": True}, "keep_best"),
    ({"reduce_lr_on_plateau": True}, "reduce_lr_on_plateau"),
])
@pytest.mark.parametrize("none", [{"train_size": 1.0}, {"limit_val_batches": 0}])
def test_what_watches_validation_needs_it(data, given, name, none):
    with pytest.raises(SettingError, match=f"`{name}` watches elbo_validation, but there are no") as caught:
        start(untrained(data), data, options(**given, **none))
    assert caught.value.field == name and "train_size below 1" in caught.value.hint
    if name != "reduce_lr_on_plateau":
        start(untrained(data), data, options(early_stopping_monitor="elbo_train", **given, **none))
