"""Mixtures of posteriors: the densities that scipy finds, and samples whose composition is known."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import scipy.special
import scipy.stats
from examples import opened, small_data, trained, untrained

from latome.analysis import density
from latome.analysis.density import aggregated_posterior, differential_abundance
from latome.analysis.latent import latent_moments
from latome.backend import torch
from latome.data.simulate import simulate
from latome.errors import QueryError, SettingError
from latome.modules.scvi import ScviSettings

WIDE = 20                                              # latents: more than are multiplied together


@pytest.fixture(scope="module")
def data():
    return opened()


@pytest.fixture(scope="module")
def fit(data):
    return untrained(data, ScviSettings(12, WIDE))


@pytest.fixture(scope="module")
def samples():
    return np.array(["a", "b", "c"])[np.random.default_rng(0).choice(3, 90, p=[0.5, 0.3, 0.2])]


def pairs(points, mean, variance, dof):
    """(points, cells) log-densities of each cell's posterior, by scipy."""
    p = scipy.stats.norm if dof is None else scipy.stats.t(dof)
    scaled = (points[:, None] - mean) / np.sqrt(variance)
    return (p.logpdf(scaled) - 0.5 * np.log(variance)).sum(2)


def mixture(log_density):
    return scipy.special.logsumexp(log_density, axis=1) - np.log(np.isfinite(log_density).sum(1))


@pytest.mark.parametrize("dof", [3, None, 1.5])
def test_the_aggregated_posterior_is_a_mixture_over_cells(fit, data, dof):
    moments = [value.astype("f8") for value in latent_moments(fit.module, data, indices=np.arange(40))]
    p = aggregated_posterior(fit.module, data, dof=dof, indices=np.arange(40))
    assert p.event_shape == (WIDE,) and p.batch_shape == ()
    points = np.random.default_rng(0).normal(size=(6, WIDE))
    found = p.log_prob(torch.tensor(points, dtype=torch.float32))
    np.testing.assert_allclose(found, mixture(pairs(points, *moments, dof)), rtol=1e-5)
    torch.manual_seed(0)
    drawn = p.sample((4000,)).numpy()
    spread = 1.0 if dof is None else dof / (dof - 2) if dof > 2 else np.inf
    error = np.sqrt((moments[0].var(0) + spread * moments[1].mean(0)) / 4000)
    assert (np.abs(drawn.mean(0) - moments[0].mean(0)) < 5 * error).all()


def test_by_default_the_tails_are_those_of_three_degrees_of_freedom(fit, data):
    far = torch.full((WIDE,), 30.0)
    assert aggregated_posterior(fit.module, data).log_prob(far) == aggregated_posterior(
        fit.module, data, dof=3.0).log_prob(far)


@pytest.mark.parametrize("leave_one_out", [False, True])
@pytest.mark.parametrize("dof", [None, 3])
@pytest.mark.parametrize("tile", [density.TILE, 200, 7])
def test_abundance_is_the_density_under_each_sample(fit, data, samples, dof, tile, leave_one_out, monkeypatch):
    monkeypatch.setattr(density, "TILE", tile)
    found = differential_abundance(fit.module, data, samples, dof=dof, leave_one_out=leave_one_out)
    assert list(found) == ["a", "b", "c"] and list(found.index) == data.cells
    mean, variance = (value.astype("f8") for value in latent_moments(fit.module, data))
    log_density = pairs(mean, mean, variance, dof)
    if leave_one_out:
        np.fill_diagonal(log_density, -np.inf)
    for name in found:
        np.testing.assert_allclose(found[name], mixture(log_density[:, samples == name]), rtol=1e-9, atol=1e-8)


@pytest.mark.parametrize("kernel", ["_normal", "_student"])
def test_the_pairs_of_cells_are_never_held_whole(fit, data, samples, kernel, monkeypatch):
    shapes, inner = [], getattr(density, kernel)
    monkeypatch.setattr(density, "TILE", 100)
    monkeypatch.setattr(density, kernel, lambda *given: shapes.append(inner(*given).shape) or inner(*given))
    differential_abundance(fit.module, data, samples, dof=None if kernel == "_normal" else 3)
    assert max(height * width for height, width in shapes) <= 100
    assert sum(height * width for height, width in shapes) == 90 * 90


def test_drawn_cells_make_the_mixtures(fit, data, samples):
    def ask(seed, n):
        torch.manual_seed(seed)
        return differential_abundance(fit.module, data, samples, num_cells_posterior=n)

    pd.testing.assert_frame_equal(ask(0, 5), ask(0, 5))
    assert (ask(0, 5) - ask(1, 5)).abs().to_numpy().max() > 1e-3
    pd.testing.assert_frame_equal(ask(0, 1000), differential_abundance(fit.module, data, samples))
    mean, variance = (value.astype("f8") for value in latent_moments(fit.module, data))
    log_density, one = pairs(mean, mean, variance, None), ask(0, 1)
    for name in one:                                   # a mixture of one cell is that cell's posterior
        members = np.flatnonzero(samples == name)
        gap = np.abs(log_density[:, members] - one[name].to_numpy()[:, None]).max(0)
        assert gap.min() < 1e-8 < np.sort(gap)[1]


def test_a_change_of_abundance_is_found():
    """A type is three times as abundant after treatment; the cells' log-density ratio tells by how much."""
    adata = simulate(900, 50, 2, 2, depth=1000, marker_effect=2.5, seed=1)
    rng = np.random.default_rng(0)
    first = (adata.obs["cell_type"] == "type_1").to_numpy()
    treated = rng.random(900) < np.where(first, 0.75, 0.4)
    data = opened(adata)
    fit = trained(data, ScviSettings(16, 2), max_epochs=15)
    found = differential_abundance(fit.module, data, np.where(treated, "treated", "control"), leave_one_out=True)
    ratio = (found["treated"] - found["control"]).to_numpy()
    for of_type in (first, ~first):
        truth = np.log(treated[of_type].sum() / treated.sum()) - np.log((~treated)[of_type].sum() / (~treated).sum())
        assert np.median(ratio[of_type]) == pytest.approx(truth, abs=0.25)
    assert np.mean(ratio[first][:, None] > ratio[~first]) > 0.97


def test_a_cell_of_its_own_posterior_alone_looks_abundant():
    """Labels at random: left in, each cell raises the density of its own sample; left out, no cell knows its own."""
    rng = np.random.default_rng(0)
    z, variance = rng.normal(size=(200, 5)).astype("f4"), np.full((200, 5), 0.1, "f4")
    data = dataclasses.replace(opened(small_data(200)), stored={"z": (z, variance)})
    fit, own = untrained(data, ScviSettings(n_latent=5)), rng.random(200) < 0.5
    names = np.where(own, "yes", "no")
    lead = {}
    for leave_one_out in (False, True):
        found = differential_abundance(fit.module, data, names, leave_one_out=leave_one_out)
        lead[leave_one_out] = np.where(own, 1, -1) * (found["yes"] - found["no"])
    assert lead[False].mean() > 1 and (lead[False] > 0).mean() > 0.9
    assert abs(lead[True].mean()) < 4 * lead[True].std() / np.sqrt(200)


def test_columns_follow_the_categories(fit, data, samples):
    ordered = pd.Series(pd.Categorical(samples, categories=["c", "a", "b"]))
    assert list(differential_abundance(fit.module, data, ordered)) == ["c", "a", "b"]
    numbers = differential_abundance(fit.module, data, np.where(samples == "a", 10, 9))
    assert list(numbers) == ["9", "10"]
    rows = np.flatnonzero(samples != "c")
    some = differential_abundance(fit.module, data, samples, indices=rows)
    assert list(some) == ["a", "b"] and list(some.index) == [data.cells[row] for row in rows]
    whole = differential_abundance(fit.module, data, samples)
    np.testing.assert_allclose(some, whole.iloc[rows, :2], rtol=1e-4)


def missing(samples):
    return np.where(np.arange(90) == 5, None, samples)


@pytest.mark.parametrize(("labels", "problem"), [
    (lambda s: s[:80], "80 labels for 90 cells"),
    (missing, "1 of 90 cells have no label"),
    (lambda s: np.where(s == "a", np.nan, 1.0), "cells have no label"),
    (lambda s: ["x"] * 90, "All cells have the same label"),
    (lambda s: pd.Categorical(s, categories=["a", "b", "c", "d"]), "'d' of `samples` has no cells"),
    (lambda s: np.stack([s, s], 1), r"shape \(90, 2\)"),
    (lambda s: "sample", r"shape \(\)"),
])
def test_labels_that_are_refused(fit, data, samples, labels, problem):
    with pytest.raises(QueryError, match=problem) as caught:
        differential_abundance(fit.module, data, labels(samples))
    assert caught.value.field == "samples" and caught.value.hint


def test_a_sample_of_one_cell_cannot_be_left_out(fit, data):
    labels = np.where(np.arange(90) == 0, "alone", "rest")
    assert differential_abundance(fit.module, data, labels).notna().all(axis=None)
    with pytest.raises(QueryError, match="'alone' of `samples` has 1 of the cells; at least 2"):
        differential_abundance(fit.module, data, labels, leave_one_out=True)
    with pytest.raises(QueryError, match="`indices` names cells more than once"):
        differential_abundance(fit.module, data, labels, indices=[0, 1, 1])


@pytest.mark.parametrize("more", [{"dof": 0}, {"dof": "t"}, {"num_cells_posterior": 0}, {"num_cells_posterior": 1.5},
                                  {"leave_one_out": 1}])
def test_arguments_that_are_refused(fit, data, samples, more):
    with pytest.raises(SettingError, match=f"`{next(iter(more))}`"):
        differential_abundance(fit.module, data, samples, **more)
    with pytest.raises(SettingError, match="`dof`"):
        aggregated_posterior(fit.module, data, dof=-1)


def test_a_stored_posterior_is_enough(fit, data, samples):
    """Minified data have no counts; the latents of their cells are known all the same."""
    mean, variance = latent_moments(fit.module, data)
    minified = dataclasses.replace(data, stored={"z": (mean, variance)}, has_counts=False)
    found = differential_abundance(fit.module, minified, samples)
    pd.testing.assert_frame_equal(found, differential_abundance(fit.module, data, samples))
