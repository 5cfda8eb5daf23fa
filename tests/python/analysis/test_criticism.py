"""Posterior predictive checks: the statistics numpy finds, replicates of known law, true models and wrong ones."""

import dataclasses
import weakref

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from examples import opened, small_data, trained, untrained

from latome.analysis import criticism
from latome.analysis.criticism import (
    agreement,
    calibration_error,
    coefficient_of_variation,
    side_by_side,
    zero_fraction,
)
from latome.backend import torch
from latome.data.registry import open_data
from latome.data.simulate import simulate
from latome.distributions import DiagonalNormal, NegativeBinomial, Poisson
from latome.errors import QueryError, SettingError
from latome.modules.scvi import ScviSettings
from latome.protocol import Generated, Module

CHECKS = (coefficient_of_variation, zero_fraction, calibration_error)


class Known(Module):
    """Counts of a law that no latent enters: negative binomial, or Poisson, of mean mu_g."""

    def __init__(self, mu, theta=None):
        super().__init__()
        self.log_mu, self.theta = torch.tensor(mu, dtype=torch.float32).log(), theta

    def inference(self, cells):
        zero = torch.zeros(len(cells["index"]), 1)
        return {"z": DiagonalNormal(zero, zero + 1)}

    def generative(self, latents, cells):
        log_mean = self.log_mu.expand(len(cells["index"]), -1)
        if self.theta is None:
            return Generated({"x": Poisson(log_mean=log_mean)})
        log_theta = torch.tensor(float(self.theta)).log().expand(len(self.log_mu))
        return Generated({"x": NegativeBinomial(log_mean=log_mean, log_theta=log_theta)})


MU, THETA = np.array([0.3, 0.8, 2.0, 5.0, 12.0, 40.0]), 2.0


@pytest.fixture(scope="module")
def counts():
    """1500 cells of `Known(MU, THETA)`."""
    rng = np.random.default_rng(0)
    x = rng.poisson(rng.gamma(THETA, MU / THETA, size=(1500, 6)))
    adata = small_data(1500, 6)
    adata.X = x.astype(np.float32)
    return open_data(adata)


@pytest.fixture(scope="module")
def data():
    return opened()


@pytest.fixture(scope="module")
def fit(data):
    return trained(data)


@pytest.mark.parametrize("batch_size", [None, 7, 40])
@pytest.mark.parametrize("dim", ["cells", "features"])
@pytest.mark.parametrize(("check", "statistic"), [
    (coefficient_of_variation, lambda x, axis: x.std(axis) / x.mean(axis)),
    (zero_fraction, lambda x, axis: (x == 0).mean(axis)),
], ids=["variation", "zeros"])
def test_the_counts_themselves(fit, data, check, statistic, dim, batch_size):
    rows = np.arange(80, 10, -1)
    found = check(fit.module, data, dim=dim, n_samples=2, indices=rows, batch_size=batch_size)
    x = data.source.csr[rows].toarray().astype("f8")
    np.testing.assert_allclose(found["raw"], statistic(x, 0 if dim == "cells" else 1), rtol=1e-6)
    assert list(found) == ["raw", "mean", "sd"] and found.notna().all(axis=None)
    names = list(data.registry.genes) if dim == "cells" else [data.cells[row] for row in rows]
    assert list(found.index) == names and found.index.name == ("gene" if dim == "cells" else "cell")


def test_replicates_vary_as_their_law_says(counts):
    torch.manual_seed(0)
    n, s = 1500, 60
    zeros = zero_fraction(Known(MU, THETA), counts, n_samples=s)
    p = (THETA / (THETA + MU)) ** THETA
    sd = np.sqrt(p * (1 - p) / n)
    np.testing.assert_array_less(np.abs(zeros["mean"] - p), 4.5 * sd / np.sqrt(s) + 1e-12)
    np.testing.assert_allclose(zeros["sd"], sd, rtol=0.4)
    np.testing.assert_array_less(np.abs(zeros["raw"] - p), 4.5 * sd + 1e-12)
    variation = coefficient_of_variation(Known(MU, THETA), counts, n_samples=s)
    np.testing.assert_allclose(variation["mean"], np.sqrt(1 / MU + 1 / THETA), rtol=0.02)
    poisson = coefficient_of_variation(Known(MU), counts, n_samples=s)
    np.testing.assert_allclose(poisson["mean"], np.sqrt(1 / MU), rtol=0.02)


def test_of_each_cell_over_its_genes(counts):
    torch.manual_seed(0)
    found = zero_fraction(Known(MU, THETA), counts, dim="features", n_samples=200, indices=range(100))
    p = (THETA / (THETA + MU)) ** THETA
    np.testing.assert_allclose(found["mean"], p.mean(), atol=4.5 * np.sqrt((p * (1 - p)).sum()) / 6 / np.sqrt(200))


def silenced(data, gene):
    x = data.source.csr.toarray()
    x[:, gene] = 0
    adata = small_data(len(x), x.shape[1])
    adata.X = x
    return open_data(adata).source


def test_a_gene_without_counts_has_no_variation(counts):
    silent = dataclasses.replace(counts, source=silenced(counts, 0))
    found = coefficient_of_variation(Known(MU, THETA), silent, n_samples=1)
    assert np.isnan(found["raw"].iloc[0]) and found["raw"].iloc[1:].notna().all()
    assert found["mean"].notna().all() and found["sd"].isna().all()                         # one replicate has no sd
    assert np.isfinite(list(agreement(found).values())).all()


# calibration -------------------------------------------------------------------------------------------------
LEVELS = [0.1, 0.5, 0.8, 0.9, 0.95]


@pytest.mark.parametrize("n_samples", [1, 10, 60])
def test_a_true_model_covers_what_it_should_whatever_the_number_of_replicates(counts, n_samples):
    torch.manual_seed(1)
    found = calibration_error(Known(MU, THETA), counts, levels=LEVELS, n_samples=n_samples)
    assert list(found) == ["gene", "level", "coverage", "error"] and len(found) == 6 * len(LEVELS)
    error = np.sqrt(found["level"] * (1 - found["level"]) / 1500)
    assert (found["error"].abs() < 4 * error).all()
    np.testing.assert_allclose(found["error"], found["coverage"] - found["level"])


def test_coverage_of_each_cell(counts):
    torch.manual_seed(0)
    found = calibration_error(Known(MU, THETA), counts, dim="features", levels=0.5, n_samples=20)
    assert list(found["cell"]) == counts.cells and set(found["coverage"].mul(6).round(6)) <= set(range(7))
    assert found["coverage"].mean() == pytest.approx(0.5, abs=4 * np.sqrt(0.25 / 9000))


def test_predictions_too_narrow_or_too_wide_are_seen(counts):
    torch.manual_seed(0)
    narrow = calibration_error(Known(MU), counts).groupby("level")["error"].mean()
    assert narrow.index.tolist() == [0.5, 0.8, 0.9, 0.95] and (narrow < -0.1).all()
    wide = calibration_error(Known(MU, 0.3), counts).groupby("level")["error"].mean()
    assert wide.iloc[0] > 0.04 and (wide > 0).all()


@pytest.mark.parametrize(("theta", "model"), [
    (None, scipy.stats.poisson(MU)), (0.3, scipy.stats.nbinom(0.3, 0.3 / (0.3 + MU))),
], ids=["poisson", "wide"])
def test_a_wrong_model_covers_as_its_law_says(counts, theta, model):
    """P(|2u - 1| <= l) of a count of another law, summed over the counts."""
    torch.manual_seed(0)
    found = calibration_error(Known(MU, theta), counts, levels=[0.5, 0.9], n_samples=300).pivot(
        index="gene", columns="level", values="coverage").loc[list(counts.registry.genes)]
    k = np.arange(2000)[:, None]
    truth = scipy.stats.nbinom(THETA, THETA / (THETA + MU))
    low, high = model.cdf(k - 1), model.cdf(k)                          # u is uniform between them
    for level in (0.5, 0.9):
        a, b = (1 - level) / 2, (1 + level) / 2
        share = (np.minimum(high, b) - np.maximum(low, a)).clip(0) / np.maximum(high - low, 1e-300)
        share = np.where(high - low < 1e-12, (low > a) & (high < b), share)
        expected = (truth.pmf(k) * share).sum(0)
        np.testing.assert_allclose(found[level], expected, atol=4.5 * np.sqrt(0.25 / 1500) + 0.005)


def test_a_fitted_model_is_calibrated_on_what_it_generates_and_a_poisson_on_nothing_like_it():
    adata = simulate(600, 120, 2, 2, depth=1500, theta=0.7, seed=2)
    source = opened(adata)
    fit = trained(source, ScviSettings(16, 2, gene_likelihood="nb"), max_epochs=15)
    again = adata.copy()
    again.X = generated(fit, source)
    data = open_data(again, registry=fit.registry)
    torch.manual_seed(0)
    found = calibration_error(fit.module, data, levels=LEVELS).groupby("level")["error"].mean()
    assert found.abs().max() < 0.02
    poisson = trained(data, ScviSettings(16, 2, gene_likelihood="poisson"), max_epochs=15)
    wrong = calibration_error(poisson.module, data, levels=LEVELS).groupby("level")["error"].mean()
    assert (wrong.loc[0.5:] < -0.1).all()
    cv = {name: agreement(coefficient_of_variation(module, data, n_samples=3))
          for name, module in {"nb": fit.module, "poisson": poisson.module}.items()}
    assert cv["nb"]["mae"] < 0.3 * cv["poisson"]["mae"]


def generated(fit, data):
    """Counts (n, g) drawn from a fitted module, of latents drawn from the posteriors of cells."""
    torch.manual_seed(5)
    drawn = []
    criticism.sweep(fit.module, data, lambda cells: drawn.append(
        criticism.replicate(fit.module, fit.module.posterior(cells), cells)) or {"index": cells["index"]})
    return torch.cat(drawn).numpy()


# memory, randomness ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("check", CHECKS)
def test_one_replicate_of_one_minibatch_is_in_memory(fit, data, check, monkeypatch):
    alive, most, inner = weakref.WeakSet(), [], criticism.replicate

    def watched(*given):
        drawn = inner(*given)
        assert drawn.shape[0] <= 12
        alive.add(drawn)
        most.append(len(alive))
        return drawn

    monkeypatch.setattr(criticism, "replicate", watched)
    check(fit.module, data, n_samples=9, batch_size=10)
    assert len(most) == 81 and max(most) <= 2


@pytest.mark.parametrize("check", CHECKS)
def test_the_same_random_numbers_give_the_same_table(fit, data, check):
    def ask(seed):
        torch.manual_seed(seed)
        return check(fit.module, data, n_samples=3)

    pd.testing.assert_frame_equal(ask(0), ask(0))
    assert not ask(0).equals(ask(1))


@pytest.mark.parametrize("likelihood", ["poisson", "normal"])
@pytest.mark.parametrize("check", CHECKS)
def test_every_likelihood_can_be_checked(data, check, likelihood):
    module = untrained(data, ScviSettings(12, 3, gene_likelihood=likelihood)).module
    assert len(check(module, data, n_samples=2)) in (30, 120)


# summaries ---------------------------------------------------------------------------------------------------
def test_agreement():
    raw, mean = np.array([1.0, 2, 4, 8, 3]), np.array([1.5, 1, 5, 6, 3])
    table = pd.DataFrame({"raw": [*raw, np.nan, 1], "mean": [*mean, 1, np.nan]})
    found = agreement(table)
    assert found["mae"] == pytest.approx(0.9) and found["mse"] == pytest.approx(6.25 / 5)
    assert found["pearson"] == pytest.approx(scipy.stats.pearsonr(raw, mean)[0])
    assert found["spearman"] == pytest.approx(scipy.stats.spearmanr(raw, mean)[0])
    assert found["r2"] == pytest.approx(1 - 6.25 / np.square(raw - raw.mean()).sum())
    assert np.isnan(list(agreement(table.iloc[5:]).values())).all()
    constant = agreement(pd.DataFrame({"raw": [1.0, 1, 1], "mean": [1.0, 2, 3]}))
    assert np.isnan([constant["pearson"], constant["spearman"], constant["r2"]]).all() and constant["mae"] == 1


def test_models_side_by_side():
    a = pd.DataFrame({"raw": [1.0, 2, 3], "mean": [1.0, 2, 4], "sd": 0.1}, index=["x", "y", "z"])
    b = pd.DataFrame({"raw": [3.0, 1, 2], "mean": [7.0, 5, 6], "sd": 0.1}, index=["z", "x", "y"])
    values, summary = side_by_side({"first": a, "second": b})
    assert values.to_dict("list") == {"first": [1, 2, 4], "second": [5, 6, 7], "Raw": [1, 2, 3]}
    assert list(summary.index) == ["first", "second"] and summary.loc["second", "mae"] == 4
    with pytest.raises(QueryError, match="'second' is about other genes"):
        side_by_side({"first": a, "second": b.iloc[1:]})
    with pytest.raises(QueryError, match="'second' is about other counts"):
        side_by_side({"first": a, "second": b.assign(raw=0.0)})


# what is refused ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("more", "problem"), [
    ({"dim": "genes"}, "`dim` cannot be 'genes'"), ({"n_samples": 0}, "`n_samples` cannot be 0"),
    ({"n_samples": 2.5}, "`n_samples` must be a whole number"),
])
@pytest.mark.parametrize("check", CHECKS)
def test_arguments_that_are_refused(fit, data, check, more, problem):
    with pytest.raises(SettingError, match=problem):
        check(fit.module, data, **more)


@pytest.mark.parametrize("levels", [[], [0.5, 1.0], 0, "half", [None]])
def test_levels_that_are_refused(fit, data, levels):
    with pytest.raises(SettingError, match="`levels`"):
        calibration_error(fit.module, data, levels=levels)


@pytest.mark.parametrize("check", CHECKS)
def test_without_counts_there_is_nothing_to_check(fit, data, check):
    with pytest.raises(QueryError, match="posterior predictive check needs counts"):
        check(fit.module, dataclasses.replace(data, has_counts=False))
    with pytest.raises(QueryError, match="outside 0 to 89"):
        check(fit.module, data, indices=[90])
    with pytest.raises(QueryError, match="No cells are left"):
        check(fit.module, data, indices=[])
