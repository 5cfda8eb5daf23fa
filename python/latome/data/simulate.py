"""Counts simulated with known truth: types, batches, covariates, overdispersion, doublets.

    t_n   ~ Categorical(1 / T)                                        cell type
    b_n   ~ Categorical(1 / B)                                        batch
    c_nj  ~ Categorical(1 / C_j),   v_nd ~ Normal(0, 1)               covariates
    l_n   = depth exp(depth_sd e_n + shift_b),   e_n ~ Normal(0, 1)   library: expected total of the counts
    w_ng  = exp(base_g + type_tg + batch_bg + sum_j level_jcg + sum_d v_nd slope_dg)
    mu_ng = l_n w_ng / sum_g w_ng
    x_ng  ~ NegativeBinomial(mean mu_ng, inverse dispersion theta_g), then 0 with probability dropout_g

A doublet is the sum of two such cells: same batch and covariates, each with its own type and library.
"""

from dataclasses import dataclass

import anndata
import numpy as np
import pandas as pd
import scipy.sparse as sp

from latome.errors import SettingError

__all__ = ["simulate"]

BASE_SD = 1.2          # log scale: a few genes hold most counts, as in real data
COVARIATE_SHARE = 0.5  # share of the genes that a level or a slope moves
LEVEL_SD = 0.5         # default effect of a categorical covariate, log scale
BLOCK = 2**20          # entries (cells x genes) simulated at once
RESERVED = ("cell_type", "batch", "library", "doublet", "partner_type")


def simulate(n_cells=1000, n_genes=500, n_types=4, n_batches=2, *, seed=0, depth=1000.0, depth_sd=0.3,
             marker_effect=1.5, differential=0.0, batch_effect=0.3, categorical=None, continuous=None,
             theta=None, zero_inflation=0.0, doublets=0.0, with_mean=False):
    """Raw counts of cells whose truth is known (the generative story opens this file).

    Arguments
    ---------
    n_cells, n_genes, n_types, n_batches : the sizes n, g, T and B.
    seed : whole number >= 0. What belongs to the genes does not depend on `n_cells`.
    depth : median library, counts per cell.   depth_sd : its standard deviation within a batch, log scale.
    marker_effect : log fold change of a type's markers, drawn uniformly between 0.5 and 1.5 times this. Each
        type has its own: a tenth of the genes, or g / (2 T) of them where there are more than five types.
    differential : share of the other genes with planted differences between types: Normal(0, 1), log scale.
    batch_effect : standard deviation of a batch's effects on the genes and of its shift of depth, log scale.
    categorical : {column: number of levels, or (number of levels, effect)}: the standard deviation of a
        level's effects on half of the genes, log scale, 0.5 when absent. The first level is the base line.
    continuous : {column: standard deviation of the slopes of half of the genes, log scale per unit}.
    theta : inverse dispersion, one number or (g,); None draws log-normal ones of median 2.
    zero_inflation : dropout probability in [0, 1), one number or (g,).
    doublets : share of the cells that are doublets, in [0, 1).
    with_mean : also keep the expected counts, dropout included, as layers["mean"]: dense (n, g) float32.

    Returns
    -------
    AnnData with X (n, g) CSR float32 of whole numbers and the truth:
    obs : cell_type, batch, every covariate, library, doublet (bool), partner_type (a doublet's second cell).
    var : base, theta, dropout, marker_of (a type, or missing).
    varm : <column>_effect, log scale: for cell_type and batch (always), each categorical (g, levels), each
        continuous covariate (g, 1); data frames whose columns are the levels.
    uns["truth"] : seed, depth, depth_sd, batch_shift (B,), categorical and continuous (names of columns).
    Beside the result, memory holds a few blocks of about a million entries.

    Example
    -------
    >>> simulate(200, 100, categorical={"donor": 3}, continuous={"age": 0.2}, doublets=0.1)
    """
    sizes = {"n_cells": n_cells, "n_genes": n_genes, "n_types": n_types, "n_batches": n_batches}
    for name, size in sizes.items():
        _whole(name, size, at_least=1)
    _whole("seed", seed, at_least=0)
    positive = {"depth_sd": depth_sd, "marker_effect": marker_effect, "batch_effect": batch_effect}
    for name, value in positive.items():
        _numbers(name, value, "a number >= 0", lambda v: v >= 0)
    _numbers("depth", depth, "a number > 0", lambda v: v > 0)
    _numbers("differential", differential, "a number in [0, 1]", lambda v: (v >= 0) & (v <= 1))
    _numbers("doublets", doublets, "a number in [0, 1)", lambda v: (v >= 0) & (v < 1))
    levels, slopes = _covariates(categorical or {}, continuous or {})
    gene_seed, cell_seed, count_seed = np.random.SeedSequence(seed).spawn(3)

    rng = np.random.default_rng(gene_seed)
    var = _draw_genes(n_genes, theta, zero_inflation, rng)
    types = _draw_types(var, n_types, marker_effect, differential, rng)
    batches = _table(var, "batch", batch_effect * rng.standard_normal((n_genes, n_batches)))
    shift = batch_effect * rng.standard_normal(n_batches)
    effects = {"cell_type": types, "batch": batches, **_draw_covariates(var, levels, slopes, rng)}
    genes = _Genes(var, effects, shift, (depth, depth_sd))

    rng = np.random.default_rng(cell_seed)
    obs = _draw_cells(n_cells, genes, slopes, rng)
    partners = _draw_partners(obs, doublets, genes, rng)
    rng = np.random.default_rng(count_seed)
    x, mean = _draw_counts(obs, genes, with_mean, rng)
    x, mean = _add_partners(x, mean, obs, partners, _draw_counts(partners, genes, with_mean, rng))

    truth = {
        "seed": int(seed), "depth": float(depth), "depth_sd": float(depth_sd), "batch_shift": shift,
        "categorical": np.array([*levels], dtype=object), "continuous": np.array([*slopes], dtype=object),
    }
    varm = {f"{name}_effect": effect for name, effect in effects.items()}
    layers = {"mean": mean} if with_mean else {}
    return anndata.AnnData(x, obs=obs, var=var, varm=varm, layers=layers, uns={"truth": truth})


@dataclass(frozen=True)
class _Genes:
    """What belongs to the genes and the batches: the truth that cells are drawn from."""

    var: pd.DataFrame         # base, theta, dropout, marker_of
    effects: dict             # column of obs -> data frame (g, levels), or (g, 1) named "slope"
    batch_shift: np.ndarray   # (B,)
    library: tuple            # depth, depth_sd


def _draw_genes(n_genes, theta, zero_inflation, rng):
    """The table of the genes: base level, inverse dispersion, dropout."""
    base = BASE_SD * rng.standard_normal(n_genes)
    drawn = 2.0 * np.exp(0.5 * rng.standard_normal(n_genes))
    theta = drawn if theta is None else _numbers("theta", theta, "numbers > 0", lambda v: v > 0, n_genes)
    share = "numbers in [0, 1)"
    dropout = _numbers("zero_inflation", zero_inflation, share, lambda v: (v >= 0) & (v < 1), n_genes)
    names = [f"gene_{j + 1}" for j in range(n_genes)]
    return pd.DataFrame({"base": base, "theta": theta, "dropout": dropout}, index=names)


def _draw_types(var, n_types, marker_effect, differential, rng):
    """Log fold changes of the types (g, T): markers and planted differences. Adds `marker_of` to `var`."""
    n_genes = len(var)
    each = int(min(0.1, 0.5 / n_types) * n_genes)
    owner = np.full(n_genes, -1)
    owner[rng.permutation(n_genes)[: each * n_types]] = np.repeat(np.arange(n_types), each)
    marker = owner >= 0
    effect = np.zeros((n_genes, n_types))
    effect[marker, owner[marker]] = marker_effect * rng.uniform(0.5, 1.5, marker.sum())
    moved = ~marker & (rng.random(n_genes) < differential)
    effect[moved] = rng.standard_normal((moved.sum(), n_types))
    types = _table(var, "type", effect)
    var["marker_of"] = pd.Categorical.from_codes(owner, types.columns)
    return types


def _draw_covariates(var, levels, slopes, rng):
    """Effects on the log scale by covariate: (g, levels) with a base line of zero, or (g, 1)."""
    effects = {}
    for name, (n_levels, size) in levels.items():
        moved = rng.random((len(var), 1)) < COVARIATE_SHARE
        effect = np.where(moved, size * rng.standard_normal((len(var), n_levels)), 0.0)
        effect[:, 0] = 0.0
        effects[name] = _table(var, name, effect)
    for name, size in slopes.items():
        moved = rng.random(len(var)) < COVARIATE_SHARE
        slope = np.where(moved, size * rng.standard_normal(len(var)), 0.0)
        effects[name] = pd.DataFrame({"slope": slope}, index=var.index)
    return effects


def _table(var, prefix, effect):
    """A data frame (g, levels) whose columns name the levels."""
    columns = [f"{prefix}_{i + 1}" for i in range(effect.shape[1])]
    return pd.DataFrame(effect, index=var.index, columns=columns)


def _draw_cells(n_cells, genes, slopes, rng):
    """The table of the cells: a level of every factor, a value of every continuous covariate, the library."""
    obs = pd.DataFrame(index=[f"cell_{i + 1}" for i in range(n_cells)])
    for name, effect in genes.effects.items():
        obs[name] = rng.standard_normal(n_cells) if name in slopes else _draw_levels(effect, n_cells, rng)
    obs["library"] = _draw_library(obs, genes, rng)
    return obs


def _draw_levels(effect, n, rng):
    return pd.Categorical.from_codes(rng.integers(effect.shape[1], size=n), effect.columns)


def _draw_library(obs, genes, rng):
    depth, depth_sd = genes.library
    shift = genes.batch_shift[obs["batch"].cat.codes]
    return depth * np.exp(depth_sd * rng.standard_normal(len(obs)) + shift)


def _draw_partners(obs, doublets, genes, rng):
    """The second cells of the doublets: same batch and covariates, own type and library."""
    chosen = np.sort(rng.permutation(len(obs))[: round(doublets * len(obs))])
    partners = obs.iloc[chosen].copy()
    partners["cell_type"] = _draw_levels(genes.effects["cell_type"], len(chosen), rng)
    partners["library"] = _draw_library(partners, genes, rng)
    return partners


def _expected(obs, genes):
    """Expected counts before dropout, (m, g) float64."""
    log_weight = np.tile(genes.var["base"].to_numpy(), (len(obs), 1))          # (m, g)
    for name, effect in genes.effects.items():
        effect = effect.to_numpy().T                                           # (levels, g)
        if isinstance(obs[name].dtype, pd.CategoricalDtype):
            log_weight += effect[obs[name].cat.codes]
        else:
            log_weight += obs[name].to_numpy()[:, None] * effect
    log_weight -= log_weight.max(1, keepdims=True)
    weight = np.exp(log_weight, out=log_weight)
    weight *= (obs["library"].to_numpy() / weight.sum(1))[:, None]
    return weight


def _draw_counts(obs, genes, with_mean, rng):
    """Counts (m, g) CSR float32 and, if asked, their expectation (dropout included), in blocks of cells."""
    theta, kept = genes.var["theta"].to_numpy(), 1.0 - genes.var["dropout"].to_numpy()
    rows = max(1, BLOCK // len(genes.var))
    blocks, means = [sp.csr_matrix((0, len(genes.var)), dtype=np.float32)], []
    for begin in range(0, len(obs), rows):
        mu = _expected(obs.iloc[begin:begin + rows], genes)
        rate = rng.standard_gamma(theta, size=mu.shape) * (mu / theta)             # Gamma-Poisson is the NB
        counts = rng.poisson(rate)
        if (kept < 1).any():
            counts *= rng.random(mu.shape) < kept
        blocks.append(sp.csr_matrix(counts.astype(np.float32)))
        if with_mean:
            means.append((mu * kept).astype(np.float32))
    mean = np.concatenate([np.zeros((0, len(genes.var)), np.float32), *means]) if with_mean else None
    return sp.vstack(blocks, format="csr"), mean


def _add_partners(x, mean, obs, partners, drawn):
    """Counts and expectations with the second cells added; `obs` gains doublet and partner_type."""
    place = obs.index.get_indexer(partners.index)
    obs["doublet"] = np.isin(np.arange(len(obs)), place)
    obs["partner_type"] = partners["cell_type"].reindex(obs.index)
    obs.loc[partners.index, "library"] += partners["library"]
    if len(partners) == 0:
        return x, mean
    shape = (len(obs), len(partners))
    put = sp.csr_matrix((np.ones(len(place), np.float32), (place, np.arange(len(place)))), shape=shape)
    if mean is not None:
        mean[place] += drawn[1]
    return (x + put @ drawn[0]).tocsr(), mean


def _whole(name, value, at_least):
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < at_least:
        problem = f"`{name}` must be a whole number, at least {at_least}; found {value!r}."
        raise SettingError(name, problem=problem)


def _numbers(name, value, wanted, allowed, n_genes=None):
    """`value` as float64, (n_genes,) if asked; SettingError unless all are finite and `allowed`."""
    try:
        found = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        found = np.array(np.nan)
    if found.ndim > (n_genes is not None) or not np.isfinite(found).all() or not allowed(found).all():
        raise SettingError(name, problem=f"`{name}` must be {wanted}; found {value!r}.")
    if n_genes is None:
        return float(found)
    if found.ndim and len(found) != n_genes:
        raise SettingError(name, problem=f"`{name}` has {len(found)} values for {n_genes} genes.",
                           hint="Give one number, or one for each gene.")
    return np.broadcast_to(found, (n_genes,)).copy()


def _covariates(categorical, continuous):
    """{column: (number of levels, effect)} and {column: effect}, checked."""
    levels = {}
    for name, spec in categorical.items():
        n_levels, effect = spec if isinstance(spec, tuple) and len(spec) == 2 else (spec, LEVEL_SD)
        if isinstance(n_levels, bool) or not isinstance(n_levels, (int, np.integer)) or n_levels < 2:
            hint = "Give {column: number of levels} or {column: (number of levels, effect)}."
            problem = f"'{name}' must have at least 2 levels, a whole number; found {spec!r}."
            raise SettingError("categorical", problem=problem, hint=hint)
        levels[name] = (int(n_levels), _numbers("categorical", effect, "effects >= 0", lambda v: v >= 0))
    slopes = {}
    for name, size in continuous.items():
        slopes[name] = _numbers("continuous", size, "effects >= 0", lambda v: v >= 0)
    names = [*RESERVED, *levels, *slopes]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        problem = f"Columns named twice, or like one that is always there: {twice}."
        raise SettingError("categorical", problem=problem, hint=f"Use other names than {list(RESERVED)}.")
    return levels, slopes
