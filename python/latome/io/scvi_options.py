"""The two-way map between the arguments of scvi-tools' SCVI and our settings."""

from itertools import islice

from latome.errors import ArchiveError
from latome.io.unpickle import Global

__all__ = ["UnsupportedError", "arguments_of", "init_params_of", "settings_of"]

#: How functions of torch are named in a file; torch_archive reads them as names.
SOFTPLUS, RELU = Global("torch._C._nn softplus"), Global("torch.nn.modules.activation ReLU")

_POSITIONAL = ("n_hidden", "n_latent", "n_layers", "dropout_rate", "dispersion", "gene_likelihood",
               "use_observed_lib_size", "latent_distribution")           # named in the signature of their SCVI
_SHARED = (*_POSITIONAL, "log_variational", "batch_representation", "encode_covariates", "deeply_inject_covariates",
           "use_batch_norm", "use_layer_norm")
_WITHOUT_EFFECT = ("adata", "registry", "use_cuda", "use_size_factor_key", "extra_payload_autotune")
_SCALARS = (str, bool, int, float, type(None), Global)
_AS_USUAL = {"activation_fn": RELU, "bias": True, "use_activation": True, "var_eps": 1e-4}   # of a network's block


class UnsupportedError(ArchiveError):
    """A sound checkpoint that uses what latome does not have."""


def arguments_of(init_params):
    """Their arguments of construction as one dict, from {"kwargs": {name: {...}}, "non_kwargs": {...}} or flat."""
    if "non_kwargs" not in init_params and "kwargs" not in init_params:
        arguments = dict(init_params)
        return arguments | (arguments.pop("model_kwargs", None) or {})
    arguments = dict(init_params.get("non_kwargs", {}))
    for group in init_params.get("kwargs", {}).values():
        arguments |= group or {}
    return arguments


def settings_of(settings_class, init_params):
    """Our settings from their arguments; UnsupportedError names one that has no counterpart."""
    given = {name: value for name, value in arguments_of(init_params).items() if name not in _WITHOUT_EFFECT}
    settings = {name: given.pop(name) for name in _SHARED if name in given}
    for name, value in settings.items():
        if not isinstance(value, _SCALARS):
            raise _unsupported(name, value)
    settings |= _embedding(given.pop("batch_embedding_kwargs", None)) | _variance(given.pop("var_activation", None))
    for network in ("extra_encoder_kwargs", "extra_decoder_kwargs"):
        block = given.pop(network, None) or {}
        other = {name: value for name, value in block.items() if name not in _AS_USUAL or value != _AS_USUAL[name]}
        if other:
            raise _unsupported(network, other)
    for name, value in given.items():
        if value not in (None, {}):
            raise _unsupported(name, value)
    return settings_class.make(**settings, continuous_in="first")


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


def init_params_of(settings, softplus):
    """Their arguments from our settings; `softplus` is what stands for that function."""
    shared = {name: getattr(settings, name) for name in _SHARED}
    options = {name: value for name, value in shared.items() if name not in _POSITIONAL}
    if settings.var_activation == "softplus":
        options["var_activation"] = softplus
    if settings.batch_representation == "embedding":
        options["batch_embedding_kwargs"] = {"embedding_dim": settings.embedding_dim}
    return {"kwargs": {"kwargs": options}, "non_kwargs": {name: shared[name] for name in _POSITIONAL}}
