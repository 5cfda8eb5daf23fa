"""CellAssign from a table of marker genes."""

import dataclasses
import math

import numpy as np

from latome.backend import torch
from latome.data.fields import Columns
from latome.data.markers import Markers
from latome.data.registry import open_data
from latome.errors import SettingError
from latome.fit import initialise
from latome.modules.cellassign import CellassignSettings

__all__ = ["for_markers"]

ABOVE = 0.1                                            # the smallest log delta, where that of all markers begins


def for_markers(adata, markers, columns=None, *, settings=None, seed=0, allow_noninteger=False):
    """An untrained CellAssign and the data to train it on: the genes that are in the table, of all cells.

    A cell's size factor is its total count over *all* genes of `adata`, divided by the mean total, unless `columns`
    name a column of size factors. Give the data with all their genes, not the markers alone.

    Arguments
    ---------
    adata : AnnData of n cells with raw counts.
    markers : DataFrame, genes (rows) by cell types (columns), 1 where a gene is a marker of a type, else 0.
    columns : `Columns`: layer, batch, covariates, size factor.
    settings : {name: value} of `CellassignSettings`, or None.
    seed : of the weights.
    allow_noninteger : accept counts that are not whole numbers.

    Returns (`Fit`, `Dataset`). Markers that are not among the genes are left out, with a warning in the dataset; raises
    FieldError where a type loses all of its own.

    Example
    -------
    >>> fit, data = for_markers(adata, markers)
    >>> probabilities = label_probabilities(train(fit, data).module, data)
    """
    if settings is not None and not isinstance(settings, dict):
        raise SettingError("settings", problem=f"`settings` cannot be a {type(settings).__name__}.",
                           hint="Give a dict, such as {'min_delta': 2.0}.")
    settings = CellassignSettings.make(**(settings or {}))
    table, missing = Markers.from_table(markers).among(adata.var_names)
    columns = dataclasses.replace(columns or Columns(), labels=None)
    data = open_data(adata, columns, genes=table.genes, markers=table.lists(), allow_noninteger=allow_noninteger)
    if missing:
        shown = ", ".join(f"'{gene}'" for gene in missing[:5]) + (" ..." if len(missing) > 5 else "")
        data.warnings.append(f"{len(missing)} of {len(markers)} marker genes are not in the data: {shown}.")
    silent = np.flatnonzero(data.totals == 0)
    if silent.size:
        data.warnings.append(f"{silent.size} cells have no counts of any marker gene; nothing tells their type.")
    fit = initialise(settings, data, seed=seed)
    fit.module.prepare(data, None)
    if settings.start != "random":
        _begin(fit.module, data, settings.start)
    return fit, data


@torch.no_grad()
def _begin(module, data, start):
    """Sets: the base levels (g,) from the genes' counts; with "means" also all types and all markers alike.

    The means are those at size 1, half a count added. With all types alike, a gene that marks a share f of them has
    the mean exp(b) (1 + f (exp(delta) - 1)), whence its base level b. From there no type has an advantage, and the same
    cells give the same types whatever the seed.
    """
    totals = sum(np.asarray(part.sum(axis=0), dtype=np.float64).ravel() for _, part in data.source.blocks())
    if start == "standardised":
        means = totals / data.n_cells
        spread = means.std(ddof=1) if means.std() > 0 else 1.0
        module.baseline.copy_(torch.from_numpy((means - means.mean()) / spread))
        return
    log_delta = math.log(module.settings.min_delta) + ABOVE
    rise = module.panel.members[:data.n_genes].eq(0).double().mean(1).numpy() * math.expm1(math.exp(log_delta))
    means = (totals + 0.5) / data.size_factor.sum(dtype=np.float64)
    module.baseline.copy_(torch.from_numpy(np.log(means / (1 + rise))))
    module.type_logits.zero_()
    module.log_delta.fill_(log_delta)
