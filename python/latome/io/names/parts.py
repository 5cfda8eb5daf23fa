"""The parts of the two-way map between scvi-tools' tensors and ours: entries, and the blocks that classes share.

scvi-tools concatenates a one-hot block for each categorical covariate to the input of a linear layer,
[x, continuous, one-hot_1, one-hot_2, ...]; here each block is a table of its own. A covariate with a single
category has no columns there and no table here.
"""

from dataclasses import dataclass

from latome.backend import torch
from latome.errors import ArchiveError

__all__ = ["Entry", "Part", "covariate_parts", "encoder_entries", "from_peer", "hidden_entries", "linear_entries",
           "norm_entries", "part_of", "same_entries", "to_peer"]


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
def same_entries(module, ours, peer, names):
    """Tensors that are the same on both sides, by the last part of their names."""
    return [Entry(f"{peer}.{name}", (part_of(module, f"{ours}.{name}"),)) for name in names]


def part_of(module, name, turned=False):
    """The `Part` that is a tensor of a module, by its name in the state dict."""
    return Part(name, tuple(_tensor_of(module, name).shape), turned)


def _tensor_of(module, name):
    *path, last = name.split(".")
    return getattr(module.get_submodule(".".join(path)), last)


def hidden_entries(module, ours, peer):
    """A fully connected network: theirs is `fc_layers.Layer i` with 0 the linear layer and 1 the batch norm."""
    network = module.get_submodule(ours)
    entries = []
    for i in range(len(network.linears)):
        name, layer = f"{ours}.linears.{i}", f"{peer}.fc_layers.Layer {i}"
        entries.append(Entry(f"{layer}.0.weight", covariate_parts(module, name)))
        entries += same_entries(module, name, f"{layer}.0", ["bias"])
        if network.batch_norms:
            entries += norm_entries(module, f"{ours}.batch_norms.{i}", f"{layer}.1")
    return entries


def covariate_parts(module, ours):
    """The parts of the weight of a `CovariateLinear`."""
    linear = module.get_submodule(ours)
    names = ["weight"] if linear.continuous is None else ["weight", "continuous"]
    return (*(part_of(module, f"{ours}.{name}") for name in names),
            *(Part(f"{ours}.tables.{j}", tuple(table.shape), turned=True) for j, table in enumerate(linear.tables)))


def norm_entries(module, ours, peer):
    """A batch normalisation of torch."""
    return same_entries(module, ours, peer, ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"])


def encoder_entries(module, ours, peer):
    """A `NormalEncoder`."""
    return [*hidden_entries(module, f"{ours}.hidden", f"{peer}.encoder"),
            *linear_entries(module, f"{ours}.mean", f"{peer}.mean_encoder"),
            *linear_entries(module, f"{ours}.log_variance", f"{peer}.var_encoder")]


def linear_entries(module, ours, peer):
    """A linear layer of torch."""
    return same_entries(module, ours, peer, ["weight", "bias"])


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
