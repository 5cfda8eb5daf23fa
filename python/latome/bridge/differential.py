"""Differential expression: comparisons come as rows, the table goes as columns."""

import numpy as np

from latome.analysis.differential import Comparison
from latome.analysis.differential import differential_expression as expression_between
from latome.bridge.answers import answers, columns_of, doubts, opened
from latome.bridge.steps import Steps

__all__ = ["differential_expression"]


@answers
def differential_expression(document, weights, data, options=None, seed=0):
    """The table of genes that differ between sets of cells, {column: values}, as work for `proceed`.

    `options` hold beside those of the engine's verb: comparisons, [{"group1", "group2", "rows1", "rows2"}] with rows
    from 0 in ascending order.
    """
    options = dict(options or {})
    comparisons = compared(options.pop("comparisons"))

    def work(progress):
        with opened(document, weights, data, seed) as (fit, dataset):
            table = expression_between(fit.module, dataset, comparisons, progress=progress, **options)
            return {"table": columns_of(table), "warnings": doubts(fit)}

    return {"work": Steps(work)}


def compared(comparisons):
    """The `Comparison`s; the same rows are the same array, so that their samples are drawn once."""
    known = {}

    def rows(given):
        found = np.asarray(given).ravel().astype(np.int64)
        return known.setdefault(found.tobytes(), found)

    return [Comparison(one["group1"], one["group2"], rows(one["rows1"]), rows(one["rows2"])) for one in comparisons]
