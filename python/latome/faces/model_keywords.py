"""The compatibility table of a model's own keywords: what becomes of each that a script may bring along."""

from dataclasses import fields

from latome.backend import torch
from latome.errors import SettingError

__all__ = ["model_settings"]

#: other spellings of a value
SPELLINGS = {"gene_likelihood": {"negative_binomial": "nb", "zero_inflated_negative_binomial": "zinb"}}
#: functions that make a variance positive, by our name for them
ACTIVATIONS = {None: "exp", torch.exp: "exp", torch.nn.functional.softplus: "softplus"}
#: keywords of networks that cannot be varied here
EMPTY = ("extra_encoder_kwargs", "extra_decoder_kwargs")


def model_settings(module_class, arguments):
    """Settings of a model from the keywords of its class; continuous covariates enter the first layer alone."""
    offered = {field.name for field in fields(module_class.Settings)}
    settings = {"continuous_in": "first"} if "continuous_in" in offered else {}
    for name, value in arguments.items():
        if name in EMPTY:
            if value:
                raise SettingError(name, problem=f"`{name}` = {value!r} is not supported.", hint="Leave it out.")
        elif name == "batch_embedding_kwargs":
            settings |= _embedding(value or {})
        elif name == "var_activation":
            settings[name] = _activation(value)
        else:
            settings[name] = SPELLINGS.get(name, {}).get(value, value) if isinstance(value, str) else value
    return module_class.Settings.make(**{name: value for name, value in settings.items()
                                         if name in offered or not _is_as_always(module_class, name, value)})


def _is_as_always(module_class, name, value):
    """Whether a keyword says what is so in a model without that choice; SettingError if it says otherwise."""
    always = getattr(module_class.Settings, name, None)
    if not isinstance(always, str | bool):
        return False                                   # no such thing at all
    if value != always:
        raise SettingError(name, problem=f"`{name}` is always {always!r} in {module_class.title}.",
                           hint="Leave it out.")
    return True


def _embedding(keywords):
    unknown = set(keywords) - {"embedding_dim"}
    if unknown:
        raise SettingError("batch_embedding_kwargs", problem=f"`batch_embedding_kwargs` cannot hold {sorted(unknown)}.",
                           hint="It may hold embedding_dim, the length of a batch's vector.")
    return keywords


def _activation(value):
    if isinstance(value, str):
        return value
    function = torch.nn.functional.softplus if isinstance(value, torch.nn.Softplus) else value
    if function not in ACTIVATIONS:
        raise SettingError("var_activation", problem=f"`var_activation` cannot be {value!r}.",
                           hint="One of None, torch.exp and torch.nn.functional.softplus.")
    return ACTIVATIONS[function]
