"""The two-way map between the arguments of scvi-tools' classes and our settings."""

from dataclasses import fields
from itertools import islice

from latome.errors import ArchiveError
from latome.io.unpickle import Global

__all__ = ["WRITTEN", "UnsupportedError", "arguments_of", "init_params_of", "settings_of"]

#: How functions of torch are named in a file; torch_archive reads them as names.
SOFTPLUS, RELU = Global("torch._C._nn softplus"), Global("torch.nn.modules.activation ReLU")

_POSITIONAL = ("n_hidden", "n_latent", "n_layers", "dropout_rate", "dispersion", "gene_likelihood",
               "use_observed_lib_size", "latent_distribution")           # named in the signature of their SCVI
_SHARED = (*_POSITIONAL, "log_variational", "batch_representation", "encode_covariates", "deeply_inject_covariates",
           "use_batch_norm", "use_layer_norm")
_WITHOUT_EFFECT = ("adata", "registry", "datamodule", "use_cuda", "use_size_factor_key", "extra_payload_autotune")
_GROUPS = ("model_kwargs", "classifier_kwargs")        # arguments that hold further ones
#: Their class -> arguments that are no settings: they are read elsewhere, or change nothing in a trained model.
_ELSEWHERE = {"CellAssign": ("cell_type_markers", "random_b_g_0"), "SCANVI": ("unlabeled_category",)}
#: Their class -> what its signature names; other arguments are in a group of their own.
_SIGNATURES = {
    "SCVI": _POSITIONAL, "LinearSCVI": _POSITIONAL,
    "SCANVI": (*_POSITIONAL[:-1], "linear_classifier"),
    "AUTOZI": ("n_hidden", "n_latent", "n_layers", "dropout_rate", "dispersion", "latent_distribution", "alpha_prior",
               "beta_prior", "minimal_dropout", "zero_inflation", "use_observed_lib_size"),
}
WRITTEN = tuple(_SIGNATURES)                            # classes whose models can be written in their layout
_OURS = {"continuous_in", "embedding_dim", "var_activation"}            # unknown there, or known in another form
_SCALARS = (str, bool, int, float, type(None), Global)
_AS_USUAL = {"activation_fn": RELU, "bias": True, "use_activation": True, "var_eps": 1e-4}   # of a network's block


class UnsupportedError(ArchiveError):
    """A sound checkpoint that uses what latome does not have."""


def arguments_of(init_params):
    """Their arguments of construction as one dict, from {"kwargs": {name: {...}}, "non_kwargs": {...}} or flat."""
    if "non_kwargs" not in init_params and "kwargs" not in init_params:
        arguments = dict(init_params)
        groups = [arguments.pop(name, None) or {} for name in _GROUPS]
        return {name: value for group in (arguments, *groups) for name, value in group.items()}
    arguments = dict(init_params.get("non_kwargs", {}))
    for group in init_params.get("kwargs", {}).values():
        arguments |= group or {}
    return arguments


def settings_of(settings_class, init_params, peer_class="SCVI"):
    """Our settings from the arguments of their class; UnsupportedError names one that has no counterpart."""
    skipped = (*_WITHOUT_EFFECT, *_ELSEWHERE.get(peer_class, ()))
    given = {name: value for name, value in arguments_of(init_params).items() if name not in skipped}
    offered = {field.name for field in fields(settings_class)}
    settings = {name: given.pop(name) for name in [*given] if name in offered - _OURS}
    for name, value in settings.items():
        if not isinstance(value, _SCALARS):
            raise _unsupported(name, value)
    if "embedding_dim" in offered:
        settings |= _embedding(given.pop("batch_embedding_kwargs", None))
    if "var_activation" in offered:
        settings |= _variance(given.pop("var_activation", None))
    if "continuous_in" in offered:
        settings["continuous_in"] = "first"
    for network in ("extra_encoder_kwargs", "extra_decoder_kwargs"):
        block = given.pop(network, None) or {}
        other = {name: value for name, value in block.items() if name not in _AS_USUAL or value != _AS_USUAL[name]}
        if other:
            raise _unsupported(network, other)
    for name, value in given.items():
        fixed = None if name in offered else getattr(settings_class, name, None)
        if not (_empty(value) or (isinstance(value, str | bool | int | float) and value == fixed)):
            raise _unsupported(name, value)
    return settings_class.make(**settings)


def _empty(value):
    return value is None or (isinstance(value, dict) and not value)


def _embedding(given):
    given = dict(given or {})
    found = {"embedding_dim": given.pop("embedding_dim")} if "embedding_dim" in given else {}
    if given:
        raise _unsupported("batch_embedding_kwargs", given)
    return found


def _variance(given):
    if given in (None, SOFTPLUS):
        return {"var_activation": "exp" if given is None else "softplus"}
    raise _unsupported("var_activation", given)


def _unsupported(name, value):
    return UnsupportedError(name, problem=f"The model was made with {name} = {_shown(value)}, which is not supported.",
                            hint="It can be used with scvi-tools alone.")


def _shown(value, depth=2):
    """A value in few words: what a file holds may be nested beyond measure."""
    if isinstance(value, _SCALARS):
        return repr(value)[:60]
    if isinstance(value, dict) and depth:
        return "{" + ", ".join(f"{name!r}: {_shown(part, depth - 1)}" for name, part in islice(value.items(), 5)) + "}"
    return f"<{type(value).__name__}>"


def init_params_of(settings, softplus, peer_class="SCVI"):
    """Their arguments from our settings; `softplus` is what stands for that function."""
    signature, offered = _SIGNATURES[peer_class], {field.name for field in fields(settings)}
    options = {name: getattr(settings, name) for name in _SHARED if name in offered and name not in signature}
    if settings.var_activation == "softplus":
        options["var_activation"] = softplus
    if settings.batch_representation == "embedding":
        options["batch_embedding_kwargs"] = {"embedding_dim": settings.embedding_dim}
    group = "kwargs" if peer_class == "SCVI" else "model_kwargs"
    return {"kwargs": {group: options}, "non_kwargs": {name: getattr(settings, name) for name in signature}}
