"""Settings check themselves: what is accepted, what is refused, and what the message says."""

import json
import re
from dataclasses import FrozenInstanceError, dataclass
from typing import Literal

import numpy as np
import pytest

from latome.errors import SettingError
from latome.protocol.settings import Settings, check_setting, describe_settings, setting


@dataclass(frozen=True)
class Sample(Settings):
    whole: int = setting(10, "A whole number.", ge=1, le=100)
    share: float = setting(0.5, "A share.", ge=0, lt=1)
    rate: float = setting(1e-3, "A rate.", gt=0)
    flag: bool = setting(True, "A flag.")
    kind: Literal["zinb", "nb"] = setting("zinb", "A choice.")
    maybe: int | None = setting(None, "A number or nothing.", ge=1)
    text: str = setting("auto", "A text.")

    def check(self):
        if self.maybe is not None and self.maybe > self.whole:
            raise SettingError("maybe", problem="`maybe` exceeds `whole`.", hint="Lower it.")


ACCEPTED = [
    ("whole", 3, 3), ("whole", 3.0, 3), ("whole", np.int32(3), 3), ("whole", np.float64(3), 3),
    ("whole", np.array(3), 3),
    ("whole", np.array([3]), 3), ("whole", 1, 1), ("whole", 100, 100), ("share", 0, 0.0), ("share", 0.999, 0.999),
    ("share", np.float32(0.25), 0.25), ("rate", 1, 1.0), ("flag", False, False), ("flag", np.True_, True),
    ("kind", "nb", "nb"), ("maybe", None, None), ("maybe", 4.0, 4), ("text", "cpu", "cpu"),
]


@pytest.mark.parametrize(("name", "value", "kept"), ACCEPTED)
def test_accepted(name, value, kept):
    found = getattr(Sample.make(**{name: value}), name)
    assert found == kept and type(found) is type(kept)


REFUSED = [
    ("whole", 2.5, "must be a whole number, not 2.5", "at least 1 and at most 100"),
    ("whole", 0, "cannot be 0", "at least 1"), ("whole", 101, "cannot be 101", "at most 100"),
    ("whole", "3", "must be a whole number, not '3'", ""), ("whole", True, "whole number, not True", ""),
    ("whole", None, "whole number, not None", ""), ("whole", float("nan"), "not nan", ""),
    ("whole", float("inf"), "not inf", ""), ("whole", [3], r"not \[3\]", ""),
    ("whole", np.array([3, 4]), "whole number, not", ""), ("whole", 10**400, "whole number, not 1000", ""),
    ("share", 1, "cannot be 1.0", "at least 0 and less than 1"), ("share", -1e-9, "cannot be -1e-09", ""),
    ("share", "a lot", "must be a number", ""), ("share", float("nan"), "must be a number", ""),
    ("rate", 0, "cannot be 0.0", "greater than 0"), ("rate", float("inf"), "must be a number, not inf", ""),
    ("flag", 1, "TRUE or FALSE, not 1", ""), ("flag", "yes", "TRUE or FALSE", ""), ("flag", None, "TRUE or FALSE", ""),
    ("kind", "znb", "`kind` cannot be 'znb'", "'zinb', 'nb'.*Did you mean 'zinb'"),
    ("kind", None, "cannot be None", ""),
    ("kind", ["nb"], "cannot be", "One of"), ("kind", np.array(["nb", "zinb"]), "cannot be", "One of"),
    ("maybe", 0, "cannot be 0", "at least 1"), ("maybe", "x", "whole number", ""), ("text", 3, "must be a text", ""),
]


@pytest.mark.parametrize(("name", "value", "problem", "hint"), REFUSED)
def test_refused(name, value, problem, hint):
    with pytest.raises(SettingError, match=problem) as caught:
        Sample.make(**{name: value})
    assert caught.value.field == name
    assert re.search(hint, caught.value.hint)


def test_an_unknown_setting_is_answered_by_the_nearest():
    with pytest.raises(SettingError, match="no setting 'wholes'") as caught:
        Sample.make(wholes=3)
    assert caught.value.hint == "Did you mean 'whole'?"
    with pytest.raises(SettingError) as caught:
        Sample.make(xyz=3)
    assert "whole, share, rate" in caught.value.hint


def test_settings_are_checked_together_and_cannot_be_changed():
    with pytest.raises(SettingError, match="exceeds"):
        Sample(whole=2, maybe=3)
    with pytest.raises(FrozenInstanceError):
        Sample().whole = 3


def test_round_trip_and_description_are_plain():
    sample = Sample(whole=np.int64(7), maybe=3)
    assert Sample.make(**json.loads(json.dumps(sample.to_json()))) == sample
    described = json.loads(json.dumps(describe_settings(Sample)))
    assert [entry["name"] for entry in described] == ["whole", "share", "rate", "flag", "kind", "maybe", "text"]
    assert [entry["type"] for entry in described] == ["int", "float", "float", "bool", "choice", "int", "str"]
    assert described[0] == {"name": "whole", "type": "int", "default": 10, "optional": False, "doc": "A whole number.",
                            "ge": 1, "le": 100}
    assert described[4]["choices"] == ["zinb", "nb"] and described[5]["optional"]


def test_a_declaration_with_an_unknown_bound_is_a_mistake():
    with pytest.raises(TypeError, match="above"):
        setting(1, "A number.", above=0)


def test_one_value_may_be_checked_alone():
    assert check_setting("seed", 4.0, int, {"ge": 0}) == 4
