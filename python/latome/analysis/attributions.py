"""Which genes make a model give a cell its label: integrated gradients of the label's probability.

The counts of a cell grow from nothing to what they are, a x with a from 0 to 1, and each gene is credited with what its
own growth adds to the probability p of the label (Sundararajan et al., ICML 2017):

    attribution_g = x_g  integral_0^1  dp / dx_g (a x) da

The attributions of a cell add up to p(x) - p(0), and a gene without counts has none: they are as sparse as the counts.
Where encoders see log(1 + x), p changes most with the first counts; so the points of the path crowd there: a = s^3 with
s at the points of a Gauss-Legendre rule.
"""

import numpy as np
import scipy.sparse as sp

from latome.analysis.sweep import cells_at_once, some_rows
from latome.backend import torch
from latome.data.minibatches import Minibatches
from latome.errors import QueryError
from latome.protocol.settings import check_setting

__all__ = ["label_attributions", "ranked_genes"]


def label_attributions(module, data, *, label=None, n_steps=50, indices=None, batch_size=None):
    """How much each gene adds to the probability of a cell's label.

    Arguments
    ---------
    module : of a model that tells labels from the counts by networks, such as scANVI.
    data : a `Dataset`.
    label : name of the label to explain in every cell; None for the likeliest of each.
    n_steps : points of the rule along the path: what the sum of a cell is off by falls like 1 / n_steps.
    indices, batch_size : which cells, and how many a minibatch.

    Returns
    -------
    (attributions, labels): a CSR matrix (n, g) float32 in units of probability, and (n,) int64 codes of the labels
    that they explain.

    Example
    -------
    >>> attributions, labels = label_attributions(fit.module, data)
    """
    n_steps = check_setting("n_steps", n_steps, int, {"ge": 1})
    if not module.encoders:
        raise QueryError("kind", problem=f"{module.title} does not tell labels by a network over the counts.",
                         hint="Ask scANVI; of CellAssign the markers themselves say it.")
    data.require_counts("Attributing labels to genes")
    code = None if label is None else _code_of(label, data.registry)
    path = _path(n_steps)
    rows, size = some_rows(data, indices), cells_at_once(data, batch_size)
    was_training, parts, labels = module.training, [], []
    module.eval()
    try:
        for cells in Minibatches(data, rows, size):
            found, codes = _of_minibatch(module, cells, code, path)
            parts.append(found)
            labels.append(codes)
    finally:
        module.train(was_training)
    return sp.vstack(parts, format="csr"), np.concatenate(labels)


def _code_of(label, registry):
    labels = list(registry.categories["labels"])
    if label not in labels:
        raise QueryError("label", problem=f"The model knows no label '{label}'.", hint="Known: " + ", ".join(labels))
    return labels.index(label)


def _path(n_steps):
    """[(a, weight)] of a rule for the integral over a from 0 to 1."""
    points, weights = np.polynomial.legendre.leggauss(n_steps)
    points, weights = (points + 1) / 2, weights / 2
    return list(zip((points**3).tolist(), (3 * points**2 * weights).tolist(), strict=True))


def _of_minibatch(module, cells, code, path):
    """(CSR (m, g), codes (m,)) of some cells."""
    counts = cells["x"]
    full = counts.dense()                                               # (m, g)
    with torch.no_grad():
        codes = module.label_probabilities(cells).argmax(1)
    if code is not None:
        codes = torch.full_like(codes, code)
    slopes = torch.zeros_like(full)
    for place, weight in path:
        x = (place * full).requires_grad_()
        with torch.enable_grad():
            chosen = module.label_probabilities(cells | {"x": x}).gather(1, codes.unsqueeze(1))
        slopes.add_(torch.autograd.grad(chosen.sum(), x)[0], alpha=weight)
    values = slopes.view(-1)[counts.positions] * counts.values
    parts = (values.numpy(), counts.indices.numpy(), counts.indptr.numpy())
    return sp.csr_matrix(parts, shape=counts.shape), codes.numpy()


def ranked_genes(attributions, genes):
    """The genes by their mean attribution, the largest first.

    Arguments
    ---------
    attributions : (n, g), sparse or dense.
    genes : their names.

    Returns {"gene", "gene_idx", "attribution_mean", "attribution_std", "cells"}, (g,) each: the standard deviation is
    over the cells, and `cells` counts those in which the gene has an attribution. QueryError where the two do not fit.
    """
    found = sp.csr_matrix(attributions, dtype=np.float64)
    if found.shape[1] != len(genes):
        raise QueryError("attrs", problem=f"The attributions are of {found.shape[1]} genes; there are {len(genes)}.",
                         hint="Give what predict(ig_interpretability=True) returned for this model.")
    mean = np.asarray(found.mean(0)).ravel()
    square = np.asarray(found.multiply(found).mean(0)).ravel()
    order = np.argsort(-mean, kind="stable")
    columns = {"gene": np.asarray(genes, dtype=object), "gene_idx": np.arange(len(genes)), "attribution_mean": mean,
               "attribution_std": np.sqrt(np.maximum(square - mean**2, 0)), "cells": found.getnnz(0)}
    return {name: values[order] for name, values in columns.items()}
