"""Callbacks: what a user of the engine may have called in the course of training.

A callback is a function of the trainer, called after each epoch, or an object with any of

    on_train_start(trainer)    before the first step
    on_epoch_end(trainer)      after each epoch, once the history has its row
    on_train_end(trainer)      when training has ended, however it did; the model is in evaluation mode

A function, or on_epoch_end, that returns True ends training after that epoch.

    class Curve:
        def on_epoch_end(self, trainer):
            print(trainer.epoch, trainer.history.last("elbo_train"))

What a trainer tells: `epoch`, epochs done, with those of earlier training; `n_epochs`, the last; `step`, steps of
this training; `history`, a `History`: `history.last("elbo_validation")`, `history.frame()`; `module`, the torch
module, and `device`, where it is; `state`, "running", and at the end "finished", "early", "interrupted" or "failed";
`options`, the `TrainingOptions`; `train_rows`, `validation_rows`, `test_rows`, rows of the cells; `data`, the
`Dataset`; `optimizer.lr`, the learning rate.

Random numbers drawn by a callback disturb neither training nor the caller. An exception ends training; it is raised
once every other callback has been called, and the model stays as trained so far. `SaveModel` of latome.io.checkpoint
is a callback that saves the model now and then.
"""

import inspect

import numpy as np

from latome.errors import SettingError

__all__ = ["Callbacks"]

MOMENTS = ("on_train_start", "on_epoch_end", "on_train_end")
ADVICE = "Give functions of the trainer, or objects with " + ", ".join(MOMENTS[:2]) + f" or {MOMENTS[2]}(trainer)."


class Callbacks:
    """The callbacks of a training.

    Arguments
    ---------
    given : functions, or objects that define any of the moments above.

    Raises SettingError for what is neither.
    """

    def __init__(self, given=()):
        self.listeners = {moment: [] for moment in MOMENTS}
        if callable(given) or not isinstance(given, list | tuple | set):
            raise SettingError("callbacks", problem=f"`callbacks` must be a list, not {given!r}.", hint=ADVICE)
        for callback in given:
            self.append(callback)

    def append(self, callback):
        """Add a callback, to be called after those that are there."""
        for moment, method in methods_of(callback).items():
            if not takes_one_argument(method):
                raise SettingError("callbacks", problem=f"{moment}() of the callback {name_of(callback)} does not take "
                                   "the trainer alone, as callbacks of another library do not.", hint=ADVICE)
            self.listeners[moment].append(method)

    def tell(self, moment, trainer):
        """Call all who listen; True if one asks to stop. Raises the first exception of theirs, at the end."""
        answers, failures = [], []
        for listen in self.listeners[moment]:
            try:
                answers.append(listen(trainer))
            except Exception as error:  # noqa: BLE001 (whatever a user's function may raise)
                failures.append(error)
        if failures:
            raise failures[0]
        return any(isinstance(answer, bool | np.bool_) and bool(answer) for answer in answers)


def methods_of(callback):
    """{moment: function} of a callback."""
    if not isinstance(callback, type):
        methods = {moment: getattr(callback, moment, None) for moment in MOMENTS}
        methods = {moment: method for moment, method in methods.items() if callable(method)}
        if methods:
            return methods
        if callable(callback):
            return {"on_epoch_end": callback}
    problem = "is a class, not an object of it" if isinstance(callback, type) else "has nothing that could be called"
    raise SettingError("callbacks", problem=f"The callback {name_of(callback)} {problem}.", hint=ADVICE)


def name_of(callback):
    """What a callback is called in a message."""
    return getattr(callback, "__name__", type(callback).__name__)


def takes_one_argument(function):
    """Whether a function can be called with one argument; one that does not tell is taken at its word."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return True
    try:
        signature.bind(None)
    except TypeError:
        return False
    return True
