"""The compatibility table of a model's own keywords: what becomes of each that a script may bring along."""

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
    settings = {"continuous_in": "first"}
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
    return module_class.Settings.make(**settings)


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
