"""Posterior predictive checks."""

from latome.analysis import criticism
from latome.bridge.answers import answers, columns_of, doubts, opened

__all__ = ["predictive_check"]

CHECKS = {"cv": criticism.coefficient_of_variation, "zero_fraction": criticism.zero_fraction,
          "calibration": criticism.calibration_error}


@answers
def predictive_check(document, weights, data, options=None, seed=0):
    """A check of `options["metric"]`, {column: values}: gene or cell, observed, predicted and sd; or of calibration
    gene or cell, level, coverage and error."""
    options = dict(options or {})
    check = CHECKS[options.pop("metric")]
    with opened(document, weights, data, seed) as (fit, dataset):
        table = check(fit.module, dataset, **options)
        if table.index.name is not None:
            table = table.reset_index().rename(columns={"raw": "observed", "mean": "predicted"})
        return {"table": columns_of(table), "warnings": doubts(fit)}
