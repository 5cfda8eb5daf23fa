"""The two-way map between scvi-tools' tensors and ours, one list of entries a class.

scvi-tools concatenates a one-hot block for each categorical covariate to the input of a linear layer,
[x, continuous, one-hot_1, one-hot_2, ...]; here each block is a table of its own. A covariate with a single
category has no columns there and no table here.
"""

from dataclasses import dataclass

from latome.backend import torch
from latome.errors import ArchiveError

__all__ = ["ENTRIES", "LIBRARY_PRIOR", "Entry", "Part", "from_peer", "spare_shapes", "spare_tensors", "to_peer"]

#: Their tensors of the prior of the library size.
LIBRARY_PRIOR = ("library_log_means", "library_log_vars")


@dataclass(frozen=True)
class Part:
    """One of our tensors inside one of theirs.

    Arguments
    ---------
    name : in our state dict.
    shape : there.
    turned : whether theirs is the transpose of ours.
    """

    name: str
    shape: tuple
    turned: bool = False

    @property
    def there(self):
        """The shape of this part in their tensor."""
        return self.shape[::-1] if self.turned else self.shape


@dataclass(frozen=True)
class Entry:
    """One of their tensors: our `parts` side by side along its last dimension.

    Arguments
    ---------
    peer : their name.
    parts : ours.
    lead : further dimensions of size one in front of theirs.
    """

    peer: str
    parts: tuple
    lead: int = 0

    @property
    def shape(self):
        """Of their tensor."""
        first = self.parts[0].there
        inside = first if len(self.parts) == 1 else (*first[:-1], sum(part.there[-1] for part in self.parts))
        return (1,) * self.lead + inside


# building blocks -------------------------------------------------------------------------------------------
def _same(module, ours, peer, names):
    return [Entry(f"{peer}.{name}", (_part(module, f"{ours}.{name}"),)) for name in names]


def _part(module, name, turned=False):
    return Part(name, tuple(_tensor(module, name).shape), turned)


def _tensor(module, name):
    *path, last = name.split(".")
    return getattr(module.get_submodule(".".join(path)), last)


def _hidden(module, ours, peer):
    """A fully connected network: theirs is `fc_layers.Layer i` with 0 the linear layer and 1 the batch norm."""
    network = module.get_submodule(ours)
    entries = []
    for i, linear in enumerate(network.linears):
        name, layer = f"{ours}.linears.{i}", f"{peer}.fc_layers.Layer {i}"
        parts = [_part(module, f"{name}.weight")]
        if linear.continuous is not None:
            parts.append(_part(module, f"{name}.continuous"))
        tables = (Part(f"{name}.tables.{j}", tuple(table.shape), turned=True) for j, table in enumerate(linear.tables))
        entries.append(Entry(f"{layer}.0.weight", (*parts, *tables)))
        entries += _same(module, name, f"{layer}.0", ["bias"])
        if network.batch_norms:
            entries += _same(module, f"{ours}.batch_norms.{i}", f"{layer}.1",
                             ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"])
    return entries


def _encoder(module, ours, peer):
    return [*_hidden(module, f"{ours}.hidden", f"{peer}.encoder"),
            *_linear(module, f"{ours}.mean", f"{peer}.mean_encoder"),
            *_linear(module, f"{ours}.log_variance", f"{peer}.var_encoder")]


def _linear(module, ours, peer):
    return _same(module, ours, peer, ["weight", "bias"])


# classes ---------------------------------------------------------------------------------------------------
_HEADS = {"logits": "px_scale_decoder.0", "log_theta": "px_r_decoder", "gate": "px_dropout_decoder"}


def _scvi(module):
    entries = []
    if module.log_theta is not None:                   # (g,), or ours (categories, g) and theirs turned
        part = _part(module, "log_theta", turned=module.log_theta.dim() == 2)
        entries.append(Entry("px_r", (part,)))
    if module.embedding is not None:
        entries += _same(module, "embedding", "_embeddings_dict.batch", ["weight"])
    entries += _encoder(module, "encoder", "z_encoder")
    if module.library_encoder is not None:
        entries += _encoder(module, "library_encoder", "l_encoder")
        entries += [Entry(peer, (_part(module, ours),), lead=1) for ours, peer in
                    zip(("library_mean", "library_variance"), LIBRARY_PRIOR, strict=True)]
    entries += _hidden(module, "decoder.hidden", "decoder.px_decoder")
    for ours, peer in _HEADS.items():
        if getattr(module.decoder, ours) is not None:
            entries += _linear(module, f"decoder.{ours}", f"decoder.{peer}")
    return entries


def _scvi_spare(module):
    """Shapes of the tensors that scvi-tools keeps in a model that does not use them."""
    settings, (genes, hidden) = module.settings, module.decoder.logits.weight.shape
    shapes = {}
    if module.log_theta is None and settings.dispersion != "gene-cell":
        shapes["px_r"] = None                          # of any shape: a Poisson model has no dispersion
    for ours, peer in _HEADS.items():
        if getattr(module.decoder, ours) is None:
            shapes |= {f"decoder.{peer}.weight": (genes, hidden), f"decoder.{peer}.bias": (genes,)}
    if module.library_encoder is None:
        first = {entry.peer: entry.shape for entry in _encoder(module, "encoder", "l_encoder")}
        shapes |= {name: shape for name, shape in first.items() if "Layer" not in name or "Layer 0." in name}
        shapes |= {f"l_encoder.{head}.{name}": shape for head in ("mean_encoder", "var_encoder")
                   for name, shape in (("weight", (1, hidden)), ("bias", (1,)))}
    return shapes


ENTRIES = {"SCVI": _scvi}
_SPARE = {"SCVI": _scvi_spare}


def spare_shapes(kind, module):
    """{their name: shape, None for any} of the tensors that theirs has and ours has no use for."""
    return _SPARE[kind](module)


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


# both ways -------------------------------------------------------------------------------------------------
def from_peer(entries, tensors):
    """Our state dict from theirs; tensors that no entry names are left out.

    Raises ArchiveError where one is missing or of another shape.
    """
    ours = {}
    for entry in entries:
        if entry.peer not in tensors:
            raise ArchiveError(problem=f"The checkpoint has no tensor '{entry.peer}', which its settings call for.",
                               hint="It may be damaged, or of a version with another layout; save it again with a "
                                    "recent scvi-tools.")
        tensor = tensors[entry.peer]
        if tuple(tensor.shape) != entry.shape:
            raise ArchiveError(problem=f"Tensor '{entry.peer}' has the shape {tuple(tensor.shape)}; its settings and "
                                       f"registry call for {entry.shape}.",
                               hint="The checkpoint is damaged or was changed after it was saved.")
        tensor = tensor.reshape(tensor.shape[entry.lead:])
        widths = [part.there[-1] for part in entry.parts] if len(entry.parts) > 1 else None
        pieces = tensor.split(widths, dim=-1) if widths else [tensor]
        for part, piece in zip(entry.parts, pieces, strict=True):
            ours[part.name] = (piece.t() if part.turned else piece).contiguous()
    return ours


def to_peer(entries, tensors):
    """Their tensors from ours, or anything of the same shapes, such as gradients; the reverse of `from_peer`."""
    theirs = {}
    for entry in entries:
        pieces = [tensors[part.name].t() if part.turned else tensors[part.name] for part in entry.parts]
        joined = torch.cat(pieces, dim=-1) if len(pieces) > 1 else pieces[0]
        theirs[entry.peer] = joined.reshape(entry.shape).contiguous()
    return theirs
