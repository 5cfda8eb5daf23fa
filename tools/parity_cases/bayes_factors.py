"""Columns of differential expression from two fixed arrays of samples, by the names that the grids give them."""

import ast
import re

import numpy as np

from latome.analysis.differential import bayes
from parity_cases.compare import Tolerance, compare

__all__ = ["INPUTS", "check_bayes_factors"]

#: Arrays that are samples, counts, or a tolerance.
INPUTS = re.compile(r"de_(rho1|rho2|counts|n1|.+__delta_spread)")

_COLUMN = re.compile(r"de_(?P<run>.+)__(?P<column>.+)")
_NAMES = {"proba_m1": "prob_m1", "proba_m2": "prob_m2", "proba_de": "prob_de", "proba_not_de": "prob_not_de",
          "lfc_std": "lfc_sd"}
_INTERVAL = re.compile(r"lfc_confidence_interval_(.+)_(min|max)")
_THRESHOLD = 0.01                                       # mean count below which a gene is hardly seen, unless given


def check_bayes_factors(case, described, expected):
    """Rows for every column of every run; `described` is distributions.json, `expected` {array: values}."""
    rows, found = [], {}
    for name in (name for name in described["arrays"] if _COLUMN.fullmatch(name) and not INPUTS.fullmatch(name)):
        run, column = _COLUMN.fullmatch(name).group("run", "column")
        if run not in found:
            options = ast.literal_eval(re.search(r"\{.*\}", described["arrays"][name]["what"]).group())
            found[run] = _vanilla(expected) if options.pop("mode") == "vanilla" else _change(expected, run, options)
        rows.append(compare(case, name, found[run][_ours(column)], expected[name], _tolerance(run, column, described,
                                                                                             expected)))
    return rows


def _ours(column):
    """Our name of one of their columns."""
    interval = _INTERVAL.fullmatch(column)
    if interval:
        return f"lfc_{'low' if interval.group(2) == 'min' else 'high'}_{interval.group(1)}"
    return _NAMES.get(column, column)


def _vanilla(expected):
    return bayes.vanilla(expected["de_rho1"], expected["de_rho2"])


def _change(expected, run, options):
    """Each step from what the step before was recorded to give, so that one difference shows once."""
    first, second = expected["de_rho1"], expected["de_rho2"]
    pseudocounts, delta = options["pseudocounts"], options["delta"]
    if pseudocounts is None:
        counts, n = expected["de_counts"], int(expected["de_n1"])
        pseudocounts = bayes.pseudocounts_of((first.max(0), second.max(0)), (counts[:n].mean(0), counts[n:].mean(0)),
                                             options.get("threshold_counts", _THRESHOLD))
    recorded = float(expected[f"de_{run}__pseudocounts"])
    if delta is None:
        delta = bayes.delta_of(bayes.log_fold_change(first, second, recorded).mean(0))
    found = bayes.change(first, second, delta=float(expected[f"de_{run}__delta"]), pseudocounts=recorded,
                         test_mode=options.get("test_mode", "three"), levels=options.get("cred_interval_lvls", ()))
    return found | {"pseudocounts": np.float64(pseudocounts), "delta": np.float64(delta)}


def _tolerance(run, column, described, expected):
    given = described["tolerance"]
    spread = expected.get(f"de_{run}__delta_spread")
    if column == "delta" and spread is not None:        # theirs begins at random
        return Tolerance(1e-3, atol=float(spread))
    return Tolerance(given["rtol"], atol=given["atol"])
