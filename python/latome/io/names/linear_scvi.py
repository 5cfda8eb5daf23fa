"""Names of the tensors of LinearSCVI: those of SCVI, but for the decoder."""

from latome.io.names import scvi
from latome.io.names.parts import Entry, covariate_parts, norm_entries

__all__ = ["entries", "spare"]

_HEADS = {"logits": "factor_regressor", "gate": "px_dropout_decoder"}


def entries(module):
    """The entries of LinearSCVI."""
    found = scvi.shared_entries(module)
    for ours, peer in _HEADS.items():
        if getattr(module.decoder, ours) is not None:
            name, layer = f"decoder.{ours}", f"decoder.{peer}.fc_layers.Layer 0"
            found.append(Entry(f"{layer}.0.weight", covariate_parts(module, f"{name}.linear")))
            found += norm_entries(module, f"{name}.norm", f"{layer}.1")
    return found


def spare(module):
    """Shapes of the tensors that scvi-tools keeps in a model that does not use them."""
    shapes = scvi.shared_spare(module)
    if module.decoder.gate is None:
        mean = {entry.peer: entry.shape for entry in entries(module) if "factor_regressor" in entry.peer}
        shapes |= {name.replace("factor_regressor", "px_dropout_decoder"): shape for name, shape in mean.items()}
    return shapes
