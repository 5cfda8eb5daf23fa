"""Callbacks: when they are called, what they see, what they may ask, and that none of them can lose the model."""

import numpy as np
import pytest
from examples import opened, options, random_state, same_history, same_weights, trained, untrained, weights_of

from latome.analysis.latent import latent
from latome.backend import torch
from latome.errors import SettingError, TrainingError
from latome.fit import conclude, start, train
from latome.training.callbacks import Callbacks


@pytest.fixture(scope="module")
def data():
    return opened()


class Diary:
    """Writes down each moment."""

    def __init__(self):
        self.seen = []

    def on_train_start(self, trainer):
        self.seen.append(("start", trainer.epoch, trainer.state, trainer.module.training))

    def on_epoch_end(self, trainer):
        self.seen.append(("epoch", trainer.epoch, trainer.state, len(trainer.history)))

    def on_train_end(self, trainer):
        self.seen.append(("end", trainer.epoch, trainer.state, trainer.module.training))


class OnlyEnd:
    def __init__(self):
        self.states = []

    def on_train_end(self, trainer):
        self.states.append(trainer.state)


def test_the_three_moments(data):
    diary, end, count = Diary(), OnlyEnd(), []
    fit = train(untrained(data), data, options(max_epochs=2), callbacks=[diary, count.append, end])
    assert [moment[:3] for moment in diary.seen] == [
        ("start", 0, "running"), ("epoch", 1, "running"), ("epoch", 2, "running"), ("end", 2, "finished")]
    assert [moment[3] for moment in diary.seen[1:]] == [1, 2, False]
    assert len(count) == 2 and end.states == ["finished"]
    assert same_weights(fit, trained(data, max_epochs=2))               # who only looks on changes nothing
    train(fit, data, options(max_epochs=1), callbacks=[diary])
    assert diary.seen[-1][:3] == ("end", 3, "finished")


def test_what_a_trainer_tells(data):
    found = {}

    class Look:
        def on_epoch_end(self, trainer):
            found.update(epoch=trainer.epoch, n_epochs=trainer.n_epochs, step=trainer.step, lr=trainer.optimizer.lr,
                         loss=trainer.history.last("elbo_train"), rows=len(trainer.history.frame()),
                         parts=(len(trainer.train_rows), len(trainer.validation_rows), len(trainer.test_rows)),
                         device=str(trainer.device), n_cells=trainer.data.n_cells, size=trainer.options.batch_size)

    fit = train(untrained(data), data, options(max_epochs=1, train_size=0.5, validation_size=0.2), callbacks=[Look()])
    assert found == {"epoch": 1, "n_epochs": 1, "step": 2, "lr": 5e-3, "loss": fit.history.last("elbo_train"),
                     "rows": 1, "parts": (45, 18, 27), "device": "cpu", "n_cells": 90, "size": 32}


@pytest.mark.parametrize("answer", [True, np.True_])
def test_true_stops(data, answer):
    class Stop:
        def on_epoch_end(self, trainer):
            return answer if trainer.epoch == 2 else False

    fit = train(untrained(data), data, options(), callbacks=[Stop(), lambda trainer: False])
    assert fit.training["stopped"] == "early" and same_weights(fit, trained(data, max_epochs=2))


@pytest.mark.parametrize("answer", [1.5, "stop", None, [1]])
def test_nothing_else_stops(data, answer):
    fit = train(untrained(data), data, options(), callbacks=[lambda trainer: answer])
    assert fit.training["stopped"] == "finished"


def test_a_callback_may_ask_the_model_and_draw_numbers(data):
    """It leaves neither the module in evaluation mode nor other random numbers."""
    def ask(trainer):
        latent(trainer.module, trainer.data, give_mean=False)
        trainer.module.eval()
        torch.rand(7), np.random.default_rng(0).random(3)

    before = random_state()
    fit = train(untrained(data), data, options(), callbacks=[ask])
    assert all(np.array_equal(a, b) for a, b in zip(before, random_state()))
    assert same_weights(fit, trained(data)) and same_history(fit, trained(data))


# -- exceptions --------------------------------------------------------------------------------------------------------

class Fails:
    """Raises at a moment."""

    def __init__(self, moment, epoch=None):
        def fail(trainer):
            if epoch in (None, trainer.epoch):
                raise ZeroDivisionError("of a user")
        setattr(self, moment, fail)


@pytest.mark.parametrize("driven", [False, True])
def test_an_exception_after_an_epoch_keeps_the_model(data, driven):
    fit, end, later = untrained(data), OnlyEnd(), []
    callbacks = [Fails("on_epoch_end", 2), end, lambda trainer: later.append(trainer.epoch)]
    with pytest.raises(ZeroDivisionError, match="of a user"):
        if driven:
            train(fit, data, options(), callbacks=callbacks, progress=lambda now: None)
        else:
            train(fit, data, options(), callbacks=callbacks)
    assert fit.training["stopped"] == "interrupted" and len(fit.history) == 2 and fit.trained
    assert same_weights(fit, trained(data, max_epochs=2)) and not fit.module.training
    assert end.states == ["interrupted"] and later == [1, 2]           # the others were called all the same
    train(fit, data, options(max_epochs=1))
    assert len(fit.history) == 3


def test_an_exception_at_the_start_or_the_end(data):
    fit = untrained(data)
    before = weights_of(fit.module)
    with pytest.raises(ZeroDivisionError):
        train(fit, data, options(), callbacks=[Fails("on_train_start")])
    assert fit.training["stopped"] == "interrupted" and len(fit.history) == 0
    assert all(np.array_equal(before[name], value) for name, value in weights_of(fit.module).items())
    end = OnlyEnd()
    with pytest.raises(ZeroDivisionError):
        train(fit, data, options(), callbacks=[Fails("on_train_end"), end])
    assert fit.training["stopped"] == "finished" and same_weights(fit, trained(data)) and end.states == ["finished"]


def test_a_trainer_whose_callback_failed_does_not_go_on(data):
    trainer = start(untrained(data), data, options(), callbacks=[Fails("on_epoch_end", 2)])
    with pytest.raises(ZeroDivisionError):
        trainer.advance()
    assert trainer.advance().state == "interrupted" and trainer.epoch == 2


def test_the_end_is_told_once_and_however_it_came(data):
    def interrupt(trainer):
        if trainer.epoch == 2:
            raise KeyboardInterrupt

    for callbacks, state in (([], "finished"), ([interrupt], "interrupted"), ([lambda trainer: True], "early")):
        end = OnlyEnd()
        trainer = start(untrained(data), data, options(), callbacks=[end, *callbacks])
        trainer.drive(lambda now: None)
        trainer.advance()
        trainer.interrupt()
        assert end.states == [state]
    end = OnlyEnd()
    with pytest.raises(TrainingError, match="infinite or NaN"):
        train(untrained(data), data, options(lr=1e6), callbacks=[end])
    assert end.states == ["failed"]


def test_a_progress_that_fails_keeps_the_model(data):
    def show(now):
        if now.epoch >= 1:
            raise ZeroDivisionError

    fit = untrained(data)
    with pytest.raises(ZeroDivisionError):
        train(fit, data, options(max_epochs=500), progress=show)
    assert fit.training["stopped"] == "interrupted" and 1 <= len(fit.history) < 500 and not fit.module.training


def test_a_step_that_fails_brings_back_the_last_epoch(data, monkeypatch):
    """Running out of memory, say; never a training that looks finished."""
    fit, calls = untrained(data), []
    explain = type(fit.module).explain

    def failing(module, *arguments):
        calls.append(1)
        if len(calls) == 8:
            raise MemoryError
        return explain(module, *arguments)

    monkeypatch.setattr(type(fit.module), "explain", failing)
    trainer = start(fit, data, options())
    with pytest.raises(MemoryError):
        trainer.advance()
    monkeypatch.undo()
    assert trainer.advance().state == "failed"
    assert same_weights(conclude(fit, trainer), trained(data, max_epochs=2)) and len(fit.history) == 2


# -- what is no callback -----------------------------------------------------------------------------------------------

class OfAnotherLibrary:
    def on_train_start(self, trainer, module):
        pass

    def on_train_epoch_end(self, trainer, module):
        pass


@pytest.mark.parametrize(("given", "problem"), [
    ([3], "callback int has nothing that could be called"), ([None], "callback NoneType has nothing"),
    (["early"], "callback str has nothing"), ([Diary], "callback Diary is a class, not an object"),
    ([OfAnotherLibrary()], r"on_train_start\(\) of the callback OfAnotherLibrary does not take the trainer alone"),
    ([lambda: True], "does not take the trainer alone"), ([lambda a, b: True], "does not take the trainer alone"),
    (lambda trainer: True, "must be a list"), (3, "must be a list"), ("ab", "must be a list"),
])
def test_what_is_no_callback(given, problem):
    with pytest.raises(SettingError, match=problem) as caught:
        Callbacks(given)
    assert caught.value.field == "callbacks" and "on_epoch_end" in caught.value.hint


@pytest.mark.parametrize("callback", [print, [].append, Diary(), OnlyEnd(), lambda trainer, more=1: None])
def test_what_is_one(callback):
    assert sum(map(len, Callbacks([callback]).listeners.values())) >= 1
