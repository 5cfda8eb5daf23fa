"""`latome.criticism`: the interface of the papers over the engine's posterior predictive checks."""

import numpy as np
import pandas as pd
import pytest
from examples import random_state, small_data

import latome
from latome.criticism import PosteriorPredictiveCheck
from latome.errors import FieldError, QueryError, SettingError
from latome.model import SCVI


@pytest.fixture(scope="module")
def adata():
    adata = small_data(theta=0.5)
    adata.layers["counts"] = adata.X.copy()
    return adata


@pytest.fixture(scope="module")
def models(adata):
    SCVI.setup_anndata(adata, batch_key="batch")
    made = {name: SCVI(adata, n_hidden=12, n_latent=3, gene_likelihood=name) for name in ("nb", "poisson")}
    for model in made.values():
        model.train(max_epochs=20, accelerator="cpu", batch_size=32)
    return made


@pytest.fixture(scope="module")
def check(adata, models):
    return PosteriorPredictiveCheck(adata, models, n_samples=10)


@pytest.mark.parametrize(("dim", "metric"), [("cells", "cv_gene"), ("features", "cv_cell")])
def test_coefficient_of_variation(check, adata, dim, metric):
    found = check.coefficient_of_variation(dim)
    x = adata.X.toarray().astype("f8")
    axis = 0 if dim == "cells" else 1
    np.testing.assert_allclose(found["Raw"], x.std(axis) / x.mean(axis), rtol=1e-6)
    assert list(found) == ["nb", "poisson", "Raw"] and check.metrics[metric] is found
    assert list(found.index) == list(adata.var_names if dim == "cells" else adata.obs_names)
    assert list(check.summaries[metric]) == ["mae", "mse", "pearson", "spearman", "r2"]
    assert check.summaries[metric].loc["nb", "mae"] < check.summaries[metric].loc["poisson", "mae"]


def test_zero_fraction_counts_zeros(check, adata):
    found = check.zero_fraction()
    np.testing.assert_allclose(found["Raw"], (adata.X.toarray() == 0).mean(0))
    assert check.metrics["zero_fraction"] is found and list(found.index) == list(adata.var_names)
    assert (found["poisson"] - found["Raw"]).mean() < -0.03              # overdispersed counts have more zeros


def test_calibration_of_models_of_any_name(check):
    found = check.calibration_error()
    assert list(found) == ["nb", "poisson"] and found.shape == (1, 2)
    assert found.loc["features", "nb"] < found.loc["features", "poisson"] / 2
    coverage = check.metrics["coverage"]
    assert coverage.index.tolist() == [0.5, 0.8, 0.9, 0.95] and (coverage["poisson"] < coverage.index).all()
    check.calibration_error([0.05, 0.25, 0.95, 0.75])
    assert check.metrics["coverage"].index.tolist() == [0.5, 0.9]


def test_differential_expression(check, adata):
    found = check.differential_expression("cell_type")
    assert list(found) == ["gene_f1", "lfc_mae", "lfc_pearson", "lfc_spearman", "roc_auc", "pr_auc", "group", "model",
                           "n_cells"]
    assert found["model"].tolist() == ["nb"] * 2 + ["poisson"] * 2 and found["n_cells"].sum() == 180
    kept = check.metrics["diff_exp"]
    assert kept["summary"] is found
    changes = kept["lfc_per_model_per_group"]["nb"]["type_1"]
    assert list(changes) == ["raw", "pred"] and set(changes.index) == set(adata.var_names)
    assert found["lfc_pearson"].iloc[0] == pytest.approx(changes["raw"].corr(changes["pred"]))
    x = adata.X.toarray() / adata.X.sum(1) * 1e4
    x = np.asarray(x)
    mine = (adata.obs["cell_type"] == "type_1").to_numpy()
    np.testing.assert_allclose(changes["raw"].loc[adata.var_names],
                               np.log2((x[mine].mean(0) + 1) / (x[~mine].mean(0) + 1)), atol=1e-4)
    assert len(check.differential_expression("cell_type", de_method="wilcoxon", n_samples=2)) == 4


def test_numbers_start_from_the_seed_and_leave_the_callers_alone(adata, models):
    before = random_state()
    first, second = (PosteriorPredictiveCheck(adata, models, n_samples=2).zero_fraction() for _ in range(2))
    pd.testing.assert_frame_equal(first, second)
    assert all(np.array_equal(a, b) for a, b in zip(before, random_state(), strict=True))
    assert set(adata.obs) == set(small_data().obs) and not adata.obsm


def test_another_layer_and_some_cells(adata, models):
    doubled = adata.copy()
    doubled.layers["twice"] = doubled.X * 2
    rows = [5, 80, 3]
    found = PosteriorPredictiveCheck(doubled, models, "twice", n_samples=1, indices=rows).coefficient_of_variation(
        "features")
    assert list(found.index) == [adata.obs_names[row] for row in rows]
    zeros = PosteriorPredictiveCheck(doubled, models, n_samples=1, indices=rows).zero_fraction()
    np.testing.assert_allclose(zeros["Raw"], (adata.X[rows].toarray() == 0).mean(0))


def test_the_root_knows_it():
    assert latome.criticism.PosteriorPredictiveCheck is PosteriorPredictiveCheck


def test_what_is_refused(adata, models):
    for given, problem in (({}, "names no models"), ([1], "names no models"), ({"a": 1}, "'a' is of type int"),
                           ({"Raw": models["nb"]}, "cannot be called 'Raw'")):
        with pytest.raises(SettingError, match=problem):
            PosteriorPredictiveCheck(adata, given)
    other = adata[:, :20].copy()
    SCVI.setup_anndata(other, batch_key="batch")
    with pytest.raises(SettingError, match="different genes"):
        PosteriorPredictiveCheck(adata, models | {"few": SCVI(other)})
    with pytest.raises(FieldError, match="no layer 'raw'"):
        PosteriorPredictiveCheck(adata, models, "raw")
    with pytest.raises(SettingError, match="`n_samples`"):
        PosteriorPredictiveCheck(adata, models, n_samples=0)
    check = PosteriorPredictiveCheck(adata, models)
    with pytest.raises(SettingError, match="`dim`"):
        check.coefficient_of_variation("genes")
    for column in (None, "leiden"):
        with pytest.raises(QueryError, match="no column"):
            check.differential_expression(column)
    for intervals in ([], [0.9], [0.1, 0.2], 0.5, [0.5, 0.5], ["low", "high"], [0, 1]):
        with pytest.raises(SettingError, match=r"confidence_intervals|ends of central intervals|levels"):
            check.calibration_error(intervals)
