"""Differential expression of a module that is written down, of one that was trained, and of bad questions."""

import itertools
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from known import LEVEL, SIZES, Known, known_cells, log2_ratio, opened
from scipy import stats

from latome.analysis.differential import Comparison, comparisons_of, differential_expression, pools
from latome.analysis.latent import latent_moments
from latome.backend import torch
from latome.data.minified import minify
from latome.data.registry import Columns, open_data
from latome.data.simulate import simulate
from latome.errors import QueryError, SettingError
from latome.fit import fit
from latome.modules.scvi import ScviSettings
from latome.training.options import TrainingOptions

TOLD = {"pseudocounts": 1e-9}
COLUMNS = ["gene", "group1", "group2", "comparison", "prob_de", "prob_not_de", "bayes_factor", "scale1", "scale2",
           "pseudocounts", "delta", "lfc_mean", "lfc_median", "lfc_sd", "lfc_min", "lfc_max", "lfc_low", "lfc_high",
           "pct_1", "pct_2", "mean_1", "mean_2", "norm_mean_1", "norm_mean_2", "fdr", "is_de"]


def ask(adata, module, seed=0, group1=None, group2=None, **options):
    torch.manual_seed(seed)
    return differential_expression(module, opened(adata), comparisons_of(adata.obs, "type", group1, group2), **options)


def first_gene(table):
    return table[table["gene"] == "0"].iloc[0]


def test_certain_changes_between_pairs_of_groups():
    adata = known_cells()
    for one, other in itertools.permutations(SIZES, 2):
        found = ask(adata, Known(), group1=one, group2=other, **TOLD)
        assert list(found) == COLUMNS and len(found) == 2
        row, change = first_gene(found), log2_ratio(2 * LEVEL[one], 2 * LEVEL[other])
        assert (row.group1, row.group2, row.comparison) == (one, other, f"{one} vs {other}")
        for column in ("lfc_mean", "lfc_median", "lfc_min", "lfc_max", "lfc_low", "lfc_high"):
            assert row[column] == pytest.approx(change, abs=1e-4)
        assert row.prob_de == pytest.approx(1 - 1 / 5001) and row.prob_not_de == pytest.approx(1 / 5001)
        assert row.bayes_factor == pytest.approx(np.log(5000), rel=1e-3)
        assert row.scale1 == pytest.approx(1 / (1 + np.exp(-2 * LEVEL[one])), rel=1e-4)
        assert bool(row.is_de) and row.fdr == pytest.approx(1 / 5001)


def test_the_rest_is_made_of_the_other_groups_by_their_sizes():
    adata, module = known_cells(), Known()
    found = ask(adata, module, **TOLD, n_samples_overall=700)
    for one in SIZES:
        others = [name for name in SIZES if name != one]
        changes = np.array([log2_ratio(2 * LEVEL[one], 2 * LEVEL[name]) for name in others])
        weights = np.array([SIZES[name] for name in others]) / sum(SIZES[name] for name in others)
        row = first_gene(found[found["group1"] == one])
        expected = max(weights[changes >= 0.25].sum(), weights[changes < -0.25].sum())
        assert row.prob_de == pytest.approx(min(expected, 1 - 1 / 701), abs=1.5 / 700)
        assert row.lfc_mean == pytest.approx(weights @ changes, abs=5e-3)
    assert len(module.decoded) == 3 * 700               # one pool a group; nothing is decoded for the rest
    assert len(module.encoded) == len(set(module.encoded)) <= 100


def test_uncertainty_of_the_latent():
    """P(z1 > z2) of two normals, as gene 1 rises with z."""
    adata = known_cells(levels={"a": 0.3, "b": 0.0, "c": 0.0})
    expected = stats.norm.cdf(0.3 / np.sqrt(2 * 0.25))
    found = ask(adata, Known(variance=0.25), group1="a", group2="b", mode="vanilla", n_samples_overall=20000)
    assert list(found)[:9] == COLUMNS[:4] + ["prob_m1", "prob_m2", "bayes_factor", "scale1", "scale2"]
    row = first_gene(found)
    assert row.prob_m1 == pytest.approx(expected, abs=0.015) and row.prob_m2 == pytest.approx(1 - row.prob_m1)
    assert row.bayes_factor == pytest.approx(np.log(expected / (1 - expected)), abs=0.08)
    assert found["bayes_factor"].is_monotonic_decreasing


BATCHES = {"a": 0.9, "b": 0.1, "c": 0.5}                # share of batch y


def test_batches_that_go_with_the_groups():
    """Types are the same and batches differ: the change goes away where both are decoded under the same batches."""
    adata = known_cells(levels=dict.fromkeys(SIZES, 0.2), batches=BATCHES, sizes={"a": 300, "b": 500, "c": 200})
    module = Known(lift=(0.0, 2.0))
    plain, corrected = (first_gene(ask(adata, module, group1="a", group2="b", batch_correction=on, **TOLD))
                        for on in (False, True))
    step = log2_ratio(0.4 + 2.0, 0.4)
    share = [adata.obs["batch"][adata.obs["type"] == kind].eq("y").mean() for kind in "ab"]
    assert plain.lfc_mean == pytest.approx(step * (share[0] - share[1]), abs=0.05)
    assert plain.prob_de == pytest.approx(share[0] * (1 - share[1]), abs=0.03)
    for column in ("lfc_mean", "lfc_min", "lfc_max"):                   # each pair is under one batch
        assert corrected[column] == pytest.approx(0, abs=1e-5)
    assert corrected.prob_de == 0 and not corrected.is_de
    assert corrected.scale1 == pytest.approx(np.mean([1 / (1 + np.exp(-value)) for value in (0.4, 2.4)]), rel=1e-5)


def test_batches_by_name():
    adata, module = known_cells(levels=dict.fromkeys(SIZES, 0.0)), Known(lift=(0.0, 2.0))
    step = log2_ratio(2.0, 0.0)
    found = ask(adata, module, group1="a", group2="b", batchid1="y", batchid2=["x"], **TOLD)
    assert first_gene(found).lfc_mean == pytest.approx(step, rel=1e-4)
    assert {batch for _, batch in module.decoded} == {0, 1}
    with pytest.warns(UserWarning, match="overlap only in part"):
        found = ask(adata, module, group1="a", group2="b", batch_correction=True, batchid1=["x", "y"], batchid2=["x"],
                    **TOLD)
    assert first_gene(found).prob_de == pytest.approx(0.5, abs=1e-3)    # half the draws of the first are under y
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = ask(adata, module, group1="a", group2="b", batch_correction=True, batchid1=["y", "x"], **TOLD)
    assert first_gene(found).lfc_max == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("correction", [False, True])
def test_random_pairs(correction):
    adata = known_cells(levels=dict.fromkeys(SIZES, 0.2))
    found = first_gene(ask(adata, Known(variance=0.01, lift=(0.0, 3.0)), use_permutation=True, m_permutation=3000,
                           n_samples_overall=100, group1="a", group2="b", batch_correction=correction, **TOLD))
    spread = abs(log2_ratio(0.4 + 3.0, 0.4))
    assert (found.lfc_max < 0.9 * spread) == correction                 # pairs within a batch differ by z alone
    assert found.prob_not_de >= 1 / 3001
    few = ask(adata, Known(), use_permutation=True, m_permutation=9, group1="a", group2="b", **TOLD)
    assert few["prob_not_de"].min() >= 1 / 10


def test_pairs_of_mixed_sets_are_independent():
    """Two sets of the same two kinds of cells: half of the pairs differ, whatever the order of the draws."""
    sizes = {name: 200 for name in ("p", "q", "r", "s")}
    adata = known_cells(levels={"p": 1.0, "q": -1.0, "r": 1.0, "s": -1.0}, sizes=sizes)
    kinds = adata.obs["type"].to_numpy()
    rows = [np.flatnonzero(np.isin(kinds, list(names))) for names in ("pq", "rs", "p", "r", "q", "s")]
    made = [Comparison(str(i), str(j), rows[i], rows[j]) for i, j in [(0, 1), (2, 3), (4, 5)]]
    found = differential_expression(Known(), opened(adata), made, test_mode="two", **TOLD)
    assert first_gene(found[found["comparison"] == "0 vs 1"]).prob_de == pytest.approx(0.5, abs=0.03)
    assert first_gene(found[found["comparison"] == "2 vs 3"]).prob_de == 0


@pytest.mark.parametrize("options", [{}, {"delta": None}, {"mode": "vanilla"}, {"batch_correction": True}], ids=str)
def test_tiles_of_genes_change_nothing(options, monkeypatch):
    adata = simulate(150, 23, 3, 2, depth=300, seed=0)
    data = open_data(adata, Columns(batch="batch"))
    model = fit(ScviSettings(n_hidden=8, n_latent=2), data, TrainingOptions(max_epochs=2, device="cpu"))
    comparisons, tables, steps = comparisons_of(adata.obs, "cell_type"), [], []
    for entries in (1 << 28, 5 * 600):                                  # all genes at once, or five at a time
        monkeypatch.setattr(pools, "ENTRIES", entries)
        torch.manual_seed(3)
        steps.append([])
        tables.append(differential_expression(
            model.module, data, comparisons, n_samples_overall=200, threshold_counts=1.0,
            progress=lambda done, total: steps[-1].append((done, total)), **options))
    pd.testing.assert_frame_equal(*tables, rtol=1e-5)
    for seen in steps:
        assert seen == [(done, len(seen)) for done in range(1, len(seen) + 1)]
    assert len(steps[1]) > 3 * len(steps[0])


def test_the_same_draws_give_the_same_table():
    adata, module = known_cells(), Known(variance=0.3)
    tables = [ask(adata, module, seed=seed, **TOLD) for seed in (1, 1, 2)]
    pd.testing.assert_frame_equal(tables[0], tables[1])
    assert not tables[0].equals(tables[2])


def test_minibatches_do_not_matter():
    adata = known_cells()
    pd.testing.assert_frame_equal(*(ask(adata, Known(), batch_size=size, **TOLD) for size in (7, None)), atol=1e-4)


def trained(n_cells=900, **simulation):
    adata = simulate(n_cells, 80, 3, 2, depth=1500, differential=0.3, seed=5, batch_effect=0.2, **simulation)
    data = open_data(adata, Columns(batch="batch"))
    options = TrainingOptions(max_epochs=40, n_epochs_kl_warmup=20, lr=5e-3, device="cpu")
    return adata, data, fit(ScviSettings(n_hidden=32, n_latent=5, gene_likelihood="nb"), data, options, seed=0)


@pytest.fixture(scope="module")
def model():
    return trained()


def truth(adata, one, other):
    """log2 fold change of the expression fractions of two types, the mean over batches."""
    base, types, batches = (adata.var["base"].to_numpy()[:, None], adata.varm["cell_type_effect"],
                            adata.varm["batch_effect"].to_numpy())
    weights = [np.exp(base + types[[name]].to_numpy() + batches) for name in (one, other)]            # (g, B)
    return np.subtract(*(np.log2((w / w.sum(0)).mean(1)) for w in weights))


def test_planted_effects_are_found(model):
    adata, data, trained_fit = model
    n_called, n_false = 0, 0
    for one, other in itertools.combinations(adata.obs["cell_type"].cat.categories, 2):
        torch.manual_seed(0)
        found = differential_expression(trained_fit.module, data, comparisons_of(adata.obs, "cell_type", one, other),
                                        batch_correction=True).set_index("gene").loc[adata.var_names]
        known = truth(adata, one, other)
        assert np.corrcoef(found["lfc_median"], known)[0, 1] > 0.95
        called, changed = found["is_de"].to_numpy(), np.abs(known) > 0.25
        assert (called & changed).sum() > 0.3 * changed.sum()
        n_called, n_false = n_called + called.sum(), n_false + (called & ~changed).sum()
    assert n_false <= 0.06 * n_called


def test_nothing_is_found_between_halves_of_a_type(model):
    adata, data, trained_fit = model
    rng = np.random.default_rng(0)
    for kind in adata.obs["cell_type"].cat.categories:
        rows = rng.permutation(np.flatnonzero(adata.obs["cell_type"] == kind))
        halves = Comparison("one half", "the other", *map(np.sort, np.array_split(rows, 2)))
        found = differential_expression(trained_fit.module, data, [halves])
        assert not found["is_de"].any() and found["prob_de"].max() < 0.7 and found["lfc_median"].abs().max() < 0.4


def test_estimated_delta_and_pseudocounts(model):
    adata, data, trained_fit = model
    made = comparisons_of(adata.obs, "cell_type", group1=["type_1", "type_2"], group2="type_3")
    found = differential_expression(trained_fit.module, data, made, delta=None)
    each = found.groupby("comparison")[["delta", "pseudocounts"]].agg(["nunique", "first"])
    assert (each["delta", "nunique"] == 1).all() and each["delta", "first"].between(0.1, 3).all()
    assert (found["pseudocounts"] == 1e-10).all()                       # every gene is seen
    more = differential_expression(trained_fit.module, data, made, threshold_counts=5.0)
    assert (more["pseudocounts"] > 1e-8).all() and (more["delta"] == 0.25).all()


def test_the_order_and_the_expected_false_discoveries(model):
    adata, data, trained_fit = model
    found = differential_expression(trained_fit.module, data, comparisons_of(adata.obs, "cell_type"), fdr_target=0.2)
    for _, table in found.groupby("comparison", sort=False):
        assert table["prob_de"].is_monotonic_decreasing and table["fdr"].is_monotonic_increasing
        np.testing.assert_allclose(table["fdr"], np.cumsum(1 - table["prob_de"]) / np.arange(1, len(table) + 1))
        np.testing.assert_array_equal(table["is_de"], table["fdr"] <= 0.2)
        assert 0 < table["is_de"].sum() < len(table)
        assert sorted(table["gene"]) == sorted(adata.var_names)
    assert (found["prob_not_de"] >= 1 / 5001).all()


def test_statistics_of_the_counts(model):
    adata, data, trained_fit = model
    found = differential_expression(trained_fit.module, data, comparisons_of(adata.obs, "cell_type"),
                                    n_samples_overall=20)
    x, kinds = adata.X.toarray().astype(np.float64), adata.obs["cell_type"].to_numpy()
    scaled = 1e4 * x / x.sum(1, keepdims=True)
    for one, table in found.groupby("group1"):
        table = table.set_index("gene").loc[adata.var_names]
        for i, inside in enumerate([kinds == one, kinds != one], 1):
            np.testing.assert_allclose(table[f"mean_{i}"], x[inside].mean(0), rtol=1e-6)
            np.testing.assert_allclose(table[f"norm_mean_{i}"], scaled[inside].mean(0), rtol=1e-5)
            np.testing.assert_allclose(table[f"pct_{i}"], (x[inside] > 0).mean(0))
    bare = differential_expression(trained_fit.module, data, comparisons_of(adata.obs, "cell_type"), all_stats=False,
                                   n_samples_overall=20)
    assert list(bare) == [name for name in COLUMNS if not name.startswith(("pct", "mean", "norm"))]


def test_statistics_follow_the_counts(model):
    """Nothing is kept from an earlier call: other counts, other library sizes."""
    adata, _, trained_fit = model
    other = adata.copy()
    comparisons = comparisons_of(adata.obs, "cell_type", "type_1", "type_2")
    for factor in (1, 3):
        other.X = sp.csr_matrix(adata.X.multiply(np.where(np.arange(80) < 40, factor, 1)))
        data = open_data(other, registry=trained_fit.registry)
        found = differential_expression(trained_fit.module, data, comparisons, n_samples_overall=20)
        x = other.X.toarray()[(other.obs["cell_type"] == "type_1").to_numpy()]
        expected = (1e4 * x / x.sum(1, keepdims=True)).mean(0)
        np.testing.assert_allclose(found.set_index("gene").loc[adata.var_names, "norm_mean_1"], expected, rtol=1e-5)
    assert list(other.obs) == list(adata.obs)


@pytest.mark.parametrize("with_counts", [False, True])
def test_minified_data(model, with_counts):
    """The stored posterior gives the same draws; without counts there are no statistics, and nothing to estimate."""
    adata, data, trained_fit = model
    made = comparisons_of(adata.obs, "cell_type", "type_1", "type_2")
    small = minify(adata, *latent_moments(trained_fit.module, data), data.totals, with_counts)
    small = open_data(small, registry=trained_fit.registry)
    for options in (TOLD, {"mode": "vanilla"}):
        tables = []
        for one in (data, small):
            torch.manual_seed(0)
            tables.append(differential_expression(trained_fit.module, one, made, **options))
        statistics = ["pct_1", "pct_2", "mean_1", "mean_2", "norm_mean_1", "norm_mean_2"]
        if not with_counts:
            assert list(tables[1]) == list(tables[0]) and tables[1][statistics].isna().all(axis=None)
            tables = [table.drop(columns=statistics) for table in tables]
        pd.testing.assert_frame_equal(*tables, rtol=1e-3, atol=1e-3)
    if not with_counts:
        with pytest.raises(QueryError, match="pseudocount needs counts") as caught:
            differential_expression(trained_fit.module, small, made)
        assert caught.value.hint


def test_credible_levels():
    adata, module = known_cells(), Known(variance=0.2)
    found = ask(adata, module, group1="a", group2="b", cred_interval_lvls=[0.5, 0.9], **TOLD)
    assert [name for name in found if name.startswith(("lfc_low", "lfc_high"))] == [
        "lfc_low", "lfc_high", "lfc_low_0.9", "lfc_high_0.9"]
    assert (found["lfc_high"] - found["lfc_low"] < found["lfc_high_0.9"] - found["lfc_low_0.9"]).all()
    for none in (None, ()):
        assert "lfc_low" not in ask(adata, module, cred_interval_lvls=none, **TOLD)


def test_own_measures_of_change():
    adata = known_cells()
    found = first_gene(ask(adata, Known(), group1="a", group2="b", **TOLD, change_fn=lambda x, y, c: x - y,
                           m1_domain_fn=lambda change: (change > 0.3, change < -0.3)))
    rho = 1 / (1 + np.exp(-2.0))
    assert found.lfc_mean == pytest.approx(rho - 0.5, abs=1e-4) and found.prob_de > 0.999
    same = [ask(adata, Known(), change_fn=fn, **TOLD) for fn in (None, "log-fold")]
    pd.testing.assert_frame_equal(*same)


def test_importance_weights_come_from_normalized_expression(monkeypatch):
    adata, asked = known_cells(), []

    def samples(module, data, **question):
        asked.append(question)
        level = 0.6 if adata.obs["type"].iloc[question["indices"][0]] == "a" else 0.3
        return np.tile(np.array([[level, 1 - level]], dtype=np.float32), (question["n_samples_overall"], 1))

    monkeypatch.setattr(pools, "normalized_expression", samples)
    found = ask(adata, Known(), group1="a", group2="b", weights="importance", importance={"max_cells": 7},
                batch_correction=True, n_samples_overall=100, **TOLD)
    assert first_gene(found).lfc_mean == pytest.approx(1.0, abs=1e-5)
    assert [one["transform_batch"] for one in asked] == ["x", "y"] * 2
    assert all((one["weights"], one["importance"], one["n_samples_overall"]) == ("importance", {"max_cells": 7}, 50)
               for one in asked)
    assert asked[0]["indices"].tolist() == list(range(30))


def test_importance_weights_of_a_model(model):
    adata, data, trained_fit = model
    made = comparisons_of(adata.obs, "cell_type", "type_1", "type_2")
    uniform, weighted = (differential_expression(
        trained_fit.module, data, made, weights=weights, n_samples_overall=300,
        importance={"max_cells": 30, "n_mc_samples": 20} if weights == "importance" else None)
        .set_index("gene").loc[adata.var_names] for weights in ("uniform", "importance"))
    assert np.corrcoef(uniform["lfc_mean"], weighted["lfc_mean"])[0, 1] > 0.9


def test_outlier_cells_are_left_out_of_the_samples_but_not_of_the_counts():
    pytest.importorskip("sklearn.covariance")
    adata = known_cells(levels={"a": 0.0, "b": 0.0, "c": 0.0}, sizes={"a": 100, "b": 100, "c": 3})
    adata.obs["level"] = np.random.default_rng(0).normal(0, 0.01, 203)
    adata.obs.iloc[:5, adata.obs.columns.get_loc("level")] = 3.0
    for filtered in (False, True):
        module = Known()
        found = first_gene(ask(adata, module, group1="a", group2="b", filter_outlier_cells=filtered, **TOLD))
        assert (found.lfc_max > 0.8) != filtered
        assert bool({row for row, _ in module.decoded} & set(range(5))) != filtered
        assert found.mean_1 == pytest.approx(adata.X[:100, 0].mean())
    ask(adata, Known(), group1="c", group2="b", filter_outlier_cells=True, **TOLD)       # three cells: kept


def test_outliers_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.covariance", None)
    with pytest.raises(QueryError, match="needs the package scikit-learn") as caught:
        ask(known_cells(), Known(), filter_outlier_cells=True, **TOLD)
    assert "pip install scikit-learn" in caught.value.hint


def test_an_interrupt_passes_through_and_leaves_the_module_as_it_was():
    adata, module = known_cells(), Known()
    module.train()

    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ask(adata, module, progress=stop, **TOLD)
    assert module.training


@pytest.mark.parametrize("options, error, field, words", [
    ({"mode": "changes"}, SettingError, "mode", "'changes'"),
    ({"delta": -1}, SettingError, "delta", "cannot be -1"),
    ({"delta": "big"}, SettingError, "delta", "a number"),
    ({"fdr_target": 1}, SettingError, "fdr_target", "cannot be 1"),
    ({"n_samples_overall": 1}, SettingError, "n_samples_overall", "cannot be 1"),
    ({"n_samples_overall": 10.5}, SettingError, "n_samples_overall", "whole number"),
    ({"pseudocounts": -1e-9}, SettingError, "pseudocounts", "cannot be"),
    ({"test_mode": "one"}, SettingError, "test_mode", "'one'"),
    ({"m_permutation": 0}, SettingError, "m_permutation", "cannot be 0"),
    ({"weights": "equal"}, SettingError, "weights", "'equal'"),
    ({"threshold_counts": np.nan}, SettingError, "threshold_counts", "a number"),
    ({"cred_interval_lvls": [0.9, 1.0]}, SettingError, "cred_interval_lvls", "cannot be 1"),
    ({"cred_interval_lvls": ["0.9"]}, SettingError, "cred_interval_lvls", "a number"),
    ({"change_fn": "log"}, SettingError, "change_fn", "'log'"),
    ({"change_fn": lambda x, y: x - y}, SettingError, "change_fn", "3 arguments"),
    ({"m1_domain_fn": 0.5}, SettingError, "m1_domain_fn", "0.5"),
    ({"m1_domain_fn": lambda a, b: a}, SettingError, "m1_domain_fn", "1 arguments"),
    ({"batchid1": "z"}, QueryError, "transform_batch", "no batch 'z'"),
    ({"batch_size": 0}, SettingError, "batch_size", "cannot be 0"),
    ({"all_stats": "yes"}, SettingError, "all_stats", "TRUE or FALSE"),
], ids=str)  # fmt: skip
def test_bad_options_fail_before_any_work(options, error, field, words):
    module = Known()
    with pytest.raises(error) as caught:
        ask(known_cells(), module, **TOLD | options)
    assert caught.value.field == field and words in caught.value.problem
    assert module.encoded == []


def test_nothing_to_compare_or_other_cells():
    adata = known_cells()
    with pytest.raises(QueryError, match="nothing to compare"):
        differential_expression(Known(), opened(adata), [])
    made = comparisons_of(adata.obs, "type", "a", "c")
    with pytest.raises(QueryError, match="not ascending numbers from 0 to 49"):
        differential_expression(Known(), opened(adata[:50].copy()), made)
