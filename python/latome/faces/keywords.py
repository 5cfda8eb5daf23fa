"""The compatibility table: what becomes of each training keyword that a script may bring along.

A keyword is ours under the same name (`SAME`, `PLAN`, `SPLITTER`), or changes nothing and is ignored with a warning
(`IGNORED`), or asks for what there is in another form (`INSTEAD`: an error that names it), or is unknown: an error.
`accelerator`, `devices`, `use_gpu` become the device; `callbacks`, `external_indexing` and `optimizer_creator` go to
the trainer itself; `enable_progress_bar` says whether there is a bar.
"""

import dataclasses
import difflib
import warnings
from dataclasses import dataclass, field

from latome.backend import torch
from latome.errors import SettingError
from latome.protocol.settings import check_setting
from latome.training.options import TrainingOptions

__all__ = ["TrainingRequest", "training_request"]

#: keywords of `train`, trainer_config among them, that are ours under the same name
SAME = {"max_epochs", "max_steps", "train_size", "validation_size", "shuffle_set_split", "batch_size", "early_stopping",
        "early_stopping_monitor", "early_stopping_patience", "early_stopping_min_delta",
        "early_stopping_warmup_epochs", "check_val_every_n_epoch", "limit_train_batches", "limit_val_batches",
        "gradient_clip_val", "gradient_clip_algorithm", "keep_best", "checkpoint", "checkpoint_every", "preset"}
#: keywords of `plan_kwargs` and plan_config that are
PLAN = {"lr", "weight_decay", "eps", "optimizer", "n_epochs_kl_warmup", "n_steps_kl_warmup", "min_kl_weight",
        "max_kl_weight", "lr_schedule", "reduce_lr_on_plateau", "lr_factor", "lr_patience", "lr_threshold",
        "lr_scheduler_metric", "lr_min", "update_only_decoder", "products"}
#: keywords of `datasplitter_kwargs` that are; it may hold those of `train` too
SPLITTER = {"drop_last"}
#: keywords of `train` and what they are when nobody has given them
DEFAULTS = {"accelerator": "auto", "devices": "auto", "shuffle_set_split": True, "batch_size": 128,
            "early_stopping": False}
#: keywords that change nothing here: how the work is done, not what is computed
IGNORED = {"load_sparse_tensor", "progress_bar_refresh_rate", "logger", "log_every_n_steps", "enable_model_summary",
           "enable_checkpointing", "default_root_dir", "simple_progress_bar", "benchmark", "deterministic",
           "num_sanity_val_steps", "strategy", "precision", "num_nodes", "compile", "compile_kwargs", "pin_memory",
           "num_workers", "persistent_workers", "prefetch_factor", "profiler", "detect_anomaly", "inference_mode",
           "sync_batchnorm", "use_distributed_sampler", "reload_dataloaders_every_n_epochs", "limit_test_batches",
           "limit_predict_batches", "model_registry", "enable_autolog_hparams", "log_save_dir"}
#: {keyword: (values at which it asks for nothing, what does the same here)}
INSTEAD = {
    "datamodule": ((), "Make the model from an AnnData, which may be backed by a file, and leave datamodule out."),
    "accumulate_grad_batches": ((1,), "Set batch_size that many times larger."),
    "fast_dev_run": ((False, 0), "Set max_epochs=1 and limit_train_batches=2."),
    "overfit_batches": ((0,), "Set limit_train_batches, or external_indexing in datasplitter_kwargs."),
    "val_check_interval": ((1.0,), "Set check_val_every_n_epoch."),
    "min_epochs": ((0, 1), "Set early_stopping_warmup_epochs."),
    "min_steps": ((0,), "Set early_stopping_warmup_epochs."),
    "max_time": ((), "Give a callback that returns True when the time has come."),
    "plugins": (([], ()), "Leave plugins out."),
    "barebones": ((False,), "Leave barebones out."),
    "ckpt_path": ((), "Set checkpoint to a folder: interrupted training goes on from it."),
}


@dataclass(frozen=True)
class TrainingRequest:
    """What a call of `train` asks for.

    Arguments
    ---------
    options : `TrainingOptions`.
    extras : what else the trainer takes: callbacks, split, optimizer.
    progress : whether to show the progress.
    """

    options: TrainingOptions
    extras: dict = field(default_factory=dict)
    progress: bool = True


def training_request(arguments):
    """The `TrainingRequest` of the keywords of `train`; None stands for the default.

    Keywords win over plan_config and trainer_config. Warns of what is ignored. Raises SettingError for what is not
    supported, naming what is.
    """
    arguments = dict(arguments)
    plan = as_dict(arguments.pop("plan_config", None), "plan_config")
    plan |= as_dict(arguments.pop("plan_kwargs", None), "plan_kwargs")
    splitter = without_none(as_dict(arguments.pop("datasplitter_kwargs", None), "datasplitter_kwargs"))
    config = as_dict(arguments.pop("trainer_config", None), "trainer_config")
    config |= {name: splitter.pop(name) for name in SAME & set(splitter)}
    given = {name: value for name, value in arguments.items() if name not in config or value != DEFAULTS.get(name)}
    if given.get("preset", config.get("preset")) is not None:           # what was not given is the preset's to choose
        given = {name: value for name, value in given.items() if name not in DEFAULTS or value != DEFAULTS[name]}
    trainer = without_none({**config, **given})
    extras = {"callbacks": as_list(trainer.pop("callbacks", [])), "split": splitter.pop("external_indexing", None),
              "optimizer": creator_of(plan)}
    progress = check_setting("enable_progress_bar", trainer.pop("enable_progress_bar", True), bool, {})
    options = {"device": device_of(*(trainer.pop(name, "auto") for name in ("accelerator", "devices", "use_gpu")))}
    for source, known, where in ((trainer, SAME, "train()"), (plan, PLAN, "plan_kwargs"),
                                 (splitter, SPLITTER, "datasplitter_kwargs")):
        options |= known_of(source, known, where)
    return TrainingRequest(TrainingOptions.make(**limits(options)), extras, progress)


def known_of(source, known, where):
    """The keywords of one source that are ours; warns of those that change nothing."""
    kept = {}
    for name, value in source.items():
        if name in known:
            kept[name] = value
        elif name in INSTEAD:
            neutral, advice = INSTEAD[name]
            if value is not None and value not in neutral:
                raise SettingError(name, problem=f"`{name}` = {value!r} is not supported.", hint=advice)
        elif name in IGNORED:
            warnings.warn(f"`{name}` changes nothing here and is ignored.", stacklevel=4)
        else:
            raise SettingError(name, problem=f"{where} has no argument `{name}`.", hint=place_of(name, where, known))
    return kept


def place_of(name, where, known):
    """What to do about a keyword that is unknown where it stands."""
    places = {"plan_kwargs": PLAN, "train()": SAME, "datasplitter_kwargs": SPLITTER}
    right = [place for place, names in places.items() if name in names and place != where]
    if right:
        return f"It belongs into {right[0]}."
    close = difflib.get_close_matches(name, known | IGNORED | set(INSTEAD), n=1)
    return f"Did you mean `{close[0]}`?" if close else "It is not supported; known: " + ", ".join(sorted(known)) + "."


def as_dict(value, name):
    """A dict of keywords, from a dict or a dataclass of settings; None is none."""
    if value is None:
        return {}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise SettingError(name, problem=f"`{name}` must be a dict of keywords, not {value!r}.",
                           hint=f"For instance {name}={{...}}, or leave it out.")
    return dict(value)


def without_none(values):
    """The entries that were given."""
    return {name: value for name, value in values.items() if value is not None}


def as_list(callbacks):
    """A list of callbacks, from one or several."""
    return list(callbacks) if isinstance(callbacks, list | tuple | set) else [callbacks]


def creator_of(plan):
    """The function that makes an optimiser of the user's own, taken out of the plan's keywords, or None."""
    creator = plan.pop("optimizer_creator", None)
    if plan.get("optimizer") != "Custom":
        if creator is not None:
            raise SettingError("optimizer_creator", problem="optimizer_creator is given, but not "
                               "optimizer='Custom'.", hint="Add optimizer='Custom' to plan_kwargs.")
        return None
    del plan["optimizer"]
    if not callable(creator):
        raise SettingError("optimizer_creator", problem="optimizer='Custom' needs optimizer_creator, a function.",
                           hint="For instance lambda parameters: torch.optim.SGD(parameters, lr=0.01).")
    return creator


def limits(options):
    """The options, with bounds in the trainer's spelling turned into ours: 1 and 1.0 mean different things there."""
    options = dict(options)
    for name in ("limit_train_batches", "limit_val_batches"):
        value = options.get(name)
        if isinstance(value, float):
            if not 0 <= value <= 1:
                raise SettingError(name, problem=f"`{name}` cannot be {value}.",
                                   hint="Give a number from 0 to 1 for a share, a whole number (int) for minibatches.")
            if value == 1:
                options[name] = None
    if options.get("max_steps") == -1:
        del options["max_steps"]
    if options.get("gradient_clip_val") == 0:
        del options["gradient_clip_val"]
    return options


def device_of(accelerator="auto", devices="auto", use_gpu="auto"):
    """The name of our device from the trainer's pair of arguments, or from the older `use_gpu`."""
    if use_gpu != "auto":
        if isinstance(use_gpu, bool):
            return "cuda" if use_gpu else "cpu"
        return f"cuda:{use_gpu}" if isinstance(use_gpu, int) else str(use_gpu)
    if not isinstance(accelerator, str):
        raise SettingError("accelerator", problem=f"`accelerator` cannot be {accelerator!r}.",
                           hint="One of auto, cpu, gpu, cuda, mps.")
    numbers = numbers_of(devices)
    device = {"gpu": "cuda"}.get(accelerator, accelerator)
    if device == "cuda":
        return device if numbers is None else f"cuda:{numbers[0]}"
    if device == "auto" and numbers and numbers[0] > 0 and torch.cuda.is_available():
        return f"cuda:{numbers[0]}"
    return device


def numbers_of(devices):
    """The numbers of the devices asked for, or None where any will do; training uses the first alone."""
    wrong = SettingError("devices", problem=f"`devices` cannot be {devices!r}.",
                         hint="Give 'auto', 1, or a list of one number such as [0].")
    if isinstance(devices, str) and devices != "auto":
        parts = [part.strip() for part in devices.split(",") if part.strip()]
        if not parts or not all(part.isdigit() or part == "-1" for part in parts):
            raise wrong
        devices = [int(part) for part in parts] if "," in devices else int(parts[0])
    if devices == "auto" or (devices == -1 and not isinstance(devices, bool)):
        return None
    numbers = list(range(devices)) if isinstance(devices, int) and not isinstance(devices, bool) else devices
    if not isinstance(numbers, list | tuple) or not numbers or not all(
            isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in numbers):
        raise wrong
    if len(numbers) > 1:
        warnings.warn(f"Training uses one device; of `devices` = {devices!r} the first is taken.", stacklevel=5)
    return numbers
