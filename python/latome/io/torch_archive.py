"""Reads a file that `torch.save` wrote, without torch's loader: tensors, arrays, tables and plain containers.

The file is a zip archive: `data.pkl` describes the object, and each member `data/<key>` holds the bytes of one
tensor's storage. Nothing in it is run (see `unpickle`), nothing is extracted to disk, and no member is
decompressed, so a small file cannot ask for much memory.
"""

import math
import struct
import zipfile
from pathlib import Path

from latome.backend import torch
from latome.errors import ArchiveError
from latome.io import pickled_arrays, pickled_tables, unpickle
from latome.io.unpickle import Global, Malformed, Pending

__all__ = ["read"]

_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."    # how torch's layout before 1.6 begins
_STORAGES = {
    "Float": torch.float32, "Double": torch.float64, "Half": torch.float16, "BFloat16": torch.bfloat16,
    "Long": torch.int64, "Int": torch.int32, "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8,
    "Bool": torch.bool, "ComplexFloat": torch.complex64, "ComplexDouble": torch.complex128,
}
_ACTIVATIONS = ("ELU", "GELU", "LeakyReLU", "Mish", "ReLU", "ReLU6", "SELU", "SiLU", "Sigmoid", "Tanh")
_DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in _STORAGES.values()}


def read(path):
    """The object that `torch.save(object, path)` wrote, with tensors on the CPU.

    Raises ArchiveError when the file is missing, damaged, of another kind, or names anything but data.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            start = file.read(len(_LEGACY))
        _check_start(path, start)
        with zipfile.ZipFile(path) as archive:
            return _Archive(path, archive).read()
    except OSError as error:
        raise ArchiveError(str(path), problem=f"`{path}` cannot be read: {error.strerror or error}.",
                           hint="Give the folder in which the model was saved.") from error
    except (zipfile.BadZipFile, zipfile.LargeZipFile, ValueError, NotImplementedError, struct.error) as error:
        raise ArchiveError(str(path), problem=f"`{path}` is damaged or was cut short: {error}.",
                           hint="Copy the file again from its source.") from error
    except ArchiveError as error:
        if str(path) in str(error):
            raise
        raise ArchiveError(str(path), problem=f"`{path}` was refused. {error.problem}", hint=error.hint) from error


def _check_start(path, start):
    if start.startswith(b"PK"):
        return
    if start.startswith(_LEGACY[:10]):
        raise ArchiveError(str(path), problem=f"`{path}` is in torch's layout from before version 1.6.",
                           hint="Load it with the scvi-tools that wrote it, and save it again with a recent torch.")
    found = "is empty" if not start else f"begins with {start[:8]!r}"
    raise ArchiveError(str(path), problem=f"`{path}` is not a file that torch wrote: it {found}.",
                       hint="Give a folder with the `model.pt` that scvi-tools saved.")


class _Archive:
    def __init__(self, path, archive):
        self.archive = archive
        self.storages = {}
        self.members = {info.filename: info for info in archive.infolist()}
        self.check(path)

    def check(self, path):
        infos = self.archive.infolist()
        if len(infos) != len(self.members):
            raise self.damaged("a member is there twice")
        if any(info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 for info in infos):
            raise self.damaged("a member is compressed or encrypted, which torch never does")
        if sum(info.file_size for info in infos) > path.stat().st_size:
            raise self.damaged("its members claim more bytes than the file has")
        pickles = [name for name in self.members if name.split("/")[1:] == ["data.pkl"]]
        if len(pickles) != 1:
            raise self.damaged("it has no `data.pkl`")
        self.root = pickles[0].split("/")[0]

    @staticmethod
    def damaged(why):
        return ArchiveError(problem=f"The archive is damaged or was not made by torch: {why}.",
                            hint="Copy the file again from its source.")

    def member(self, name):
        name = f"{self.root}/{name}"
        if name not in self.members:
            raise self.damaged(f"its member `{name}` is missing")
        try:
            return self.archive.read(self.members[name])
        except (EOFError, NotImplementedError, RuntimeError) as error:
            raise self.damaged(f"its member `{name}` cannot be read ({error})") from error

    def read(self):
        if f"{self.root}/byteorder" in self.members and self.member("byteorder") != b"little":
            raise ArchiveError(problem="The file was written on a big-endian machine.",
                               hint="Load and save it again on a common one (x86 or arm64).")
        return unpickle.load(self.member("data.pkl"), _BUILDERS, self.storage)

    def storage(self, identity):
        """The storage ("storage", type, key, device, number of elements) as a flat tensor or as raw bytes."""
        if not (isinstance(identity, tuple) and len(identity) == 5 and identity[0] == "storage"):
            raise Malformed("it refers to something other than a tensor's storage")
        _, kind, key, _, count = identity
        dtype = _storage_dtype(kind)
        if not (isinstance(key, str) and key.isalnum() and isinstance(count, int)):
            raise Malformed("a storage has no key")
        if key not in self.storages:
            self.storages[key] = bytearray(self.member(f"data/{key}"))
        content = self.storages[key]
        if len(content) % dtype.itemsize or len(content) < count * dtype.itemsize:
            raise Malformed(f"storage {key} is shorter than it claims")
        return _flat(content, dtype)


def _storage_dtype(kind):
    if kind == Global("torch.storage UntypedStorage"):
        return torch.uint8
    name = kind.name.removeprefix("torch ").removesuffix("Storage") if isinstance(kind, Global) else ""
    if name not in _STORAGES:
        raise Malformed("a storage is of an unknown type")
    return _STORAGES[name]


def _flat(content, dtype):
    return torch.frombuffer(content, dtype=dtype) if len(content) else torch.empty(0, dtype=dtype)


def _tensor(storage, offset, size, stride, *_):
    """A tensor of its own from a flat storage; its elements must lie inside the storage, and be no more."""
    numbers = (offset, *size, *stride)
    if not isinstance(storage, torch.Tensor) or len(size) != len(stride):
        raise Malformed("a tensor has no storage, or not one stride a dimension")
    if not all(isinstance(n, int) and 0 <= n < 1 << 48 for n in numbers):
        raise Malformed("a tensor has a size, stride or offset that is no whole number")
    count = math.prod(size)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if count and (last >= len(storage) or count > len(storage)):
        raise Malformed(f"a tensor of size {tuple(size)} does not fit its storage of {len(storage)} elements")
    if not count:
        return torch.empty(tuple(size), dtype=storage.dtype)
    return storage.as_strided(tuple(size), tuple(stride), offset).clone()


def _tensor_of_bytes(storage, offset, size, stride, requires_grad, hooks, dtype, *_):
    name = dtype.name.removeprefix("torch ") if isinstance(dtype, Global) else ""
    if name not in _DTYPES or not isinstance(storage, torch.Tensor) or len(storage) % _DTYPES[name].itemsize:
        raise Malformed("a tensor has an unknown dtype")
    return _tensor(storage.view(_DTYPES[name]) if len(storage) else storage, offset, size, stride)


class _PendingConstraint(Pending):
    """A constraint of Pyro's parameter store with its bounds, which no reader of ours needs."""

    def finish(self, state):
        return "constraint"


class _PendingSoftplus(Pending):
    """A layer of torch.nn as an argument of construction: the function it stands for."""

    def finish(self, state):
        if (state.get("beta"), state.get("threshold")) != (1, 20):
            raise Malformed("a softplus has a slope or threshold of its own")
        return Global("torch._C._nn softplus")


def _parameter(data, *_):
    return data


def _size(content=()):
    if not isinstance(content, (list, tuple)):
        raise Malformed("a size is not a list of numbers")
    return tuple(content)


_BUILDERS = {
    **pickled_arrays.BUILDERS,
    **pickled_tables.BUILDERS,
    **{f"torch {name}Storage": None for name in _STORAGES},
    **{f"torch {name}": None for name in _DTYPES},
    "torch.storage UntypedStorage": None,
    "torch Size": _size,
    "torch device": lambda *parts: ":".join(str(part) for part in parts),
    "torch._utils _rebuild_tensor": _tensor,
    "torch._utils _rebuild_tensor_v2": _tensor,
    "torch._utils _rebuild_tensor_v3": _tensor_of_bytes,
    "torch._utils _rebuild_parameter": _parameter,
    "torch._C._nn softplus": None,                               # arguments of construction that are functions
    **dict.fromkeys(f"torch.nn.modules.activation {name}" for name in _ACTIVATIONS),
    "torch.nn.modules.activation Softplus": lambda *_: _PendingSoftplus(),
    "torch.distributions.constraints _Real": lambda: "real",     # Pyro's parameter store, saved along
    "torch.distributions.constraints _Simplex": lambda: "simplex",
    "torch.distributions.constraints _GreaterThan": lambda *_: _PendingConstraint(),
}
