"""The simulator against the theory that its docstring states."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from latome.data.simulate import simulate
from latome.errors import SettingError


def flat(n_cells=4000, n_genes=30, **changes):
    """Cells that differ in nothing but the noise of the counts."""
    plain = {"n_types": 1, "n_batches": 1, "depth_sd": 0.0, "marker_effect": 0.0, "batch_effect": 0.0}
    return simulate(n_cells, n_genes, **{**plain, "with_mean": True, "depth": 200.0, **changes})


def standard_errors(found, expected, variance, n):
    """How far a mean over n cells lies from its expectation."""
    return np.abs(found - expected) / np.sqrt(variance / n)


def test_result_is_whole_counts_with_named_truth():
    data = simulate(60, 40, 3, 2, categorical={"donor": 4}, continuous={"age": 0.2})
    assert sp.isspmatrix_csr(data.X) and data.X.dtype == np.float32 and data.shape == (60, 40)
    assert (data.X.data > 0).all() and (data.X.data == np.rint(data.X.data)).all()
    assert data.X.has_sorted_indices
    assert list(data.obs) == ["cell_type", "batch", "donor", "age", "library", "doublet", "partner_type"]
    assert list(data.var) == ["base", "theta", "dropout", "marker_of"]
    widths = {key: table.shape for key, table in data.varm.items()}
    assert widths == {"cell_type_effect": (40, 3), "batch_effect": (40, 2), "donor_effect": (40, 4),
                      "age_effect": (40, 1)}
    assert list(data.obs["donor"].cat.categories) == list(data.varm["donor_effect"].columns)
    assert data.obs["partner_type"].isna().all() and "mean" not in data.layers


def test_mean_and_variance_are_those_of_the_negative_binomial():
    data = flat(theta=1.7)
    x, mu = data.X.toarray(), data.layers["mean"][0].astype(np.float64)
    variance = mu + mu**2 / 1.7
    assert standard_errors(x.mean(0), mu, variance, len(x)).max() < 4.5
    assert mu.sum() == pytest.approx(200.0, rel=1e-5)
    frequent = mu > 2
    assert frequent.sum() >= 10
    np.testing.assert_allclose(x.var(0)[frequent], variance[frequent], rtol=0.25)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_share_of_zeros(dropout):
    data = flat(theta=0.8, zero_inflation=dropout)
    mu = data.layers["mean"][0] / (1 - dropout)
    zero = dropout + (1 - dropout) * (0.8 / (0.8 + mu)) ** 0.8
    found = (data.X.toarray() == 0).mean(0)
    assert standard_errors(found, zero, zero * (1 - zero), data.n_obs).max() < 4.5


def test_theta_and_dropout_may_differ_by_gene():
    theta = np.linspace(0.5, 5, 30)
    dropout = np.linspace(0, 0.5, 30)
    data = flat(50, theta=theta, zero_inflation=dropout)
    np.testing.assert_array_equal(data.var["theta"], theta)
    np.testing.assert_array_equal(data.var["dropout"], dropout)


def test_library_is_log_normal_and_expected_counts_add_up_to_it():
    data = flat(3000, depth_sd=0.4)
    log = np.log(data.obs["library"])
    assert log.mean() == pytest.approx(np.log(200), abs=4 * 0.4 / np.sqrt(3000))
    assert log.std() == pytest.approx(0.4, rel=0.06)
    np.testing.assert_allclose(data.layers["mean"].sum(1), data.obs["library"], rtol=1e-4)


def test_batches_shift_depth_and_genes_as_the_truth_says():
    data = simulate(6000, 50, 1, 2, depth_sd=0.1, marker_effect=0, batch_effect=0.5, seed=3, theta=50.0)
    log = np.log(data.obs["library"]).groupby(data.obs["batch"], observed=True).mean()
    shift = data.uns["truth"]["batch_shift"]
    assert log.iloc[1] - log.iloc[0] == pytest.approx(shift[1] - shift[0], abs=0.02)
    found, slope = log_ratio(data, "batch", "batch_2", "batch_1"), data.varm["batch_effect"]
    assert np.corrcoef(found, slope["batch_2"] - slope["batch_1"])[0, 1] > 0.99


def log_ratio(data, column, level, base):
    """(g,) log of a gene's share of the counts in one level over another's."""
    share = []
    for name in (level, base):
        total = np.asarray(data.X[(data.obs[column] == name).to_numpy()].sum(0)).ravel()
        share.append(total / total.sum())
    return np.log(share[0]) - np.log(share[1])


def test_categorical_effect_is_found_again():
    data = simulate(6000, 40, 1, 1, marker_effect=0, batch_effect=0, categorical={"site": (3, 0.7)}, theta=20.0)
    truth = data.varm["site_effect"]
    assert (truth["site_1"] == 0).all()
    unmoved = (truth["site_3"] == 0).to_numpy()
    assert 5 < unmoved.sum() < 35
    found = log_ratio(data, "site", "site_3", "site_1")
    np.testing.assert_allclose(found - found[unmoved].mean(), truth["site_3"], atol=0.15)


def test_continuous_slope_is_found_again_by_regression():
    data = simulate(4000, 40, 1, 1, marker_effect=0, batch_effect=0, continuous={"age": 0.5}, theta=20.0,
                    with_mean=True)
    log_mu = np.log(data.layers["mean"])
    unmoved = (data.varm["age_effect"]["slope"] == 0).to_numpy()
    log_ratio_to_unmoved = log_mu - log_mu[:, unmoved].mean(1, keepdims=True)      # cancels depth and softmax
    slope = np.polyfit(data.obs["age"], log_ratio_to_unmoved, 1)[0]
    np.testing.assert_allclose(slope, data.varm["age_effect"]["slope"], atol=1e-3)
    strong = np.argmax(np.where(data.var["base"] > 0, slope, -1))
    old = data.obs["age"].to_numpy() > 0.5
    share = data.X[:, [strong]].toarray().ravel() / data.obs["library"].to_numpy()
    assert slope[strong] > 0.2 and share[old].mean() > share[~old].mean()


def test_markers_are_higher_in_their_type_and_planted_differences_are_elsewhere():
    data = simulate(3000, 200, 4, 1, differential=0.3, batch_effect=0, seed=2)
    effect = data.varm["cell_type_effect"]
    owners = data.var["marker_of"]
    assert owners.value_counts().tolist() == [20] * 4
    for name in effect:
        mine = (owners == name).to_numpy()
        assert effect.loc[mine, name].between(0.75, 2.25).all()
        assert (effect.loc[mine].drop(columns=name) == 0).all(axis=None)
    others = effect[owners.isna()]
    assert 0.15 < (others != 0).any(axis=1).mean() < 0.45
    found = log_ratio(data, "cell_type", "type_2", "type_1")
    assert np.corrcoef(found, effect["type_2"] - effect["type_1"])[0, 1] > 0.95


def test_doublets_are_sums_of_two_cells():
    data = simulate(2000, 100, 3, 2, doublets=0.2, depth_sd=0.1, with_mean=True, batch_effect=0.1)
    doublet = data.obs["doublet"].to_numpy()
    assert doublet.sum() == 400 and (data.obs["partner_type"].notna() == doublet).all()
    total = np.asarray(data.X.sum(1)).ravel()
    np.testing.assert_allclose(data.layers["mean"].sum(1), data.obs["library"], rtol=1e-4)
    assert total[doublet].mean() / total[~doublet].mean() == pytest.approx(2.0, rel=0.05)
    without = simulate(2000, 100, 3, 2, depth_sd=0.1, batch_effect=0.1)
    assert (without.X[~doublet] != data.X[~doublet]).nnz == 0


def test_same_seed_same_data_and_genes_do_not_depend_on_the_number_of_cells():
    design = {"n_genes": 50, "categorical": {"donor": 2}, "continuous": {"age": 0.1}, "doublets": 0.1}
    one, two, other = simulate(100, **design), simulate(100, **design), simulate(100, seed=1, **design)
    assert (one.X != two.X).nnz == 0 and one.obs.equals(two.obs) and one.var.equals(two.var)
    assert (one.X != other.X).nnz > 0
    assert simulate(10, **design).var.equals(one.var)


def test_survives_a_file(tmp_path):
    anndata = pytest.importorskip("anndata")
    data = simulate(40, 20, categorical={"donor": 2}, continuous={"age": 0.1}, doublets=0.1)
    data.write_h5ad(tmp_path / "x.h5ad")
    again = anndata.read_h5ad(tmp_path / "x.h5ad")
    assert (again.X != data.X).nnz == 0
    pd.testing.assert_frame_equal(again.obs, data.obs)
    assert again.uns["truth"]["seed"] == 0 and list(again.uns["truth"]["categorical"]) == ["donor"]


def test_one_cell_one_gene():
    data = simulate(1, 1, 1, 1)
    assert data.shape == (1, 1)


@pytest.mark.parametrize(
    ("changes", "field", "says"),
    [
        ({"n_cells": 0}, "n_cells", "at least 1; found 0"),
        ({"n_genes": 10.5}, "n_genes", "whole number"),
        ({"n_types": True}, "n_types", "whole number"),
        ({"seed": -1}, "seed", "at least 0"),
        ({"depth": 0}, "depth", "> 0"),
        ({"depth": "deep"}, "depth", "found 'deep'"),
        ({"depth_sd": -0.1}, "depth_sd", ">= 0"),
        ({"batch_effect": float("nan")}, "batch_effect", "nan"),
        ({"differential": 1.5}, "differential", "[0, 1]"),
        ({"doublets": 1.0}, "doublets", "[0, 1)"),
        ({"theta": 0.0}, "theta", "> 0"),
        ({"theta": [1.0, 2.0]}, "theta", "2 values for 20 genes"),
        ({"zero_inflation": 1.0}, "zero_inflation", "[0, 1)"),
        ({"categorical": {"donor": 1}}, "categorical", "at least 2 levels"),
        ({"categorical": {"donor": (2, -1.0)}}, "categorical", ">= 0"),
        ({"categorical": {"batch": 2}}, "categorical", "['batch']"),
        ({"categorical": {"a": 2}, "continuous": {"a": 0.1}}, "categorical", "['a']"),
        ({"continuous": {"age": None}}, "continuous", "None"),
    ],
)
def test_bad_arguments(changes, field, says):
    with pytest.raises(SettingError) as error:
        simulate(**{"n_cells": 10, "n_genes": 20, **changes})
    assert error.value.field == field and says in error.value.problem
