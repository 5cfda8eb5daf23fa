"""Reads a pickle as a description of data: nothing in it is imported, and nothing in it is called.

A pickle is a program for a small stack machine. The machine here knows the instructions that put plain values
together. An instruction that would call something is looked up by name in a table of builders: pure functions
of ours that make arrays, tables and containers. Any other name is refused.
"""

import pickletools
from abc import ABC, abstractmethod
from dataclasses import dataclass

from latome.errors import ArchiveError

__all__ = ["Global", "Malformed", "Pending", "load"]


class Malformed(ValueError):
    """The pickle breaks its own rules: it is damaged, or made to mislead."""


@dataclass(frozen=True)
class Global:
    """A name in a pickle ("module name"): only ever compared and looked up, never imported."""

    name: str

    def __repr__(self):
        return self.name.replace(" ", ".")


class Pending(ABC):
    """A value whose content comes with a later BUILD instruction."""

    @abstractmethod
    def finish(self, state):
        """The value, from the state that BUILD gives."""


def load(data, builders, persistent=None):
    """The object that a pickle describes.

    Arguments
    ---------
    data : the pickle, bytes.
    builders : {"module name": function of the call's arguments, or None for a name that is only an argument}.
    persistent : function of a persistent id (torch keeps its storages that way), or None.

    Returns plain containers, and whatever the builders return. Raises ArchiveError naming the first global that
    `builders` does not hold, or saying that the pickle is damaged.
    """
    machine = _Machine(builders, persistent)
    try:
        return machine.run(data)
    except ArchiveError:
        raise
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError, MemoryError, EOFError,
            RuntimeError) as error:                    # RuntimeError: what torch raises, and too deep a nesting
        raise ArchiveError(
            problem=f"The pickle inside the file is damaged or was not made by scvi-tools: {error}",
            hint="Copy or save the file again from its source.",
        ) from error


_LITERALS = frozenset("""INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING
    UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8""".split())
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_CONTAINERS = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_SET": set}
_PUT = frozenset(["PUT", "BINPUT", "LONG_BINPUT"])
_GET = frozenset(["GET", "BINGET", "LONG_BINGET"])
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_KEYS = (str, bytes, int, float, bool, type(None))


class _Machine:
    def __init__(self, builders, persistent):
        self.builders = builders
        self.persistent = persistent
        self.stack, self.marks = [], []
        self.memo, self.waiting = {}, {}                # waiting: id of a Pending -> its places in the memo

    def run(self, data):
        for opcode, argument, _ in pickletools.genops(data):
            name = opcode.name
            if name == "STOP":
                break
            if name in _LITERALS:
                self.stack.append(argument)
            elif name in _CONSTANTS:
                self.stack.append(_CONSTANTS[name])
            elif name in _CONTAINERS:
                self.stack.append(_CONTAINERS[name]())
            elif name in _PUT:
                self.remember(argument)
            elif name in _GET:
                self.stack.append(self.memo[argument])
            elif name in _TUPLES:
                self.stack.append(tuple(self.take(_TUPLES[name])))
            else:
                self.other(name, argument)
        if self.marks or len(self.stack) != 1:
            raise Malformed("it does not end with one object")
        return self.stack[0]

    def other(self, name, argument):
        action = getattr(self, "op_" + name.lower(), None)
        if action is None:
            raise ArchiveError(
                problem=f"The pickle uses the instruction {name}, which no saved model needs.",
                hint="Do not trust this file. If it is a saved model, save it again with scvi-tools.",
            )
        action(argument)

    def remember(self, key):
        value = self.stack[-1]
        self.memo[key] = value
        if isinstance(value, Pending):
            self.waiting.setdefault(id(value), []).append(key)

    def take(self, count):
        if len(self.stack) < count:
            raise Malformed("its stack runs empty")
        values = self.stack[-count:]
        del self.stack[-count:]
        return values

    def since_mark(self):
        values, self.stack = self.stack, self.marks.pop()
        return values

    def container(self, kind):
        if not self.stack or type(self.stack[-1]) is not kind:
            raise Malformed(f"it fills a {kind.__name__} that is not there")
        return self.stack[-1]

    def fill(self, values):
        target = self.container(dict)
        if len(values) % 2:
            raise Malformed("a key has no value")
        for key, value in zip(values[::2], values[1::2], strict=True):
            target[_key(key)] = value

    def named(self, name):
        if name not in self.builders:
            raise ArchiveError(
                problem=f"The file asks for `{Global(name)}`, which is not needed to read a saved model.",
                hint="Nothing was run. Do not trust this file; if it comes from scvi-tools, save the model again "
                     "with a recent version.",
            )
        self.stack.append(Global(name))

    def call(self):
        function, arguments = self.take(2)
        builder = self.builders.get(function.name) if isinstance(function, Global) else None
        if builder is None:
            what = f"`{function}`" if isinstance(function, Global) else type(function).__name__
            raise ArchiveError(problem=f"The file tries to call {what}.",
                               hint="Nothing was run. Do not trust this file.")
        if not isinstance(arguments, tuple):
            raise Malformed("the arguments of a call are not a tuple")
        self.stack.append(builder(*arguments))

    # one method an instruction; the name is op_ and the instruction's own ------------------------------------
    def op_proto(self, _):
        pass

    op_frame = op_proto

    def op_mark(self, _):
        self.marks.append(self.stack)
        self.stack = []

    def op_tuple(self, _):
        values = self.since_mark()
        self.stack.append(tuple(values))

    def op_list(self, _):
        values = self.since_mark()
        self.stack.append(values)

    def op_dict(self, _):
        values = self.since_mark()
        self.stack.append({})
        self.fill(values)

    def op_frozenset(self, _):
        values = self.since_mark()
        self.stack.append(frozenset(_key(value) for value in values))

    def op_append(self, _):
        value, = self.take(1)
        self.container(list).append(value)

    def op_appends(self, _):
        values = self.since_mark()
        self.container(list).extend(values)

    def op_setitem(self, _):
        self.fill(self.take(2))

    def op_setitems(self, _):
        self.fill(self.since_mark())

    def op_additems(self, _):
        values = self.since_mark()
        self.container(set).update(_key(value) for value in values)

    def op_pop(self, _):
        if self.stack:
            self.stack.pop()
        else:
            self.since_mark()

    def op_pop_mark(self, _):
        self.since_mark()

    def op_dup(self, _):
        self.stack.append(self.stack[-1])

    def op_memoize(self, _):
        self.remember(len(self.memo))

    def op_global(self, argument):
        self.named(argument)

    def op_stack_global(self, _):
        module, name = self.take(2)
        if not (isinstance(module, str) and isinstance(name, str)):
            raise Malformed("a global is not named by text")
        self.named(f"{module} {name}")

    def op_reduce(self, _):
        self.call()

    def op_newobj(self, _):
        self.call()

    def op_binpersid(self, _):
        identity, = self.take(1)
        if self.persistent is None:
            raise Malformed("it refers to data outside itself")
        self.stack.append(self.persistent(identity))

    def op_build(self, _):
        target, state = self.take(2)
        if type(target) is dict:                        # attributes of an OrderedDict: torch's `_metadata`
            self.stack.append(target)
            return
        if not isinstance(target, Pending):
            raise Malformed(f"it sets the state of a {type(target).__name__}")
        value = target.finish(state)
        for key in self.waiting.pop(id(target), ()):
            self.memo[key] = value
        self.stack.append(value)


def _key(value):
    """A key of a dict or a member of a set: a plain scalar (nested tuples could take for ever to hash)."""
    if isinstance(value, _KEYS) or (isinstance(value, tuple) and all(isinstance(v, _KEYS) for v in value)):
        return value
    raise Malformed(f"a {type(value).__name__} is used as a key")
