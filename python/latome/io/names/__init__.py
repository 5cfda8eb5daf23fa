"""The two-way map between scvi-tools' tensors and ours: for each of their classes a file with `entries` and `spare`."""

from latome.backend import torch
from latome.io.names import autozi, cellassign, linear_scvi, scanvi, scvi, solo
from latome.io.names.parts import from_peer, to_peer
from latome.io.names.scvi import LIBRARY_PRIOR

__all__ = ["CLASSES", "LIBRARY_PRIOR", "entries_of", "from_peer", "spare_shapes", "spare_tensors", "to_peer"]

#: Their class -> the file of its names.
CLASSES = {"SCVI": scvi, "SCANVI": scanvi, "LinearSCVI": linear_scvi, "AUTOZI": autozi, "SOLO": solo,
           "CellAssign": cellassign}


def entries_of(kind, module):
    """The `Entry` list of one of their classes, for a module of ours."""
    return CLASSES[kind].entries(module)


def spare_shapes(kind, module):
    """{their name: shape, None for any} of the tensors that theirs has and ours has no use for."""
    return CLASSES[kind].spare(module)


def spare_tensors(kind, module, registry):
    """{their name: tensor} to fill those in with: zeros, and batch norms that change nothing."""
    rows = {"gene-batch": (registry.n_batch,), "gene-label": (max(1, registry.n_labels),)}
    filled = {}
    for name, shape in spare_shapes(kind, module).items():
        if shape is None:
            shape = (registry.n_genes, *rows.get(module.settings.dispersion, ()))
        filled[name] = torch.zeros(shape, dtype=torch.int64 if name.endswith("num_batches_tracked") else torch.float32)
        if name.endswith(("1.weight", "running_var")):
            filled[name] += 1
    return filled
