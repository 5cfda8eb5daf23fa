"""Markers of groups, in counts and replicates: the tests of scipy, and areas by their definitions."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from examples import opened, trained, untrained

from latome.analysis import markers
from latome.analysis.markers import marker_agreement, replicated_markers
from latome.backend import torch
from latome.data.simulate import simulate
from latome.errors import QueryError, SettingError
from latome.modules.scvi import ScviSettings


@pytest.fixture(scope="module")
def adata():
    return simulate(240, 40, 3, 2, depth=2000, marker_effect=2, theta=5, seed=3)


@pytest.fixture(scope="module")
def data(adata):
    return opened(adata)


@pytest.fixture(scope="module")
def fit(data):
    return trained(data, ScviSettings(32, 5, gene_likelihood="nb"), max_epochs=100, n_epochs_kl_warmup=40)


@pytest.fixture(scope="module")
def types(adata):
    return adata.obs["cell_type"]


def expected(data, types, group, method):
    x = data.source.csr.toarray().astype("f8")
    x = x / x.sum(1, keepdims=True) * 500
    mine, rest = x[types == group], x[types != group]
    if method == "t-test":
        score, p = scipy.stats.ttest_ind(np.log1p(mine), np.log1p(rest), equal_var=False)
    else:
        score = None
        p = scipy.stats.mannwhitneyu(mine, rest, method="asymptotic", use_continuity=False).pvalue
    return score, scipy.stats.false_discovery_control(p), np.log2((mine.mean(0) + 1) / (rest.mean(0) + 1))


@pytest.mark.parametrize("batch_size", [None, 50])
@pytest.mark.parametrize("method", ["t-test", "wilcoxon"])
def test_the_tests_are_those_of_scipy(fit, data, types, method, batch_size, monkeypatch):
    monkeypatch.setattr(markers, "ELEMENTS", 8 * 240 * 7)               # seven genes at a time
    table = replicated_markers(fit.module, data, types, method=method, scale=500, batch_size=batch_size)
    assert list(table) == ["group", "gene", "sample", "lfc", "score", "p", "n_cells"] and len(table) == 3 * 40 * 2
    for group, found in table[table["sample"] == 0].groupby("group"):
        score, p, lfc = expected(data, types, group, method)
        assert list(found["gene"]) == list(data.registry.genes)
        np.testing.assert_allclose(found["p"], p, rtol=1e-3, atol=1e-12)
        np.testing.assert_allclose(found["lfc"], lfc, rtol=1e-4, atol=1e-5)
        if score is not None:
            np.testing.assert_allclose(found["score"], score, rtol=1e-4, atol=1e-5)
        assert (np.sign(found["score"]) == np.sign(lfc)).mean() > 0.8
        assert set(found["n_cells"]) == {(types == group).sum()}


def test_some_cells_in_another_order(fit, data, types):
    rows = np.random.default_rng(0).permutation(240)[:150]
    found = replicated_markers(fit.module, data, types, indices=rows).query("sample == 0")
    x = data.source.csr.toarray().astype("f8")[rows]
    mean = [(x * 1e4 / x.sum(1, keepdims=True))[np.asarray(types)[rows] == g].mean(0) for g in found["group"].unique()]
    assert found["n_cells"].iloc[::40].sum() == 150 and len(mean) == 3
    raw, _ = scipy.stats.ttest_ind(*(np.log1p(x * 1e4 / x.sum(1, keepdims=True))[(np.asarray(types)[rows] == "type_2")
                                     == inside] for inside in (True, False)), equal_var=False)
    np.testing.assert_allclose(found[found["group"] == "type_2"]["score"], raw, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", ["t-test", "wilcoxon"])
def test_a_gene_that_never_varies_is_no_marker(fit, data, types, method):
    x = data.source.csr.tolil()
    x[:, 4] = 0
    silent = dataclasses.replace(data, source=type(data.source)(x.tocsr()))
    found = replicated_markers(fit.module, silent, types, method=method).query("sample == 0 and gene == 'gene_5'")
    assert (found["p"] == 1).all() and (found["score"] == 0).all() and (found["lfc"] == 0).all()


@pytest.mark.parametrize("method", ["t-test", "wilcoxon"])
def test_a_trained_model_gives_the_markers_back_and_an_untrained_one_does_not(fit, data, types, method):
    torch.manual_seed(0)
    found = marker_agreement(replicated_markers(fit.module, data, types, method=method, n_samples=2), p_threshold=1e-9)
    assert list(found["group"]) == ["type_1", "type_2", "type_3"] and len(found.columns) == 8
    assert (found[["roc_auc", "pr_auc", "gene_f1"]] > 0.6).all(axis=None) and (found["lfc_pearson"] > 0.95).all()
    blank = untrained(data, ScviSettings(16, 3, gene_likelihood="nb")).module
    worse = marker_agreement(replicated_markers(blank, data, types, method=method))
    assert (worse["lfc_mae"] > 2 * found["lfc_mae"]).all() and (worse["lfc_pearson"] < 0.6).all()


def table(raw, drawn, scores):
    return pd.concat([
        pd.DataFrame({"group": "a", "gene": list("vwxyz"), "sample": sample, "lfc": lfc, "score": score, "p": p,
                      "n_cells": 7})
        for sample, (lfc, p), score in zip((0, 1), (raw, drawn), scores, strict=True)], ignore_index=True)


def test_agreement_by_hand():
    raw, drawn = ([2.0, 1, 0, -1, 0], [1e-5, 1e-4, 0.5, 0.2, 1]), ([1.0, 1, 0.5, -1, 0], [1e-6, 0.5, 1e-5, 0.2, 1])
    found = marker_agreement(table(raw, drawn, ([9, 8, 1, -2, 0], [-5.0, 2, 4, 1, 2]))).iloc[0]
    assert found["gene_f1"] == 0.5 and found["lfc_mae"] == pytest.approx(0.3) and found["n_cells"] == 7
    assert found["lfc_pearson"] == pytest.approx(scipy.stats.pearsonr(raw[0], drawn[0])[0])
    assert found["lfc_spearman"] == pytest.approx(scipy.stats.spearmanr(raw[0], drawn[0])[0])
    # markers v, w score 5 and 2; the others 4, 1 and 2: of six pairs v wins 3, w wins 1 and ties 1
    assert found["roc_auc"] == pytest.approx(4.5 / 6)
    # thresholds 5, 4, 2, 1: recall 1/2, 1/2, 1, 1 and precision 1, 1/2, 2/4, 2/5
    assert found["pr_auc"] == pytest.approx(0.5 * 1 + 0.5 * 0.5)


def test_without_markers_the_first_genes_count():
    none = ([0.0, 1, 2, 3, 4], [0.5, 0.5, 0.2, 0.9, 0.5])
    found = marker_agreement(table(none, none, ([1.0, 3, 2, 0, -4], [1.0, 3, 2, 0, -4])), n_top=2).iloc[0]
    assert found["gene_f1"] == 1 and found["roc_auc"] == pytest.approx(5 / 6)
    every = marker_agreement(table(none, none, ([1.0, 3, 2, 0, -4], [1.0, 3, 2, 0, -4]))).iloc[0]
    assert every["gene_f1"] == 1 and np.isnan(every["roc_auc"]) and np.isnan(every["pr_auc"])


@pytest.mark.parametrize("more", [{"method": "t"}, {"n_samples": 0}, {"scale": 0}])
def test_arguments_that_are_refused(fit, data, types, more):
    with pytest.raises(SettingError, match=f"`{next(iter(more))}`"):
        replicated_markers(fit.module, data, types, **more)
    with pytest.raises(SettingError, match="`p_threshold`"):
        marker_agreement(pd.DataFrame(), p_threshold=1.0)


def test_groups_and_models_that_are_refused(fit, data, types):
    with pytest.raises(QueryError, match="'alone' of `groups` has 1 of the cells"):
        replicated_markers(fit.module, data, ["alone", *["rest"] * 239])
    with pytest.raises(QueryError, match="needs counts"):
        replicated_markers(fit.module, dataclasses.replace(data, has_counts=False), types)
    normal = untrained(data, ScviSettings(12, 3, gene_likelihood="normal")).module
    with pytest.raises(QueryError, match="likelihood is normal: replicates are no counts"):
        replicated_markers(normal, data, types)
