"""The options of a differential expression, checked before any work is done."""

import inspect
from dataclasses import dataclass
from typing import Literal

from latome.errors import SettingError
from latome.protocol.settings import Settings, check_setting, setting

__all__ = ["Options", "check_function", "check_levels"]


@dataclass(frozen=True)
class Options(Settings):
    """What `differential_expression` may be told in numbers and words; its own help says what each means."""

    mode: Literal["change", "vanilla"] = setting("change", "The hypotheses.")
    delta: float | None = setting(0.25, "Smallest change that counts; none estimates it.", ge=0)
    batch_correction: bool = setting(False, "Decode both sets under the same batches, and pair within them.")
    n_samples_overall: int = setting(5000, "Draws for each set of cells.", ge=2)
    fdr_target: float = setting(0.05, "Share of false discoveries.", gt=0, lt=1)
    all_stats: bool = setting(True, "Add statistics of the counts.")
    pseudocounts: float | None = setting(None, "Added to expression fractions; none estimates it.", ge=0)
    test_mode: Literal["three", "two"] = setting("three", "The likelier direction, or both.")
    use_permutation: bool = setting(False, "Pair draws at random, with replacement.")
    m_permutation: int = setting(10000, "Number of such pairs.", ge=1)
    weights: Literal["uniform", "importance"] = setting("uniform", "Weights of the draws.")
    filter_outlier_cells: bool = setting(False, "Leave out cells far from the others of their set.")
    threshold_counts: float = setting(0.01, "Mean count below which a gene is hardly seen.", ge=0)


def check_levels(levels):
    """Levels of credible intervals, a tuple of floats in (0, 1), each once; None and one number are understood."""
    given = () if levels is None else (levels,) if isinstance(levels, int | float) else levels
    bounds = {"gt": 0, "lt": 1}
    return tuple(dict.fromkeys(check_setting("cred_interval_lvls", level, float, bounds) for level in given))


def check_function(name, value, n_arguments, words):
    """A function of so many arguments, or None; "log-fold" is another name for None as `change_fn`."""
    if value is None or (name == "change_fn" and value == "log-fold"):
        return None
    hint = f"Give a function {words}."
    if not callable(value):
        raise SettingError(name, problem=f"`{name}` cannot be {value!r}.", hint=hint)
    try:
        inspect.signature(value).bind(*range(n_arguments))
    except TypeError as error:
        problem = f"`{name}` cannot be called with {n_arguments} arguments."
        raise SettingError(name, problem=problem, hint=hint) from error
    except ValueError:                                 # compiled functions tell nothing of their arguments
        pass
    return value
