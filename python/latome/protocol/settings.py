"""Settings: each declared once, with its value, type, meaning and bounds.

    @dataclass(frozen=True)
    class ScviSettings(Settings):
        n_latent: int = setting(10, "Number of latent dimensions.", ge=1)

The declaration checks itself when an object is made, and is the source of the R face's formals and help.
"""

import dataclasses
import difflib
import operator
import sys
import types
import typing
from dataclasses import dataclass

import numpy as np

from latome.errors import SettingError

__all__ = ["Settings", "check_setting", "describe_settings", "setting"]

BOUNDS = {"ge": "at least", "gt": "greater than", "le": "at most", "lt": "less than"}
NAMES = {int: "a whole number", float: "a number", bool: "TRUE or FALSE", str: "a text"}


def setting(default, doc, **bounds):
    """A field of a settings dataclass.

    Arguments
    ---------
    default : value when none is given.
    doc : one sentence, for the help page.
    ge, gt, le, lt : bounds of a number.
    """
    unknown = set(bounds) - set(BOUNDS)
    if unknown:
        raise TypeError(f"unknown bounds {sorted(unknown)}")
    return dataclasses.field(default=default, metadata={"doc": doc, **bounds})


@dataclass(frozen=True)
class Settings:
    """Base of every settings dataclass: checks each value against its declaration."""

    #: {name: {setting: value}}, settings that go together under one name
    presets: typing.ClassVar = {}

    def __post_init__(self):
        hints = typing.get_type_hints(type(self))
        for field in dataclasses.fields(self):
            value = check_setting(field.name, getattr(self, field.name), hints[field.name], field.metadata)
            object.__setattr__(self, field.name, value)
        self.check()

    def check(self):
        """Checks that concern several settings at once; override."""

    @classmethod
    def make(cls, **values):
        """Settings from keywords; an unknown one is an error that names the nearest.

        A preset's name with True sets what it stands for, where the keywords do not say otherwise.
        """
        for name, preset in cls.presets.items():
            if check_setting(name, values.pop(name, False), bool, {}):
                values = {**preset, **values}
        known = [field.name for field in dataclasses.fields(cls)]
        for name in values:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=2)
                hint = "Did you mean " + " or ".join(f"'{c}'" for c in close) + "?" if close else \
                    "Known: " + ", ".join(known) + "."
                raise SettingError(name, problem=f"There is no setting '{name}'.", hint=hint)
        return cls(**values)

    def to_json(self):
        """The same as a plain dict."""
        return dataclasses.asdict(self)


def _alternatives(kind):
    """(type or Literal, whether None is allowed)."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        members = [member for member in typing.get_args(kind) if member is not type(None)]
        return members[0], True
    return kind, False


def check_setting(name, value, kind, bounds):
    """The value, coerced where nothing is lost (2.0 to 2), or a SettingError."""
    kind, optional = _alternatives(kind)
    if value is None and optional:
        return None
    if typing.get_origin(kind) is typing.Literal:
        choices = typing.get_args(kind)
        if not isinstance(value, str) or value not in choices:
            close = difflib.get_close_matches(str(value), choices, n=1)
            hint = "One of " + ", ".join(f"'{c}'" for c in choices) + "."
            hint += f" Did you mean '{close[0]}'?" if close else ""
            raise SettingError(name, problem=f"`{name}` cannot be {value!r}.", hint=hint)
        return value
    coerced = _coerce(value, kind)
    if coerced is None:
        raise SettingError(name, problem=f"`{name}` must be {NAMES[kind]}, not {value!r}.",
                           hint=_bounds_in_words(name, bounds))
    if kind in (int, float):
        _check_bounds(name, coerced, bounds)
    return coerced


def _coerce(value, kind):
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.size == 1):
        value = value.item()
    if kind is bool or isinstance(value, bool):
        return value if kind is bool and isinstance(value, bool) else None
    if kind is str:
        return value if isinstance(value, str) else None
    largest = sys.float_info.max
    if not isinstance(value, int | float) or not -largest <= value <= largest:         # nor NaN or infinite
        return None
    if kind is int:
        return int(value) if value == int(value) else None
    return float(value)


def _check_bounds(name, value, bounds):
    for bound, holds in {"ge": operator.ge, "gt": operator.gt, "le": operator.le, "lt": operator.lt}.items():
        if bound in bounds and not holds(value, bounds[bound]):
            raise SettingError(name, problem=f"`{name}` cannot be {value}.", hint=_bounds_in_words(name, bounds))


def _bounds_in_words(name, bounds):
    said = [f"{words} {bounds[bound]}" for bound, words in BOUNDS.items() if bound in bounds]
    return f"`{name}` must be " + " and ".join(said) + "." if said else ""


def describe_settings(cls):
    """[{name, type, default, doc, optional, choices, bounds}] of a settings dataclass, JSON-able."""
    hints = typing.get_type_hints(cls)
    described = []
    for field in dataclasses.fields(cls):
        kind, optional = _alternatives(hints[field.name])
        choices = typing.get_args(kind) if typing.get_origin(kind) is typing.Literal else None
        entry = {"name": field.name, "type": "choice" if choices else kind.__name__,
                 "default": field.default, "optional": optional, **field.metadata}
        if choices:
            entry["choices"] = list(choices)
        described.append(entry)
    return described
