"""The state of training on disk, and going on from it as if nothing had happened; and models saved on the way."""

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np

from latome.errors import ArchiveError
from latome.fit import conclude, start
from latome.io.archive import read_tensors, save, write_tensors
from latome.protocol.settings import check_setting
from latome.training.history import History
from latome.training.memory import remember, take_up

__all__ = ["Checkpoint", "SaveModel", "begin"]

FILE = "checkpoint.safetensors"
#: options that may change when training goes on: for how long, where, and how often it is written
FREE = ("checkpoint", "checkpoint_every", "device", "threads", "max_epochs")


class Checkpoint:
    """A callback of training: writes the trainer's memory every so many epochs.

    Arguments
    ---------
    fit : what is trained.
    folder : where the file goes.
    every : epochs between files.
    """

    def __init__(self, fit, folder, every=10):
        self.fit, self.path, self.every = fit, Path(folder) / FILE, every
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unwritten(error) from None

    def on_epoch_end(self, trainer):
        """Write the file if it is time to."""
        if (trainer.epoch - trainer.first_epoch) % self.every == 0 or trainer.epoch == trainer.n_epochs:
            self.write(trainer)

    def write(self, trainer):
        """Write the file now, between two steps. Within an epoch all ranks call it, and the first one writes."""
        tensors, facts = remember(trainer)
        if not trainer.ranks.first:
            return
        facts |= {"identity": identity(self.fit, trainer), "history": trainer.history.to_json()}
        tensors = {name: value.cpu().contiguous() for name, value in tensors.items()}
        try:
            write_tensors(self.path, tensors, json.dumps(facts))
        except OSError as error:
            raise self._unwritten(error) from None

    def _unwritten(self, error):
        return ArchiveError("checkpoint", problem=f"The checkpoint could not be written into {self.path.parent}: "
                            f"{error}.", hint="Choose a folder that can be written, with space left.")


class SaveModel:
    """A callback of training: saves the whole model every so many epochs, each into a folder of its own.

    The folders are called epoch-1, epoch-2 ... after the epochs done, those of earlier training included; `load`
    reads them as any model. A folder of that name that holds a model is replaced.

    Arguments
    ---------
    fit : what is trained.
    folder : where these folders go.
    every : epochs between them.

    Example
    -------
    >>> train(fit, data, options, callbacks=[SaveModel(fit, "course", every=50)])
    """

    def __init__(self, fit, folder, every=10):
        self.fit, self.folder, self.every = fit, Path(folder), check_setting("every", every, int, {"ge": 1})

    def on_epoch_end(self, trainer):
        """Save the model if it is time to."""
        if trainer.epoch % self.every == 0:
            fit = conclude(dataclasses.replace(self.fit), trainer)      # a copy: training of the fit has not ended
            save(fit, self.folder / f"epoch-{trainer.epoch}", overwrite=True)


def identity(fit, trainer):
    """What must agree for training to go on: model, data, cells and options, but for how long and where."""
    options = {name: value for name, value in trainer.options.to_json().items() if name not in FREE}
    rows = hashlib.sha256(b"".join(np.asarray(rows, "<i8").tobytes() + b"|" for rows in trainer.cells.split))
    held = {"held": fit.held} if fit.held else {}
    return {"kind": fit.kind, "settings": fit.settings.to_json(), "registry": fit.registry.to_json(), "seed": fit.seed,
            "options": options, "n_cells": trainer.data.n_cells, "total": float(trainer.data.source.totals().sum()),
            "rows": rows.hexdigest(), "optimizer": type(trainer.optimizer.torch).__name__} | held


def begin(fit, data, options, callbacks=(), **more):
    """A trainer that writes checkpoints if `options.checkpoint` names a folder, and goes on from one found there.

    A checkpoint that the fit has reached or passed already is that of the training it now continues: it is
    replaced. Raises ArchiveError when the folder holds the checkpoint of another model, data or options.
    `more` goes to `fit.start`: split, optimizer, ranks.
    """
    trainer = start(fit, data, options, callbacks, **more)
    if options.checkpoint is None:
        return trainer
    checkpoint = Checkpoint(fit, options.checkpoint, options.checkpoint_every)
    if checkpoint.path.exists():
        tensors, document = read_tensors(checkpoint.path)
        facts = json.loads(document)
        passed = trainer.first_epoch >= facts["epoch"]
        same_start = passed or trainer.first_epoch == facts["first_epoch"]
        if not same_start or facts["identity"] != json.loads(json.dumps(identity(fit, trainer))):
            raise ArchiveError("checkpoint", problem=f"{checkpoint.path.parent} holds the checkpoint of other "
                               "training: its model, data, seed or options differ.", hint="Name an empty folder.")
        if not passed:
            _refuse_other_ranks(trainer.ranks.size, facts.get("ranks", 1))
            _go_on(trainer, tensors, facts)
    trainer.callbacks.append(checkpoint)
    return trainer


def _refuse_other_ranks(size, before):
    if size != before:
        raise ArchiveError("checkpoint", problem=f"The checkpoint is of training with {before} "
                           f"{'process' if before == 1 else 'processes'}; now there {'is' if size == 1 else 'are'} "
                           f"{size}.", hint="Start as many, or remove the checkpoint to begin anew.")


def _go_on(trainer, tensors, facts):
    trainer.history = History.from_json(facts["history"])
    if trainer.options.max_epochs is not None:         # more epochs may be asked for than before
        facts["n_epochs"] = facts["first_epoch"] + trainer.n_epochs - trainer.first_epoch
    take_up(trainer, tensors, facts)
