"""The compatibility table: what becomes of each training keyword that a script may bring along."""

import difflib
import warnings

from latome.errors import SettingError
from latome.training.options import TrainingOptions

__all__ = ["model_settings", "training_options"]

#: keywords of `train` that are ours under the same name
SAME = {"max_epochs", "train_size", "validation_size", "shuffle_set_split", "batch_size", "early_stopping",
        "early_stopping_monitor", "early_stopping_patience", "early_stopping_min_delta",
        "early_stopping_warmup_epochs", "check_val_every_n_epoch", "checkpoint", "checkpoint_every"}
#: keywords of `plan_kwargs` that are ours under the same name
PLAN = {"lr", "weight_decay", "eps", "n_epochs_kl_warmup", "n_steps_kl_warmup", "min_kl_weight", "max_kl_weight"}
#: keywords that change nothing here: how the work is done, not what is computed
IGNORED = {"load_sparse_tensor", "enable_progress_bar", "progress_bar_refresh_rate", "logger", "log_every_n_steps",
           "enable_model_summary", "enable_checkpointing", "default_root_dir", "simple_progress_bar", "benchmark",
           "num_sanity_val_steps", "strategy", "precision", "use_gpu", "compile", "compile_kwargs"}
#: options of a model that scripts pass at their only supported value
FIXED = {"latent_distribution": "normal", "log_variational": True, "batch_representation": "one-hot",
         "var_activation": None, "extra_encoder_kwargs": None, "extra_decoder_kwargs": None,
         "batch_embedding_kwargs": None}
#: other spellings of a value
SPELLINGS = {"gene_likelihood": {"negative_binomial": "nb", "zero_inflated_negative_binomial": "zinb"}}


def training_options(arguments):
    """`TrainingOptions` from the keywords of `train`; None stands for the default."""
    arguments = {name: value for name, value in arguments.items() if value is not None}
    options = {"device": device_of(arguments.pop("accelerator", "auto"), arguments.pop("devices", "auto"))}
    plan = arguments.pop("plan_kwargs", {})
    splitter = arguments.pop("datasplitter_kwargs", {})
    sources = ((arguments, SAME, "train()"), (plan, PLAN, "plan_kwargs"), (splitter, set(), "datasplitter_kwargs"))
    for source, known, where in sources:
        for name, value in source.items():
            if name in known:
                options[name] = value
            elif name in IGNORED:
                warnings.warn(f"`{name}` changes nothing here and is ignored.", stacklevel=3)
            else:
                close = difflib.get_close_matches(name, known | IGNORED, n=1)
                raise SettingError(name, problem=f"{where} has no argument `{name}`.",
                                   hint=f"Did you mean `{close[0]}`?" if close else "It is not supported.")
    return TrainingOptions.make(**options)


def device_of(accelerator, devices):
    """The name of our device from Lightning's pair of arguments."""
    if accelerator in ("gpu", "cuda") and isinstance(devices, int | list) and not isinstance(devices, bool):
        number = devices[0] if isinstance(devices, list) else 0
        return f"cuda:{number}"
    return {"gpu": "cuda"}.get(accelerator, accelerator)


def model_settings(module_class, arguments):
    """Settings of a model from the keywords of its class; continuous covariates enter the first layer alone."""
    settings = {}
    for name, value in arguments.items():
        if name in FIXED:
            if value != FIXED[name] and value not in ({}, None):
                raise SettingError(name, problem=f"`{name}` = {value!r} is not supported.",
                                   hint=f"The only value is {FIXED[name]!r}.")
            continue
        settings[name] = SPELLINGS.get(name, {}).get(value, value) if isinstance(value, str) else value
    return module_class.Settings.make(**{"continuous_in": "first", **settings})
