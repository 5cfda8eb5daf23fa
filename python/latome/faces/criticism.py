"""Posterior predictive checks of models as objects, in the interface of the papers."""

import dataclasses

import numpy as np
import pandas as pd

from latome.analysis.criticism import calibration_error, coefficient_of_variation, side_by_side, zero_fraction
from latome.analysis.markers import marker_agreement, replicated_markers
from latome.data.registry import open_data
from latome.data.sources import closest
from latome.errors import QueryError, SettingError
from latome.faces.base import Model
from latome.faces.preferences import settings
from latome.protocol.settings import check_setting
from latome.training.session import RandomStream

__all__ = ["PosteriorPredictiveCheck"]


class PosteriorPredictiveCheck:
    """Do models replicate the data they have seen? Statistics of the counts, beside those of replicates.

    Arguments
    ---------
    adata : AnnData with counts.
    models_dict : {name: model}, of the same genes.
    count_layer_key : layer of the counts; None for the one that each model was set up with.
    n_samples : replicates.
    indices : cells to ask about, a mask or row numbers; None for all.

    Each check returns its table and keeps it in `metrics`; `summaries` holds mae, mse, pearson, spearman and r2 of
    each model where a statistic is compared. Random numbers start from `latome.settings.seed`.

    Example
    -------
    >>> check = PosteriorPredictiveCheck(adata, {"zinb": model, "poisson": other})
    >>> check.coefficient_of_variation("cells")
    >>> check.summaries["cv_gene"]
    """

    def __init__(self, adata, models_dict, count_layer_key=None, n_samples=10, indices=None):
        self.adata = adata
        self.models = _checked_models(models_dict)
        self.n_samples = check_setting("n_samples", n_samples, int, {"ge": 1})
        self.indices = indices
        self.metrics, self.summaries = {}, {}
        self._data = {name: _opened(adata, model, count_layer_key) for name, model in self.models.items()}

    def coefficient_of_variation(self, dim="cells"):
        """The standard deviation over the mean, over "cells" (one a gene) or "features" (one a cell).

        A DataFrame: mean over the replicates of each model, and "Raw". Sets: metrics["cv_gene"] or ["cv_cell"].
        """
        return self._compare("cv_gene" if dim == "cells" else "cv_cell", coefficient_of_variation, dim=dim)

    def zero_fraction(self):
        """The share of zeros of each gene: a DataFrame like that of the coefficient of variation.

        Sets: metrics["zero_fraction"].
        """
        return self._compare("zero_fraction", zero_fraction)

    def calibration_error(self, confidence_intervals=None):
        """How far coverage by predictive intervals is from what it should be: smaller is better.

        `confidence_intervals` are the ends of central intervals, such as [0.05, 0.25, 0.75, 0.95] for those of 50% and
        90%; by default those of 50%, 80%, 90% and 95%. A row of the mean absolute error over genes and intervals, a
        column a model. Sets: metrics["calibration"], and metrics["coverage"]: the mean coverage of each interval.
        """
        levels = {} if confidence_intervals is None else {"levels": _levels(confidence_intervals)}
        tables = self._each(calibration_error, n_samples=self.n_samples, **levels)
        errors = {name: [table["error"].abs().mean()] for name, table in tables.items()}
        coverage = {name: table.groupby("level")["coverage"].mean() for name, table in tables.items()}
        self.metrics["coverage"] = pd.DataFrame(coverage)
        self.metrics["calibration"] = pd.DataFrame(errors, index=["features"])
        return self.metrics["calibration"]

    def differential_expression(self, de_groupby=None, de_method="t-test", n_samples=1, cell_scale_factor=1e4,
                                p_val_thresh=0.001, n_top_genes_fallback=100):
        """Are the genes that tell groups apart the same in the replicates? One row a group and model.

        Columns: gene_f1, lfc_mae, lfc_pearson, lfc_spearman, roc_auc, pr_auc, group, model, n_cells.
        `de_method` is "t-test" or "wilcoxon". Sets: metrics["diff_exp"], {"summary": the same,
        "lfc_per_model_per_group": {model: {group: DataFrame (genes) of raw and predicted log2 fold changes}}}.
        """
        if de_groupby is None or de_groupby not in self.adata.obs:
            raise QueryError("de_groupby", problem=f"`obs` has no column {de_groupby!r} of groups.",
                             hint=closest(de_groupby, self.adata.obs.columns))
        tables = self._each(replicated_markers, groups=self.adata.obs[de_groupby], method=de_method,
                            n_samples=n_samples, scale=cell_scale_factor)
        summary = [marker_agreement(table, p_threshold=p_val_thresh, n_top=n_top_genes_fallback).assign(model=name)
                   for name, table in tables.items()]
        order = ["gene_f1", "lfc_mae", "lfc_pearson", "lfc_spearman", "roc_auc", "pr_auc", "group", "model", "n_cells"]
        summary = pd.concat(summary, ignore_index=True)[order]
        changes = {name: {group: _fold_changes(part) for group, part in table.groupby("group", sort=False)}
                   for name, table in tables.items()}
        self.metrics["diff_exp"] = {"summary": summary, "lfc_per_model_per_group": changes}
        return summary

    def _compare(self, metric, check, **keywords):
        tables = self._each(check, n_samples=self.n_samples, **keywords)
        self.metrics[metric], self.summaries[metric] = side_by_side(tables)
        return self.metrics[metric]

    def _each(self, check, **keywords):
        """{name of the model: table of a check}."""
        found = {}
        for name, model in self.models.items():
            with RandomStream(settings.seed).active():
                found[name] = check(model.fit.module, self._data[name], indices=self.indices,
                                    batch_size=settings.batch_size, **keywords)
        return found


def _checked_models(models):
    if not isinstance(models, dict) or not models:
        raise SettingError("models_dict", problem="`models_dict` names no models.", hint='Give {"name": model}.')
    for name, model in models.items():
        if not isinstance(model, Model):
            raise SettingError("models_dict", problem=f"'{name}' is of type {type(model).__name__}, not a model.",
                               hint="Give models of latome.model, such as SCVI.")
        if name == "Raw":
            raise SettingError("models_dict", problem="A model cannot be called 'Raw': the counts are.",
                               hint="Give it another name.")
    genes = [model.fit.registry.genes for model in models.values()]
    if any(set(other) != set(genes[0]) for other in genes):
        raise SettingError("models_dict", problem="The models are of different genes.",
                           hint="Compare models of the same genes.")
    return dict(models)


def _opened(adata, model, layer):
    registry = model.fit.registry
    columns = registry.columns if layer is None else dataclasses.replace(registry.columns, layer=layer)
    data = open_data(adata, columns, registry=registry, allow_noninteger=True)
    data.require_counts("A posterior predictive check")
    return data


def _levels(intervals):
    """Levels of central intervals from their ends."""
    ends = np.sort([check_setting("confidence_intervals", end, float, {"gt": 0, "lt": 1})
                    for end in np.atleast_1d(intervals)])
    lower, upper = ends[:len(ends) // 2], ends[::-1][:len(ends) // 2]
    if not len(ends) or len(ends) % 2 or not np.allclose(lower + upper, 1):
        raise SettingError("confidence_intervals", problem=f"{list(ends)} are not the ends of central intervals.",
                           hint="Give both ends of each, such as [0.05, 0.25, 0.75, 0.95].")
    return [round(float(level), 12) for level in upper - lower]


def _fold_changes(part):
    raw = part[part["sample"] == 0].set_index("gene")["lfc"]
    return pd.DataFrame({"raw": raw, "pred": part[part["sample"] > 0].groupby("gene")["lfc"].mean()})
