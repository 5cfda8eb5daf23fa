"""A module for more categories: each tensor that has a row a category keeps its old rows and gains new ones."""

from latome.backend import torch
from latome.errors import QueryError
from latome.fit import build
from latome.nn import CovariateLinear

__all__ = ["grow"]


@torch.no_grad()
def grow(module, settings, registry):
    """A module like `module` for a registry with more categories.

    Old rows are copied. New ones begin at the mean of the old: a new batch is first taken for an average one of the
    reference, which is where its best weights are expected before its cells are seen; rows drawn at random would
    begin as far from all batches as an untrained network. A covariate of one category has no table: it gains one
    whose old row is zero, so that the reference is decoded as before, bit for bit.

    Arguments
    ---------
    module : of the reference.
    settings, registry : of the new module; the registry's categories begin with those of the reference.

    Returns (the new module in evaluation mode, {name of a tensor: number of its old rows, None where it has no new}).
    """
    grown = build(type(module), settings, registry)
    old, held = module.state_dict(), {}
    before = earlier_names(module, grown)
    for name, value in grown.state_dict().items():
        kept = old[before[name]] if before[name] is not None else torch.zeros_like(value[:1])
        if value.shape == kept.shape:
            value.copy_(kept)
            held[name] = None
            continue
        if not value.dim() or value.shape[1:] != kept.shape[1:] or len(value) < len(kept):
            raise QueryError("reference", problem=f"'{name}' of the reference has the shape {tuple(kept.shape)}, and "
                             f"{tuple(value.shape)} with the new categories: it cannot be extended.",
                             hint="Train a model on all cells instead.")
        value[:len(kept)] = kept
        value[len(kept):] = kept.mean(0)
        held[name] = len(kept)
    return grown, held


def earlier_names(module, grown):
    """{name of a tensor in `grown`: its name in `module`, None for a table that was not there}."""
    names = {name: name for name in grown.state_dict()}
    for path, layer in grown.named_modules():
        if isinstance(layer, CovariateLinear):
            served = module.get_submodule(path).columns
            for i, column in enumerate(layer.columns):
                there = f"{path}.tables.{served.index(column)}" if column in served else None
                names[f"{path}.tables.{i}"] = there
    return names
