"""A fit: a module with its settings, its registry and its history; and the verbs that make and train one."""

from dataclasses import dataclass, field, replace

from latome.backend import torch
from latome.errors import FieldError, QueryError, SettingError
from latome.modules import CATALOGUE, find
from latome.protocol import Module
from latome.protocol.settings import check_setting
from latome.training.history import History
from latome.training.loop import Trainer
from latome.training.options import TrainingOptions, refining_epochs
from latome.training.session import RandomStream

__all__ = ["Fit", "fit", "initialise", "start", "train"]

PARENT = "parent"                                      # among the facts of training


@dataclass
class Fit:
    """A model and everything needed to use it again.

    Arguments
    ---------
    kind : short name in the catalogue.
    settings : of the module.
    registry : gene order and category names.
    module : the torch module, in evaluation mode.
    history : of training; empty before.
    seed : of initialisation and training.
    training : facts of the last training: epochs, stopped, seconds, n_train, n_validation, device, options; and
        parent, the kind of a trained model whose weights this one began with.
    held : {name of a tensor: number of leading rows that training leaves as they are, None for all}: what a model of
        new cells keeps of its reference; see surgery.
    """

    kind: str
    settings: object
    registry: object
    module: Module
    history: History = field(default_factory=History)
    seed: int = 0
    training: dict = field(default_factory=dict)
    held: dict = field(default_factory=dict)

    @property
    def trained(self):
        """Whether any training has happened; an imported model may come without its history."""
        return len(self.history) > 0 or self.training.get("stopped") == "finished"

    @property
    def n_parameters(self):
        return sum(p.numel() for p in self.module.parameters())


def check_seed(seed):
    """The seed as an int from 0 to 2^63 - 1, or a SettingError."""
    return check_setting("seed", seed, int, {"ge": 0, "lt": 2**63})


def build(kind, settings, registry, parents=None, seed=0):
    """An untrained module of the catalogue (or a `Module` subclass given as `kind`), in evaluation mode.

    Its weights are drawn from random numbers of its own: the caller's generators are left as they were.
    """
    module_class = find(kind) if isinstance(kind, str) else kind
    for role in module_class.fields:
        if not (getattr(registry.columns, role, None) or role in registry.arrays):
            raise FieldError(role, problem=f"{module_class.title or module_class.__name__} needs `{role}`.",
                             hint=f"Name the column that holds it: {role} = ...")
    with RandomStream(seed).active():
        return module_class(settings, registry, parents).eval()


def initialise(settings, data, *, seed=0, parents=None, kind=None):
    """A fit with fresh weights.

    Arguments
    ---------
    settings : a settings object of a model of the catalogue, or its short name for the defaults.
    data : a `Dataset`.
    seed : of the weights.
    parents : {name: Fit} that the model stands on.
    kind : a `Module` subclass outside the catalogue.
    """
    if isinstance(settings, str):
        settings = find(settings).Settings()
    if kind is None:
        kind = next((name for name, module in CATALOGUE.items() if type(settings) is module.Settings), None)
    if kind is None:
        raise SettingError("settings", problem=f"{type(settings).__name__} are not the settings of a known model.",
                           hint="Known models: " + ", ".join(CATALOGUE) + ".")
    seed = check_seed(seed)
    module = build(kind, settings, data.registry, parents, seed)
    return Fit(kind if isinstance(kind, str) else kind.__name__, settings, data.registry, module, seed=seed)


def _layout(registry):
    """What two registries must share for a model of one to be used with the other."""
    columns = registry.columns
    return registry.genes, registry.categories, columns.categorical, columns.continuous, registry.arrays


def start(fit, data, options=None, callbacks=(), *, split=None, optimizer=None, ranks=None):
    """A `Trainer` that continues the fit; drive it with `advance`, then call `conclude`."""
    if _layout(data.registry) != _layout(fit.registry):
        raise QueryError("genes", problem="The data were not opened against this model's registry.",
                         hint="Open them with open_data(adata, registry=fit.registry).")
    data.require_counts("Training")
    options = options or TrainingOptions(**fit.module.recipe)
    if PARENT in fit.training and options.max_epochs is None and options.max_steps is None:
        options = replace(options, max_epochs=refining_epochs(data.n_cells))
    return Trainer(fit.module, data, options, seed=fit.seed, history=fit.history, callbacks=callbacks, split=split,
                   optimizer=optimizer, ranks=ranks, held=fit.held)


def conclude(fit, trainer):
    """Write into the fit what training was. Returns the fit."""
    fit.history = trainer.history
    fit.training = {name: value for name, value in fit.training.items() if name == PARENT} | {
        "epochs": len(trainer.history), "stopped": trainer.state, "seconds": trainer.seconds,
        **trainer.facts(),
        "device": str(trainer.device), "threads": trainer.options.threads or torch.get_num_threads(),
        "options": trainer.options.to_json(),
    }
    return fit


def train(fit, data, options=None, *, callbacks=(), progress=None, split=None, optimizer=None):
    """Train a fit; training again continues.

    Arguments
    ---------
    fit, data : the model, and the data opened for it.
    options : `TrainingOptions`.
    callbacks : functions of the trainer, called after each epoch, or objects; see training/callbacks.py.
    progress : function of a `Progress`, called about ten times a second.
    split : [training rows, validation rows, test rows]; by default drawn as the options say.
    optimizer : function of a list of parameters that returns an optimiser of torch.

    Returns the same fit. A keyboard interrupt ends training and keeps the model as trained so far.
    Raises TrainingError when the loss is no longer finite; the weights are then those of the epoch before.
    """
    trainer = start(fit, data, options, callbacks, split=split, optimizer=optimizer)
    try:
        trainer.drive(progress or (lambda now: None), None if progress is None else 0.1)
    finally:
        conclude(fit, trainer)
    return fit


def fit(settings, data, options=None, *, seed=0, **more):
    """`initialise`, then `train`."""
    return train(initialise(settings, data, seed=seed), data, options, **more)
