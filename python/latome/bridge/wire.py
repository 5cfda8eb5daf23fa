"""How values cross between two processes: a line of JSON, and beside it a file of bytes for what is long.

Whatever JSON has no word for is an object with one key, a tag that begins with "$":

    {"$float": "2.5"}                              a float, also "nan" and "inf"
    {"$array": {"dtype", "shape"}}                 an array, its numbers in the file, first axis fastest
    {"$vector": {"dtype", "shape"}}                the same, as a list of numbers or of bool
    {"$strings": [n, size]}                        a list of n str: in size bytes of the file, each ended by a zero byte
    {"$text": n}, {"$bytes": n}                    a long str, or a bytearray: n bytes of the file
    {"$handle": n}                                 an object that stays here

The file holds them one after the other, in the order of their tags. A key of a dict that begins with "$" gets another.
"""

import json
from dataclasses import dataclass

import numpy as np

__all__ = ["Handle", "read", "write"]

LONG_TEXT = 4096
LARGEST_INTEGER = 2**31 - 1                            # of R


@dataclass(frozen=True)
class Handle:
    """Stands for an object that stays in the engine."""

    number: int


def read(value, path, handles):
    """What parsed JSON and its file mean; there is no file where nothing would be in it."""
    if path is None:
        return Reader(None, handles).value(value)
    with open(path, "rb") as file:
        return Reader(file, handles).value(value)


def write(value, path):
    """(JSON text, whether there is a file) of a value."""
    writer = Writer()
    text = json.dumps(writer.value(value))
    if writer.parts:
        with open(path, "wb") as file:
            file.writelines(writer.parts)
    return text, bool(writer.parts)


class Reader:
    """Values from JSON and a file."""

    def __init__(self, file, handles):
        self.file, self.handles = file, handles

    def value(self, found):
        if isinstance(found, list):
            return [self.value(one) for one in found]
        if not isinstance(found, dict):
            return found
        if len(found) == 1:
            (tag, content), = found.items()
            if tag.startswith("$") and not tag.startswith("$$"):
                return self.tagged(tag, content)
        return {name[1:] if name.startswith("$") else name: self.value(one) for name, one in found.items()}

    def tagged(self, tag, content):
        if tag == "$float":
            return float(content)
        if tag == "$handle":
            return self.handles[content]
        if tag == "$text":
            return self.take(content).decode("utf-8")
        if tag == "$bytes":
            return bytearray(self.take(content))
        if tag == "$strings":
            n, size = content
            return self.take(size).decode("utf-8").split("\0")[:n]
        values = self.array(**content)
        return values.tolist() if tag == "$vector" else values

    def take(self, size):
        """The next bytes of the file."""
        data = b"" if self.file is None else self.file.read(size)
        if len(data) != size:
            raise ValueError(f"The file of a request is {size - len(data)} bytes too short.")
        return data

    def array(self, dtype, shape):
        stored = np.dtype("int32" if dtype == "bool" else dtype)               # R's logical values are integers
        data = self.take(stored.itemsize * int(np.prod(shape, dtype=np.int64)))
        return np.frombuffer(data, stored).astype(dtype, copy=False).reshape(shape, order="F")


class Writer:
    """JSON of values, and the parts of the file."""

    def __init__(self):
        self.parts = []

    def value(self, given):
        if given is None or isinstance(given, bool | int) and abs(given) <= LARGEST_INTEGER:
            return given
        if isinstance(given, int | float):
            return {"$float": repr(float(given))}
        if isinstance(given, str):
            return self.text(given)
        if isinstance(given, bytes | bytearray):
            return {"$bytes": self.put(given)}
        if isinstance(given, np.generic) or isinstance(given, np.ndarray) and given.ndim == 0:
            return self.value(given.item())
        if isinstance(given, np.ndarray):
            return self.array(given, "$array")
        if isinstance(given, dict):
            return {("$" if str(name).startswith("$") else "") + str(name): self.value(one)
                    for name, one in given.items()}
        if isinstance(given, Handle):
            return {"$handle": given.number}
        if isinstance(given, list):
            return self.list(given)
        if isinstance(given, tuple):
            return [self.value(one) for one in given]
        raise TypeError(f"A {type(given).__name__} cannot cross to R.")

    def put(self, data):
        self.parts.append(data)
        return len(data)

    def text(self, given):
        if len(given) <= LONG_TEXT:
            return given
        return {"$text": self.put(given.encode("utf-8", "replace"))}

    def list(self, given):
        """A list; of one type of values it is a vector in R."""
        kinds = {type(one) for one in given}
        if kinds == {str}:
            return {"$strings": [len(given), self.put("\0".join([*given, ""]).encode("utf-8", "replace"))]}
        if len(kinds) == 1 and kinds <= {bool, int, float}:
            large = int in kinds and max(map(abs, given)) > LARGEST_INTEGER
            return self.array(np.array(given, dtype=np.float64 if large else None), "$vector")
        return [self.value(one) for one in given]

    def array(self, given, tag):
        if given.dtype.kind not in "biuf":
            return [self.value(one) for one in given.tolist()] if given.ndim > 1 else self.list(given.tolist())
        stored = given.astype(r_type(given.dtype), copy=False)
        # the bytes of an array in Fortran's order are those of its transpose in C's
        self.put(np.ascontiguousarray(stored.T).data.cast("B") if stored.size else b"")
        return {tag: {"dtype": "bool" if given.dtype == bool else stored.dtype.name, "shape": list(given.shape)}}


def r_type(dtype):
    """What R can read of a type: 32-bit integers, for bool too, and floats of 32 and 64 bits."""
    if dtype.kind == "b" or dtype.kind in "iu" and np.can_cast(dtype, np.int32):
        return np.dtype(np.int32)
    return dtype if dtype in (np.float32, np.float64) else np.dtype(np.float64)
