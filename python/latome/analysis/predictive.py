"""What a model predicts: counts drawn from it, the parameters of their distribution, and how genes vary together."""

import warnings
from typing import Literal

import numpy as np

from latome.analysis.correlation import Pearson, Spearman
from latome.analysis.decoding import batch_codes, gene_places
from latome.analysis.draws import tiles
from latome.analysis.results import SparseRows, refuse_large
from latome.analysis.sweep import cells_at_once, some_rows, sweep
from latome.backend import torch
from latome.distributions import NormalCounts, Poisson, ZeroInflatedNegativeBinomial
from latome.errors import QueryError
from latome.protocol.settings import check_setting

__all__ = ["feature_correlation", "latent_library_size", "likelihood_parameters", "posterior_predictive"]

WAYS_OUT = "Ask for fewer samples (n_samples), genes (genes) or cells (indices)."


def posterior_predictive(module, data, *, n_samples=1, genes=None, transform_batch=None, indices=None, batch_size=None):
    """Counts drawn from p(x' | x): z from q(z | x) anew for each sample, then x' from p(x' | z), dropout included.

    Arguments
    ---------
    n_samples : samples of each cell.
    genes : names of the genes to return, in this order; None for all.
    transform_batch : name of the batch that all cells are taken to come from; None for their own.
    indices, batch_size : which cells, and how many a minibatch.

    Returns
    -------
    A CSR matrix (n, g') float32 of one sample, an array (n, g', s) float32 of several: whole numbers, unless the
    model's counts are normal. Raises QueryError for results beyond `LARGEST_RESULT` bytes, and for several batches:
    counts averaged over batches are no counts.

    Example
    -------
    >>> posterior_predictive(fit.module, data, n_samples=25, genes=["CD3E"])
    """
    n_samples = check_setting("n_samples", n_samples, int, {"ge": 1})
    codes, places = batch_codes(data.registry, transform_batch), gene_places(data.registry, genes)
    if len(codes) > 1:
        raise QueryError("transform_batch", problem="Counts are drawn under one batch at a time.",
                         hint="Ask for each batch in turn.")
    rows, size = some_rows(data, indices), cells_at_once(data, batch_size)
    n_genes = data.n_genes if places is None else len(places)
    if n_samples > 1:
        refuse_large("The result", WAYS_OUT, cells=len(rows), genes=n_genes, samples=n_samples)
    drawn = tiles(module, data, lambda counts: {"x": counts.sample(places)}, rows=rows, size=size, codes=codes,
                  n_samples=n_samples)
    if n_samples == 1:
        matrix = SparseRows(n_genes, "Ask for fewer genes (genes) or cells (indices).")
        for _, _, answer in drawn:
            matrix.add(answer["x"][0].cpu().numpy())
        return matrix.matrix()
    values = np.empty((len(rows), n_genes, n_samples), dtype=np.float32)
    for cells, samples, answer in drawn:
        values[cells, :, samples] = answer["x"].permute(1, 2, 0).cpu().numpy()
    return values


def likelihood_parameters(module, data, *, n_samples=1, give_mean=False, draw="sample", genes=None,
                          transform_batch=None, indices=None, batch_size=None):
    """Parameters of p(x | z) for draws of z: those that the model's likelihood has.

    Arguments
    ---------
    n_samples : draws of z for each cell.
    give_mean : with several, their mean; or else all of them, (s, n, g').
    draw : "sample", or "mean" to decode the posterior mean of z instead of a draw of it.
    genes, transform_batch : names of the genes, and of the batch or batches to decode under (their mean).
    indices, batch_size : which cells, and how many a minibatch.

    Returns
    -------
    {name: (n, g') or (s, n, g') float32} with "mean", expected counts before zero inflation; of (zero-inflated)
    negative binomials "dispersions", the inverse dispersion theta: variance = mean + mean^2 / theta; of zero-inflated
    ones "dropout", the probability that a count is replaced by zero; of normal ones "sd". A parameter that is the same
    in every cell is a view of one row, which cannot be written into.
    """
    n_samples = check_setting("n_samples", n_samples, int, {"ge": 1})
    give_mean = check_setting("give_mean", give_mean, bool, {})
    draw = check_setting("draw", draw, Literal["sample", "mean"], {})
    codes, places = batch_codes(data.registry, transform_batch), gene_places(data.registry, genes)
    rows, size = some_rows(data, indices), cells_at_once(data, batch_size)
    n_genes = data.n_genes if places is None else len(places)
    apart = n_samples > 1 and not give_mean
    shape = (n_samples, len(rows), n_genes) if apart else (len(rows), n_genes)
    refuse_large("Each parameter", WAYS_OUT, samples=n_samples if apart else 1, cells=len(rows), genes=n_genes)
    found = {}
    for cells, samples, answer in tiles(module, data, lambda counts: _parameters(counts, places), rows=rows, size=size,
                                        codes=codes, n_samples=n_samples, draw=draw):
        for name, values in answer.items():
            values = values.cpu().numpy()
            if values.ndim == 1:                                        # one for all cells
                found[name] = values
                continue
            array = found.setdefault(name, np.zeros(shape, dtype=np.float32))
            if apart:
                array[samples, cells] = values
            else:
                array[cells] += values.sum(0) / n_samples if values.ndim == 3 else values * (
                    (samples.stop - samples.start) / n_samples)
    return {name: np.broadcast_to(values, shape) if values.ndim == 1 else values for name, values in found.items()}


def _parameters(counts, places):
    """{name: (..., m, g'), (m, g') or (g',)} of one distribution."""
    found = {"mean": counts.rate}
    if isinstance(counts, NormalCounts):
        found["sd"] = counts.sd
    elif not isinstance(counts, Poisson):
        found["dispersions"] = counts.theta
    if isinstance(counts, ZeroInflatedNegativeBinomial):
        found["dropout"] = counts.gate.sigmoid()
    return found if places is None else {name: _pick(values, places) for name, values in found.items()}


def _pick(values, places):
    return values if places is None else values.index_select(-1, torch.from_numpy(places))


def latent_library_size(module, data, *, give_mean=True, indices=None, batch_size=None):
    """(n, 1) float32: the library size of each cell, in counts.

    Where the model infers it, the mean of its posterior exp(Normal(m, v)), which is exp(m + v / 2), or a draw from it;
    else the size that the model takes as given: the total count, or the size factor.
    """
    give_mean = check_setting("give_mean", give_mean, bool, {})

    def query(cells):
        posterior = module.posterior(cells)
        if "library" not in posterior:
            return {"size": cells.get("size_factor", cells["total"]).unsqueeze(1)}
        q = posterior["library"]
        return {"size": (q.mean + q.variance / 2 if give_mean else q.rsample()).exp()}

    return sweep(module, data, query, indices=indices, batch_size=batch_size)["size"]


def feature_correlation(module, data, *, n_samples=10, genes=None, rna_size_factor=1000, transform_batch=None,
                        correlation_type="spearman", indices=None, batch_size=None):
    """Correlations between genes of denoised counts, which vary as cells do and as genes do within a cell's state.

    For each cell and each draw of z, a value is drawn from Gamma(shape theta, mean rho x rna_size_factor): counts
    without Poisson noise and without zero inflation. Where there is no theta (Poisson, normal) it is the mean itself.
    Cells and samples are stacked, correlated, and the correlations averaged over the batches asked for.

    Arguments
    ---------
    n_samples : draws of z for each cell.
    genes : names of the genes to return, in this order; None for all.
    rna_size_factor : library size that all cells are given, > 0.
    transform_batch : name of a batch, or several, to decode every cell under; None for its own.
    correlation_type : "spearman", of ranks, whose values are all held in memory, n x n_samples x g' numbers of float32;
        or "pearson", which holds (g', g').
    indices, batch_size : which cells, and how many a minibatch.

    Returns
    -------
    (g', g') float64. A gene whose values are all the same has no correlation: NaN, with a warning.
    """
    n_samples = check_setting("n_samples", n_samples, int, {"ge": 1})
    scale = check_setting("rna_size_factor", rna_size_factor, float, {"gt": 0})
    kind = check_setting("correlation_type", correlation_type, Literal["spearman", "pearson"], {})
    codes, places = batch_codes(data.registry, transform_batch), gene_places(data.registry, genes)
    rows, size = some_rows(data, indices), cells_at_once(data, batch_size)
    n_genes = data.n_genes if places is None else len(places)
    refuse_large("The table of correlations", "Ask for fewer genes (genes).", genes=2 * n_genes, others=n_genes)
    if kind == "spearman":
        refuse_large("The ranks", WAYS_OUT + ' Or set correlation_type = "pearson", which keeps no values.',
                     samples=n_samples, cells=len(rows), genes=n_genes)
    found = 0
    for code in codes:
        correlator = {"spearman": Spearman, "pearson": Pearson}[kind](n_samples * len(rows), n_genes)
        for _, _, answer in tiles(module, data, lambda counts: {"denoised": _denoised(counts, scale, places)},
                                  rows=rows, size=size, codes=(code,), n_samples=n_samples):
            correlator.add(answer["denoised"].flatten(0, 1).cpu().numpy())
        found = found + correlator.correlations() / len(codes)
    _warn_of_constants(np.diag(found), data.registry.genes, places)
    return found


def _denoised(counts, scale, places):
    """(..., m, g'): draws from Gamma(theta, theta / mean), or the mean rho x scale where there is no theta."""
    mean = _pick(counts.rho, places) * scale
    if isinstance(counts, Poisson | NormalCounts):
        return mean
    theta = _pick(counts.theta, places).expand_as(mean)
    return torch._standard_gamma(theta.contiguous()) * mean / theta


def _warn_of_constants(diagonal, genes, places):
    constant = np.flatnonzero(np.isnan(diagonal))
    if constant.size:
        first = genes[constant[0] if places is None else places[constant[0]]]
        warnings.warn(f"{constant.size} genes have the same value in all cells and samples (such as '{first}'): their "
                      "correlations are NaN.", stacklevel=3)
