"""What a pickle may build out of numpy and plain Python: arrays, dtypes, scalars and containers.

Arrays are made by `numpy.frombuffer` from the bytes in the pickle, or filled element by element: numpy's own
`__setstate__` is never called, so a false shape or dtype cannot reach memory that is not the array's.
"""

import math

import numpy as np

from latome.io.unpickle import Global, Malformed, Pending

__all__ = ["BUILDERS", "array_from"]

_KINDS = "biufcSUO"                                     # no records, dates, or raw memory


def array_from(shape, dtype, content, order="C"):
    """A new array of `shape` and `dtype` from its bytes, or for objects from the list of its elements."""
    shape = tuple(shape)
    if not all(isinstance(n, int) and n >= 0 for n in shape):
        raise Malformed(f"an array has the shape {shape}")
    if not isinstance(dtype, np.dtype):
        raise Malformed("an array has no dtype")
    count = math.prod(shape)
    if dtype.kind == "O":
        if not isinstance(content, list) or len(content) != count:
            raise Malformed(f"an array of {count} objects does not come with as many")
        flat = np.empty(count, dtype=object)
        for i, value in enumerate(content):
            flat[i] = value
        return flat.reshape(shape, order=order)
    if not isinstance(content, (bytes, bytearray)) or len(content) != count * dtype.itemsize:
        raise Malformed(f"an array of shape {shape} and dtype {dtype} does not come with its bytes")
    if count == 0:
        return np.empty(shape, dtype=dtype.newbyteorder("="))
    return np.frombuffer(content, dtype=dtype).reshape(shape, order=order).astype(dtype.newbyteorder("="))


class _PendingDtype(Pending):
    def __init__(self, code):
        self.code = code

    def finish(self, state):
        _, byteorder, subarray, names, fields, *_ = state
        if subarray is not None or names is not None or fields is not None:
            raise Malformed("an array has records, which no saved model needs")
        dtype = np.dtype(self.code)
        return dtype.newbyteorder(byteorder) if byteorder in ("<", ">") else dtype


class _PendingArray(Pending):
    def finish(self, state):
        _, shape, dtype, fortran, content = state
        return array_from(shape, dtype, content, order="F" if fortran else "C")


def _dtype(code, *_):
    if not isinstance(code, str) or len(code) > 16:
        raise Malformed("a dtype is not named by text")
    dtype = np.dtype(code)
    if dtype.kind not in _KINDS or dtype.itemsize == 0 or dtype.names is not None or dtype.shape:
        raise Malformed(f"an array has the dtype {code!r}, which no saved model needs")
    return _PendingDtype(code)


def _reconstruct(kind, *_):
    if kind != Global("numpy ndarray"):
        raise Malformed("an array is of a class other than numpy.ndarray")
    return _PendingArray()


def _scalar(dtype, content):
    return array_from((1,), dtype, [content] if dtype.kind == "O" else content)[0].item()


def _from_buffer(content, dtype, shape, order="C"):
    return array_from(shape, dtype, content, order="F" if order == "F" else "C")


def _encode(text, encoding="latin1"):
    if encoding not in ("latin1", "latin-1"):
        raise Malformed(f"bytes are written in the encoding {encoding!r}")
    return text.encode("latin1")


def _bytes(content=b"", *encoding):
    return _encode(content, *encoding) if isinstance(content, str) else _plain(bytes, content)


def _plain(kind, content):
    """A container made from one already read; never from a number, which would ask for that much memory."""
    if not isinstance(content, (list, tuple, set, frozenset, dict, bytes, bytearray)):
        raise Malformed(f"a {kind.__name__} is made from a {type(content).__name__}")
    if kind in (set, frozenset) and not all(isinstance(v, (str, bytes, int, float)) for v in content):
        raise Malformed("a set holds more than plain values")
    return kind(content)


def _slice(*limits):
    if not all(limit is None or isinstance(limit, int) for limit in limits):
        raise Malformed("a slice has limits that are not whole numbers")
    return slice(*limits)


def _ordered_dict(pairs=()):
    if any(not isinstance(pair, (list, tuple)) or len(pair) != 2 or not isinstance(pair[0], str) for pair in pairs):
        raise Malformed("an OrderedDict is made from something other than names and values")
    return {name: value for name, value in pairs}


def _builtins():
    made = {
        "bytes": _bytes,
        "bytearray": lambda content=b"", *encoding: bytearray(_bytes(content, *encoding)),
        "dict": lambda: {},
        "list": lambda content=(): _plain(list, content),
        "tuple": lambda content=(): _plain(tuple, content),
        "set": lambda content=(): _plain(set, content),
        "frozenset": lambda content=(): _plain(frozenset, content),
        "slice": _slice,
        "complex": lambda real, imaginary: complex(float(real), float(imaginary)),
        "int": None, "float": None, "str": None, "bool": None, "object": None,    # factories of a defaultdict
    }
    return {f"{module} {name}": builder for module in ("builtins", "__builtin__") for name, builder in made.items()}


BUILDERS = {
    **_builtins(),
    "collections OrderedDict": _ordered_dict,
    "collections defaultdict": lambda *_: {},           # the factory is dropped: a plain dict comes back
    "_codecs encode": _encode,
    "numpy ndarray": None,
    "numpy dtype": _dtype,
    **{f"numpy.{core}.multiarray _reconstruct": _reconstruct for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray scalar": _scalar for core in ("core", "_core")},
    **{f"numpy.{core}.numeric _frombuffer": _from_buffer for core in ("core", "_core")},
}
