"""Importance weights: a brute-force sum in float64, an integral that a grid can take, and work that ends."""

import warnings

import numpy as np
import pytest
from examples import opened, small_data, untrained
from questions import certain, spied

from latome.analysis import importance
from latome.analysis.draws import encoded
from latome.analysis.expression import normalized_expression
from latome.analysis.importance import ImportanceOptions, effective_size, importance_weights
from latome.analysis.importance import weighted_draws as draws_by_weight
from latome.analysis.likelihood import marginal_likelihood
from latome.backend import torch
from latome.data.minibatches import Minibatches
from latome.data.minified import minify
from latome.data.registry import open_data
from latome.errors import QueryError
from latome.modules.scvi import ScviSettings

OPTIONS = ImportanceOptions(n_mc_samples=50)


def double_cells(data, rows):
    """A minibatch in float64."""
    cells = next(iter(Minibatches(data, rows, len(rows))))
    return {name: value.double() if name == "x" or value.is_floating_point() else value
            for name, value in cells.items()}


@torch.no_grad()
def brute_force(module, data, anchors, posterior, normal, evidence):
    """The weights of the file's first equation, one draw and one anchor at a time, in float64.

    The evidence of an anchor is that given, or the mean over the pool where that is larger.
    """
    module.double()
    cells = double_cells(data, anchors)
    x = cells["x"].dense()
    n_draws = len(next(iter(normal.values())))
    joint, proposal = np.empty((n_draws, len(anchors))), np.empty((n_draws, 1))
    for s in range(n_draws):
        z = {name: value[s].double().expand(len(anchors), -1) for name, value in normal.items()}
        generated = module.generative({name: q.transform(z[name]) for name, q in posterior.items()}, cells)
        log_p = generated.likelihood["x"].elementwise_log_prob(x).sum(-1)
        log_p = log_p + sum(generated.prior[name].log_prob(value) for name, value in z.items())
        joint[s] = log_p.numpy()
        log_q = 0
        for name, q in posterior.items():
            mean, sd = q.mean.double(), q.variance.double().sqrt()
            log_q = log_q + torch.distributions.Normal(mean, sd).log_prob(z[name]).sum(-1)
        proposal[s] = np.logaddexp.reduce(log_q.numpy()) - np.log(len(anchors))
    module.float()
    pooled = np.logaddexp.reduce(joint - proposal, axis=0) - np.log(n_draws)
    log_weights = np.logaddexp.reduce(joint - proposal - np.maximum(pooled, evidence), axis=1)
    weights = np.exp(log_weights - log_weights.max())
    return weights / weights.sum(), pooled


SETTINGS = {
    "zinb": ({}, {}), "nb": ({"gene_likelihood": "nb"}, {}), "poisson": ({"gene_likelihood": "poisson"}, {}),
    "normal": ({"gene_likelihood": "normal"}, {}),
    "gene-batch": ({"dispersion": "gene-batch", "gene_likelihood": "nb"}, {}),
    "gene-label": ({"dispersion": "gene-label"}, {"labels": "cell_type"}),
    "gene-cell": ({"dispersion": "gene-cell"}, {}),
    "logistic-normal": ({"latent_distribution": "ln", "gene_likelihood": "nb"}, {}),
    "latent library": ({"use_observed_lib_size": False}, {}),
    "size factor": ({}, {"size_factor": "size"}),
    "covariates": ({"encode_covariates": True}, {"categorical": ("kit",), "continuous": ("age",)}),
    "embedding": ({"batch_representation": "embedding"}, {}),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_brute_force_says_the_same(name, monkeypatch):
    settings, columns = SETTINGS[name]
    adata = small_data(40)
    adata.obs["size"] = np.random.default_rng(0).gamma(4, 0.25, 40)
    data = opened(adata, **columns)
    module = untrained(data, ScviSettings(8, 2, **settings)).module
    module.decoder.logits.weight.data.mul_(2)          # so that z matters
    if name == "latent library":
        module.library_encoder.mean.bias.data.fill_(5)  # somewhere near, so that more than one draw counts
    if name == "normal":
        module.log_theta.data.fill_(2)
    anchors = np.array([3, 8, 11, 20, 21, 22, 39])
    if name in ("zinb", "poisson"):                    # enough cells of one kind for their libraries to be interpolated
        anchors = np.arange(40)
    evidence = np.full(len(anchors), -100.0)
    monkeypatch.setattr(importance, "marginal_likelihood", lambda module, data, **asked: evidence)
    torch.manual_seed(0)
    posterior = encoded(module, data, anchors, 128)
    normal = {key: q.rsample_normal((3,)).flatten(0, 1) for key, q in posterior.items()}
    _, pooled = brute_force(module, data, anchors, posterior, normal, evidence)
    evidence[:] = pooled + np.linspace(-3, 3, len(anchors))             # so that either estimate is the larger
    steps = []
    found = importance_weights(module, data, anchors, posterior, normal, OPTIONS, lambda *step: steps.append(step))
    expected, _ = brute_force(module, data, anchors, posterior, normal, evidence)
    assert found.dtype == np.float64 and found.sum() == pytest.approx(1)
    kept = expected > 1e-12
    np.testing.assert_allclose(np.log(found[kept]), np.log(expected[kept]), atol=0.02)
    assert (found[~kept] < 2e-12).all()
    assert np.ptp(np.log(expected[kept])) > 1          # weights that are all alike would prove nothing
    n_groups = len({(*row, label) for row, label in zip(data.categories[anchors].tolist(),
                                                        data.codes["labels"][anchors])})
    assert steps == [(i, len(steps)) for i in range(1, len(steps) + 1)]
    assert len(steps) == (len(anchors) if columns.get("continuous") else n_groups)
    truncated = importance_weights(module, data, anchors, posterior, normal,
                                   ImportanceOptions(truncation=True))
    cut = np.minimum(expected, len(expected) ** -0.5)
    np.testing.assert_allclose(truncated, cut / cut.sum(), rtol=0.03)


def test_weighted_draws_are_of_the_posterior_whatever_the_encoder():
    """With one latent p(z | x) is known on a grid; the encoder is untrained, so its own draws are far from it."""
    data, rows = opened(small_data(12)), np.arange(12)
    module = untrained(data, ScviSettings(12, 1, gene_likelihood="nb", use_batch_norm="none"), seed=2).module
    grid, rho, log_joint = torch.linspace(-7, 7, 701, dtype=torch.float64), [], []
    with torch.no_grad():
        module.decoder.logits.weight.mul_(3)           # so that z matters
        cells = double_cells(data, rows)
        module.double()
        for value in grid:
            counts = module.generative({"z": value.expand(12, 1)}, cells).likelihood["x"]
            rho.append(counts.rho)
            log_joint.append(counts.elementwise_log_prob(cells["x"].dense()).sum(-1) - value**2 / 2)
        module.float()
    density = torch.stack(log_joint).softmax(0).mean(1)                 # (grid,), the mean of the cells' posteriors
    options, effective = {"n_mc_samples": 1000}, 600   # of 3000 draws, picked with replacement by unequal weights
    torch.manual_seed(0)
    _, latents = draws_by_weight(module, data, rows, 3000, ImportanceOptions(**options), 128)
    z = latents["z"].numpy().ravel()
    truth = float(density @ grid)
    assert abs(z.mean() - truth) < 4 * z.std() / np.sqrt(effective)
    assert abs((z**2).mean() - float(density @ grid**2)) < 4 * (z**2).std() / np.sqrt(effective)
    assert abs(float(encoded(module, data, rows, 128)["z"].mean.mean()) - truth) > 8 * z.std() / np.sqrt(effective)
    for code, name in enumerate(data.registry.batch_categories):
        values = normalized_expression(module, data, n_samples_overall=3000, weights="importance", transform_batch=name,
                                       importance=options)
        of_batch = torch.stack(rho)[:, np.flatnonzero(data.codes["batch"] == code)[0]]      # (grid, genes)
        error = values.std(0) / np.sqrt(effective)
        assert values.shape == (3000, 30) and (np.abs(values.mean(0) - (density @ of_batch).numpy()) < 5 * error).all()


def test_more_cells_than_are_wanted_are_stood_for_by_some(monkeypatch):
    fit, data = certain(ScviSettings(12, 3), 1e-4)
    asked = []
    monkeypatch.setattr(importance, "marginal_likelihood",
                        lambda module, data, *, indices, **more: asked.append(indices) or np.zeros(len(indices)))
    rows = np.array([19, 2, 3, 5, 7, 11])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found, latents = draws_by_weight(fit.module, data, rows, 50, ImportanceOptions(max_cells=4), 128)
    assert len(asked[0]) == 4 == len(set(asked[0])) and set(found) <= set(asked[0]) <= set(rows)
    assert latents["z"].shape == (50, 3)
    stored = data.stored["z"][0]
    np.testing.assert_allclose(latents["z"].numpy(), stored[found], atol=0.06)              # draws of their own cells


# -- work that ends ----------------------------------------------------------------------------------------------------

def test_a_draw_is_decoded_once_for_cells_that_share_covariates(monkeypatch):
    """Not once for each pair of draw and cell, which would be 200 times as often."""
    data = opened(small_data(200))
    module = untrained(data).module
    monkeypatch.setattr(importance, "marginal_likelihood",
                        lambda module, data, *, indices, **more: np.zeros(len(indices)))
    posterior = encoded(module, data, np.arange(200), 128)
    normal = {name: q.rsample_normal((2,)).flatten(0, 1) for name, q in posterior.items()}
    shapes = spied(monkeypatch, module)
    importance_weights(module, data, np.arange(200), posterior, normal, OPTIONS)
    assert sum(np.prod(shape[:-1]) for shape in shapes) == 2 * 400 + 200                    # 2 batches; the libraries


def test_no_anchor_counts_for_more_than_it_is_due(monkeypatch):
    """Evidence that is far too low would let the draws that explain one anchor take all the weight."""
    fit, data = certain(ScviSettings(12, 3, gene_likelihood="nb"), 0.5)
    module, rows = fit.module, np.arange(20)
    module.decoder.logits.weight.data.mul_(3)
    posterior = encoded(module, data, rows, 128)
    torch.manual_seed(0)
    normal = {name: q.rsample_normal((10,)).flatten(0, 1) for name, q in posterior.items()}
    found = []
    for lower in (0, 200):
        def evidence(module, data, *, lower=lower, **asked):
            known = marginal_likelihood(module, data, n_mc_samples=200, return_mean=False)
            known[4] -= lower
            return known

        monkeypatch.setattr(importance, "marginal_likelihood", evidence)
        found.append(importance_weights(module, data, rows, posterior, normal, OPTIONS))
    assert np.abs(found[0] - found[1]).sum() < 4 / 20   # what one of twenty anchors can move, and then some


# -- warnings and refusals ---------------------------------------------------------------------------------------------

def test_the_effective_size():
    assert effective_size(np.full(8, 1 / 8)) == pytest.approx(8)
    assert effective_size(np.array([0.5, 0.5, 0, 0])) == pytest.approx(2)


def test_weights_that_leave_next_to_nothing_are_told(monkeypatch):
    fit, data = certain(ScviSettings(12, 3), 1.0)
    for weights, told in ((np.eye(1, 40)[0], True), (np.full(40, 1 / 40), False)):
        monkeypatch.setattr(importance, "importance_weights", lambda *asked, weights=weights: weights)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            draws_by_weight(fit.module, data, np.arange(20), 30, OPTIONS, 128)
        assert [("counts as 1.0 draws" in str(one.message)) for one in caught] == [True] * told


def test_minified_data_need_their_counts():
    adata = small_data(20)
    data = opened(adata)
    fit = untrained(data)
    kept = minify(adata, np.zeros((20, 3)), np.ones((20, 3)), data.totals)
    data = open_data(kept, registry=fit.registry)
    with pytest.raises(QueryError, match="needs counts"):
        normalized_expression(fit.module, data, n_samples_overall=5, weights="importance")
    assert normalized_expression(fit.module, data, n_samples_overall=5).shape == (5, 30)


def test_uniform_weights_are_no_weights():
    fit, data = certain(ScviSettings(12, 3), 0.5)
    found = []
    for weights in (None, "uniform"):
        torch.manual_seed(0)
        found.append(normalized_expression(fit.module, data, n_samples_overall=30, weights=weights))
    np.testing.assert_array_equal(*found)
