"""The state of training on disk, and going on from it as if nothing had happened."""

import json
from pathlib import Path

from latome.errors import ArchiveError
from latome.fit import start
from latome.io.archive import read_tensors, write_tensors
from latome.training.history import History

__all__ = ["Checkpoint", "begin"]

FILE = "checkpoint.safetensors"


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

    def __call__(self, trainer):
        if (trainer.epoch - trainer.first_epoch) % self.every == 0 or trainer.epoch == trainer.n_epochs:
            self.write(trainer)

    def write(self, trainer):
        """Write the file now; only at the end of an epoch can training go on exactly."""
        tensors, facts = trainer.memory()
        facts |= {"identity": identity(self.fit, trainer), "history": trainer.history.to_json()}
        facts["best"] = None if facts["best"] == float("inf") else facts["best"]
        tensors = {name: value.cpu().contiguous() for name, value in tensors.items()}
        try:
            write_tensors(self.path, tensors, json.dumps(facts))
        except OSError as error:
            raise self._unwritten(error) from None

    def _unwritten(self, error):
        return ArchiveError("checkpoint", problem=f"The checkpoint could not be written into {self.path.parent}: "
                            f"{error}.", hint="Choose a folder that can be written, with space left.")


def identity(fit, trainer):
    """What must agree for training to go on: model, data and options, but for how long and where."""
    options = {name: value for name, value in trainer.options.to_json().items()
               if name not in ("checkpoint", "checkpoint_every", "device", "threads", "max_epochs")}
    return {"kind": fit.kind, "settings": fit.settings.to_json(), "registry": fit.registry.to_json(), "seed": fit.seed,
            "options": options, "n_cells": trainer.data.n_cells, "total": float(trainer.data.source.totals().sum())}


def begin(fit, data, options, callbacks=()):
    """A trainer that writes checkpoints if `options.checkpoint` names a folder, and goes on from one found there.

    A checkpoint that the fit has reached or passed already is that of the training it now continues: it is
    replaced. Raises ArchiveError when the folder holds the checkpoint of another model, data or options.
    """
    trainer = start(fit, data, options, callbacks)
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
            _go_on(trainer, tensors, facts)
    trainer.callbacks.append(checkpoint)
    return trainer


def _go_on(trainer, tensors, facts):
    trainer.history = History.from_json(facts["history"])
    facts["best"] = float("inf") if facts["best"] is None else facts["best"]
    if trainer.options.max_epochs is not None:         # more epochs may be asked for than before
        facts["n_epochs"] = facts["first_epoch"] + trainer.options.max_epochs
    trainer.restore(tensors, facts)
