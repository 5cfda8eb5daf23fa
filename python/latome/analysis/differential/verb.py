"""Differential expression between sets of cells, from one pool of posterior samples for each of their parts."""

import warnings

import numpy as np
import pandas as pd

from latome.analysis.decoding import batch_codes
from latome.analysis.differential.comparisons import check_comparison
from latome.analysis.differential.options import Options, check_function, check_levels
from latome.analysis.differential.outliers import without_outliers
from latome.analysis.differential.pairs import make_pairs
from latome.analysis.differential.pools import CellSet, draw_pools, weighted_pools
from latome.analysis.differential.statistics import count_statistics
from latome.analysis.differential.study import Rules, Work, run
from latome.analysis.differential.table import assemble
from latome.analysis.latent import latent_moments
from latome.backend import torch
from latome.errors import QueryError

__all__ = ["differential_expression"]


def differential_expression(
        module, data, comparisons, *, mode="change", delta=0.25, batch_correction=False, batchid1=None, batchid2=None,
        n_samples_overall=5000, fdr_target=0.05, all_stats=True, pseudocounts=None, test_mode="three", change_fn=None,
        m1_domain_fn=None, cred_interval_lvls=(0.9,), use_permutation=False, m_permutation=10000, weights="uniform",
        filter_outlier_cells=False, threshold_counts=0.01, importance=None, batch_size=None, progress=None):
    """Genes that differ between sets of cells; a table with one row a gene and comparison.

    For each set, `n_samples_overall` times a random cell is taken, its latent is drawn from its posterior, and decoded
    into expression fractions rho. Pairs of such samples, one of each set, give

        LFC = log2(rho1 + c) - log2(rho2 + c)
        prob_de = max(P(LFC >= delta), P(LFC < -delta))

    `prob_de` is the probability that a random cell of the first set expresses the gene more (or less: the likelier of
    the two) than a random cell of the second by at least `delta`, as far as the model can tell. It is not a p-value,
    and it is no statement on the means of two populations of donors. It counts what is uncertain about each cell and
    how the cells of a set differ among themselves; the weights of the decoder are taken as known.

    Arguments
    ---------
    module, data : a fitted module, and the `Dataset` of the cells.
    comparisons : list of `Comparison`, as `comparisons_of` makes them.
    mode : "change" asks for a change beyond delta, "vanilla" only which of the two is larger.
    delta : smallest log2 fold change that counts; None estimates it for each comparison from the spread of the mean
        changes of all genes (the outer two of three normal components).
    batch_correction : decode both sets under the same batches, in equal shares, and pair within a batch.
    batchid1, batchid2 : names of the batches to decode each set under; None is each cell's own batch, or with
        `batch_correction` all batches. Draws of different batches are paired overall.
    fdr_target : `is_de` marks the longest list of genes whose mean 1 - prob_de is at most this.
    all_stats : add statistics of the counts; they are missing for minified data without counts.
    pseudocounts : c, in units of rho; None estimates it from genes with a mean count below `threshold_counts`.
    test_mode : "three" as above; "two" adds the two directions, so that a gene which varies within the sets passes.
    change_fn : function of (rho1, rho2, c), arrays (s, g), in place of the LFC. m1_domain_fn : function of the changes
        (s, g) that returns those which count upward and downward, two arrays of bool. Both are called for some of the
        genes at a time where not all fit into memory.
    cred_interval_lvls : levels of the shortest credible intervals of the LFC.
    use_permutation : draw `m_permutation` pairs with replacement, in place of using each draw once.
    weights : "importance" weights draws by how well they explain the cells of the set: slow. `importance` are its
        options, see `importance_weights`.
    filter_outlier_cells : leave out of the samples the tenth of each set's cells that lies farthest off in the latent
        space (needs scikit-learn).
    progress : function of (steps done, steps in all), called between steps.

    Returns a data frame with columns gene, group1, group2, comparison; prob_de, prob_not_de, bayes_factor (log odds);
    scale1, scale2 (mean rho); pseudocounts, delta; lfc_mean, lfc_median, lfc_sd, lfc_min, lfc_max, lfc_low, lfc_high
    (first level; lfc_low_<level> for more); pct_1, pct_2 (share of cells with a count), mean_1, mean_2 (of counts),
    norm_mean_1, norm_mean_2 (of counts per 10,000); fdr, is_de. In mode "vanilla": prob_m1, prob_m2, bayes_factor,
    scale1, scale2 and the statistics. Each comparison is sorted by prob_de, or by bayes_factor. Positive changes are
    higher in the first set; 1 - prob_de is at least 1 / (pairs + 1).

    Raises QueryError or SettingError before any work is done. A keyboard interrupt passes through.

    Example
    -------
    >>> comparisons = comparisons_of(adata.obs, groupby="cell_type", group1="B", group2="NK")
    >>> differential_expression(fit.module, data, comparisons).query("is_de")
    """
    options = Options(mode, delta, batch_correction, n_samples_overall, fdr_target, all_stats, pseudocounts, test_mode,
                      use_permutation, m_permutation, weights, filter_outlier_cells, threshold_counts)
    rules = Rules(options.mode, options.test_mode, check_levels(cred_interval_lvls),
                  check_function("change_fn", change_fn, 3, "of two arrays of samples and the pseudocount"),
                  check_function("m1_domain_fn", m1_domain_fn, 1, "of an array of changes"), options.threshold_counts)
    comparisons = list(comparisons)
    if not comparisons:
        raise QueryError("comparisons", problem="There is nothing to compare.", hint="Make them with comparisons_of().")
    for comparison in comparisons:
        check_comparison(comparison, data.n_cells)
    estimated = options.mode == "change" and options.pseudocounts is None
    if estimated:
        data.require_counts("Estimating the pseudocount")
    codes = _batches(data.registry, options.batch_correction, batchid1, batchid2)
    sides = _sides(module, data, comparisons, codes, options, batch_size)
    sets = list(dict.fromkeys(one for pair in sides for one in pair))
    if options.weights == "importance":
        pools = weighted_pools(module, data, sets, options.n_samples_overall, importance, batch_size)
    else:
        pools = draw_pools(module, data, sets, options.n_samples_overall, batch_size)
    counted = _counted(data, comparisons) if data.has_counts and (estimated or options.all_stats) else None
    works = _works(pools, sets, sides, counted, options, codes)
    run(pools, works, rules, progress)
    tables = []
    for i, (comparison, work) in enumerate(zip(comparisons, works, strict=True)):
        statistics = _columns(None if counted is None else counted[i], data.n_genes) if options.all_stats else {}
        tables.append(assemble(comparison, data.registry.genes, _first_level(work.found, rules.levels), statistics,
                               n_samples=work.pairs.n, fdr_target=options.fdr_target))
    return pd.concat(tables, ignore_index=True)


def _batches(registry, batch_correction, batchid1, batchid2):
    """Codes of the batches that each side is decoded under, two tuples."""
    every = range(registry.n_batch) if batch_correction else (None,)
    codes = [tuple(every) if given is None else tuple(sorted(set(batch_codes(registry, given))))
             for given in (batchid1, batchid2)]
    if batch_correction and codes[0] != codes[1] and set(codes[0]) & set(codes[1]):
        warnings.warn("The two sets are decoded under batches that overlap only in part: draws are paired across "
                      "batches.", stacklevel=3)
    return codes


def _sides(module, data, comparisons, codes, options, batch_size):
    """[(first, second)] `CellSet`s of the comparisons; the same rows under the same batches are one object."""
    rows = {id(rows): rows for one in comparisons for rows in (one.rows1, one.rows2)}
    if options.filter_outlier_cells:
        used = np.unique(np.concatenate(list(rows.values())))
        z, _ = latent_moments(module, data, indices=used, batch_size=batch_size)
        rows = {key: without_outliers(found, z[np.searchsorted(used, found)]) for key, found in rows.items()}
    made = {}

    def side(found, of_side):
        key = id(found), codes[of_side]
        return made.setdefault(key, CellSet(rows[id(found)], codes[of_side]))

    return [(side(one.rows1, 0), side(one.rows2, 1)) for one in comparisons]


def _works(pools, sets, sides, counted, options, codes):
    """A `Work` for each comparison."""
    rng = np.random.default_rng(int(torch.randint(2**62, (1,))))
    place = {one: i for i, one in enumerate(sets)}
    works = []
    for i, pair in enumerate(sides):
        first, second = (pools.selections[place[one]] for one in pair)
        pairs = make_pairs(first, second, within_batches=options.batch_correction and codes[0] == codes[1],
                           n_random=options.m_permutation if options.use_permutation else None, rng=rng)
        means = None if counted is None else tuple(one.mean for one in counted[i])
        works.append(Work(first, second, pairs, means, options.pseudocounts, options.delta))
    return works


def _counted(data, comparisons):
    """[(statistics of the first set, of the second)] of the comparisons."""
    rows = {id(rows): rows for one in comparisons for rows in (one.rows1, one.rows2)}
    found = dict(zip(rows, count_statistics(data, list(rows.values())), strict=True))
    return [(found[id(one.rows1)], found[id(one.rows2)]) for one in comparisons]


def _columns(counted, n_genes):
    """{column: (g,)} of the statistics of both sets, not a number where there are no counts."""
    nothing = np.full(n_genes, np.nan)
    names = {"pct": "detected", "mean": "mean", "norm_mean": "normalized"}
    return {f"{column}_{i + 1}": nothing if counted is None else getattr(counted[i], name)
            for column, name in names.items() for i in range(2)}


def _first_level(found, levels):
    """The columns in their order, the interval of the first level under the names lfc_low and lfc_high."""
    described = [name for name in found if name.startswith("lfc_")]
    order = [name for name in found if name not in described] + described
    renamed = {f"lfc_{end}_{levels[0]}": f"lfc_{end}" for end in ("low", "high")} if levels else {}
    return {renamed.get(name, name): found[name] for name in order}
