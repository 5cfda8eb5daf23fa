"""What a model predicts: draws with the moments of their distribution, its parameters, correlations between genes."""

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.stats
from examples import opened, small_data, trained, untrained
from questions import certain, close, reference, spied

from latome.analysis import draws, results
from latome.analysis.correlation import Pearson, Spearman
from latome.analysis.expression import normalized_expression
from latome.analysis.latent import latent_moments
from latome.analysis.predictive import (
    feature_correlation,
    latent_library_size,
    likelihood_parameters,
    posterior_predictive,
)
from latome.backend import torch
from latome.errors import LatomeError, QueryError
from latome.modules.scvi import ScviSettings

LIKELIHOODS = ["zinb", "nb", "poisson", "normal"]
CASES = ["scvi_zinb", "scvi_covariates", "scvi_embedding", "scvi_size_factor", "scvi_normal", "scvi_minified"]


@pytest.fixture(scope="module")
def data():
    return opened()


@pytest.fixture(scope="module")
def fit(data):
    return trained(data)


def seeded(verb, fit, data, seed=0, **more):
    torch.manual_seed(seed)
    return verb(fit.module, data, **more)


# -- counts ------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_counts_have_the_moments_of_their_distribution(likelihood):
    """z is certain, so that mean, variance and share of zeros are known in closed form."""
    fit, data = certain(ScviSettings(12, 3, gene_likelihood=likelihood), n_cells=6)
    if likelihood == "normal":
        fit.module.log_theta.data.mul_(0.5)
    n = 6000
    found = seeded(posterior_predictive, fit, data, n_samples=n)
    assert found.shape == (6, 30, n) and found.dtype == np.float32
    known = {name: values.astype("f8") for name, values in seeded(likelihood_parameters, fit, data).items()}
    mu, kept = known["mean"], 1 - known.get("dropout", np.zeros((6, 30)))
    within = {"poisson": mu, "normal": known.get("sd", mu)**2}.get(likelihood)
    within = mu + mu**2 / known["dispersions"] if within is None else within
    mean, variance = kept * mu, kept * within + kept * (1 - kept) * mu**2
    drawn = found.astype("f8")
    assert (np.abs(drawn.mean(2) - mean) < 5 * np.sqrt(variance / n)).all()
    fourth = ((drawn - drawn.mean(2, keepdims=True)) ** 4).mean(2)
    error = np.sqrt(np.maximum(fourth - variance**2, 0) / n)
    z = (drawn.var(2) - variance) / error
    assert np.abs(np.median(z)) < 0.5 and (np.abs(z) < 8).all()         # heavy tails: the error is itself uncertain
    if likelihood == "normal":
        return
    np.testing.assert_array_equal(found, np.rint(found))
    zero = np.exp(-mu)
    if likelihood != "poisson":
        zero = scipy.stats.nbinom.pmf(0, known["dispersions"], known["dispersions"] / (known["dispersions"] + mu))
    zero = 1 - kept + kept * zero
    assert (np.abs((drawn == 0).mean(2) - zero) < 5 * np.sqrt(zero * (1 - zero) / n) + 1e-9).all()


def test_one_sample_is_a_sparse_matrix(fit, data):
    found = seeded(posterior_predictive, fit, data)
    assert sp.issparse(found) and found.format == "csr" and found.shape == (90, 30) and found.dtype == np.float32
    assert found.has_canonical_format and found.data.min() >= 1 and (found.data == np.rint(found.data)).all()
    assert found.nnz < 90 * 30
    again = seeded(posterior_predictive, fit, data)
    np.testing.assert_array_equal(found.toarray(), again.toarray())
    assert (found != seeded(posterior_predictive, fit, data, 1)).nnz > 0
    blocks = seeded(posterior_predictive, fit, data, batch_size=20)
    assert blocks.shape == (90, 30) and blocks.sum() == pytest.approx(found.sum(), rel=0.1)
    some = seeded(posterior_predictive, fit, data, genes=data.registry.genes[3:5], indices=[7, 7, 1])
    assert some.shape == (3, 2)


def test_genes_and_batches_of_counts():
    """Means of many draws are those of normalised expression, under the batch asked for."""
    fit, data = certain(ScviSettings(12, 3, gene_likelihood="poisson"), n_cells=6)
    genes, batch = list(data.registry.genes[20:3:-5]), data.registry.batch_categories[1]
    of_means = {"genes": genes, "library_size": "latent", "draw": "mean"}
    mean = normalized_expression(fit.module, data, transform_batch=batch, **of_means)
    found = seeded(posterior_predictive, fit, data, genes=genes, transform_batch=batch, n_samples=3000, batch_size=4)
    assert found.shape == (6, 4, 3000)
    assert (np.abs(found.mean(2) - mean) < 5 * np.sqrt(mean / 3000)).all()
    own = normalized_expression(fit.module, data, **of_means)
    assert (np.abs(found.mean(2) - own) > 5 * np.sqrt(mean / 3000)).any()


def test_cells_vary_as_their_posterior_does(monkeypatch):
    """A wide posterior adds the variance of the mean: z is drawn anew for each sample, in whatever tiles."""
    monkeypatch.setattr(draws, "ELEMENTS", 4000)
    fit, data = certain(ScviSettings(12, 3, gene_likelihood="poisson"), 1.0, n_cells=6)
    fit.module.decoder.logits.weight.data.mul_(4)
    shapes = spied(monkeypatch, fit.module)
    found = seeded(posterior_predictive, fit, data, n_samples=4000).astype("f8")
    assert max(np.prod(shape) for shape in shapes) <= 4000
    mean = seeded(likelihood_parameters, fit, data, 1, n_samples=4000)["mean"].astype("f8")               # (s, n, g)
    expected = mean.var(0) + mean.mean(0)
    np.testing.assert_allclose(found.var(2).sum(1), expected.sum(1), rtol=0.1)
    assert (mean.var(0).sum(1) > 0.5 * mean.mean(0).sum(1)).all()


def test_counts_of_several_batches_are_no_counts(fit, data):
    names = data.registry.batch_categories
    assert posterior_predictive(fit.module, data, transform_batch=names[:1]).shape == (90, 30)
    with pytest.raises(QueryError, match="one batch") as caught:
        posterior_predictive(fit.module, data, transform_batch=names)
    assert caught.value.field == "transform_batch"


# -- parameters --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("case", CASES)
def test_parameters_are_what_scvi_tools_says(case):
    fit, data, expected = reference(case)
    found = likelihood_parameters(fit.module, data, draw="mean")
    close(found["mean"], expected["px_rate"])
    close(found["sd" if "px_sd" in expected else "dispersions"], expected.get("px_sd", expected.get("px_r")))
    if "px_dropout_logits" in expected:
        close(found["dropout"], scipy.special.expit(expected["px_dropout_logits"]))
    assert len(found) == 2 + ("px_dropout_logits" in expected)
    genes = [data.registry.genes[i] for i in (5, 2)]
    some = likelihood_parameters(fit.module, data, draw="mean", genes=genes, indices=[1, 30])
    for name, values in some.items():
        np.testing.assert_allclose(values, found[name][[1, 30]][:, [5, 2]], rtol=1e-4)


@pytest.mark.parametrize(("likelihood", "names"), [
    ("zinb", {"mean", "dispersions", "dropout"}), ("nb", {"mean", "dispersions"}), ("poisson", {"mean"}),
    ("normal", {"mean", "sd"}),
])
@pytest.mark.parametrize("dispersion", ["gene", "gene-cell"])
def test_parameters_of_samples(likelihood, names, dispersion, monkeypatch):
    monkeypatch.setattr(draws, "ELEMENTS", 40 * 30 * 2)
    data = opened()
    fit = untrained(data, ScviSettings(12, 3, gene_likelihood=likelihood, dispersion=dispersion))
    apart = seeded(likelihood_parameters, fit, data, n_samples=5, batch_size=40)
    mean = seeded(likelihood_parameters, fit, data, n_samples=5, give_mean=True, batch_size=40)
    single = seeded(likelihood_parameters, fit, data, batch_size=40)
    assert set(apart) == set(mean) == set(single) == names
    for name in names:
        assert apart[name].shape == (5, 90, 30) and apart[name].dtype == np.float32
        assert mean[name].shape == single[name].shape == (90, 30)
        np.testing.assert_allclose(mean[name], apart[name].mean(0), rtol=1e-5)
    assert (apart["mean"].std(0) > 0).all()
    totals = data.totals[:, None]
    np.testing.assert_allclose(single["mean"].sum(1, keepdims=True), totals, rtol=1e-4)      # before dropout


def test_parameters_by_batch_and_under_another():
    adata = small_data(20)
    fit, data = certain(ScviSettings(12, 3, gene_likelihood="nb", dispersion="gene-batch"))
    theta = fit.module.log_theta.exp().detach().numpy()
    found = likelihood_parameters(fit.module, data, n_samples=3, give_mean=True)
    np.testing.assert_allclose(found["dispersions"], theta[data.codes["batch"]], rtol=1e-5)
    name = data.registry.batch_categories[1]
    found = likelihood_parameters(fit.module, data, transform_batch=name)
    np.testing.assert_allclose(found["dispersions"], np.broadcast_to(theta[1], (20, 30)), rtol=1e-5)
    np.testing.assert_allclose(found["mean"] / np.asarray(adata.X.sum(1)), normalized_expression(
        fit.module, data, transform_batch=name, draw="mean"), rtol=1e-4)


def test_library_sizes():
    fit, data, expected = reference("scvi_covariates")
    found = latent_library_size(fit.module, data)
    assert found.shape == (60, 1) and found.dtype == np.float32
    close(found, expected["latent_library_size_mean"])
    drawn = np.stack([seeded(latent_library_size, fit, data, seed, give_mean=False) for seed in range(300)])
    mean, variance = latent_moments(fit.module, data, name="library")
    z = (np.log(drawn).mean(0) - mean) / np.sqrt(variance / 300)
    assert np.abs(z).max() < 5 and 0.7 < z.std() < 1.3
    np.testing.assert_allclose(drawn.mean(0), found, rtol=0.35)


def test_library_sizes_that_are_given(fit, data):
    for give_mean in (True, False):
        found = latent_library_size(fit.module, data, give_mean=give_mean, indices=[8, 3])
        np.testing.assert_array_equal(found, data.totals[[8, 3], None])
    fit, data, _ = reference("scvi_size_factor")
    np.testing.assert_array_equal(latent_library_size(fit.module, data), data.size_factor[:, None])


# -- correlations ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("kind", "oracle"), [(Pearson, lambda x: np.corrcoef(x.T)),
                                              (Spearman, lambda x: scipy.stats.spearmanr(x).statistic)])
@pytest.mark.parametrize("offset", [0, 1e4])
def test_correlations_of_blocks(kind, oracle, offset):
    rng = np.random.default_rng(0)
    rows = (rng.normal(size=(500, 6)) @ rng.normal(size=(6, 6)) + offset).astype(np.float32)
    rows[:, 4] = rng.integers(0, 3, 500)               # ties
    found = kind(500, 6)
    for part in np.array_split(rows, 7):
        found.add(part)
    correlations = found.correlations()
    np.testing.assert_allclose(correlations, oracle(rows.astype("f8")), atol=1e-9)
    assert correlations.dtype == np.float64 and (np.diag(correlations) == 1).all()


@pytest.mark.parametrize("kind", [Pearson, Spearman])
def test_a_column_that_never_changes(kind):
    rows = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    rows[:, 1] = 0.1
    found = kind(50, 3)
    found.add(rows[:20])
    found.add(rows[20:])
    correlations = found.correlations()
    assert np.isnan(correlations[1]).all() and np.isnan(correlations[:, 1]).all()
    assert np.isfinite(correlations[[0, 2]][:, [0, 2]]).all()


@pytest.mark.parametrize("kind", ["spearman", "pearson"])
def test_correlations_without_noise_are_those_of_expression(kind):
    """A Poisson model has no theta, and z is certain: nothing is random."""
    fit, data = certain(ScviSettings(12, 3, gene_likelihood="poisson"))
    oracle = {"pearson": lambda x: np.corrcoef(x.T), "spearman": lambda x: scipy.stats.spearmanr(x).statistic}[kind]
    names, each = data.registry.batch_categories, []
    for name in names:
        expression = normalized_expression(fit.module, data, transform_batch=name, draw="mean")
        each.append(oracle(expression.astype("f8")))
        found = feature_correlation(fit.module, data, n_samples=2, transform_batch=name, correlation_type=kind)
        assert found.shape == (30, 30) and found.dtype == np.float64
        np.testing.assert_allclose(found, each[-1], atol=1e-3)
    several = feature_correlation(fit.module, data, n_samples=3, transform_batch=names, correlation_type=kind)
    np.testing.assert_allclose(several, sum(each) / 2, atol=1e-3)
    genes = [data.registry.genes[i] for i in (9, 2, 17)]
    some = feature_correlation(fit.module, data, n_samples=1, genes=genes, transform_batch=names, correlation_type=kind)
    np.testing.assert_allclose(some, several[[9, 2, 17]][:, [9, 2, 17]], atol=1e-3)


@pytest.mark.parametrize("likelihood", ["nb", "zinb"])
def test_gamma_noise_weakens_correlations_as_it_should(likelihood):
    """Given rho, genes are independent Gammas: they share the covariance of rho, and vary more by E[rho^2] / theta."""
    fit, data = certain(ScviSettings(12, 3, gene_likelihood=likelihood))
    fit.module.decoder.logits.weight.data.mul_(4)
    rho = normalized_expression(fit.module, data, draw="mean").astype("f8")
    theta = fit.module.log_theta.exp().detach().numpy()
    expected = np.cov(rho.T, ddof=0)
    sd = np.sqrt(np.diag(expected) + (rho**2).mean(0) / theta)
    expected = expected / sd / sd[:, None]
    for size in (1000, 1):
        found = seeded(feature_correlation, fit, data, n_samples=2000, rna_size_factor=size, correlation_type="pearson")
        others = ~np.eye(30, dtype=bool)
        np.testing.assert_allclose(found[others], expected[others], atol=0.05)
    assert np.abs(expected[others]).max() > 0.2


def test_a_gene_without_expression_has_no_correlation():
    fit, data = certain(ScviSettings(12, 3))
    fit.module.decoder.logits.bias.data[4] = -1e4
    with pytest.warns(UserWarning, match="1 genes .* 'gene_5'"):
        found = feature_correlation(fit.module, data, n_samples=2)
    assert np.isnan(found[4]).all() and np.isnan(found[:, 4]).all() and np.isfinite(np.delete(found, 4, 0)[:, :4]).all()


# -- sizes and refusals ------------------------------------------------------------------------------------------------

def test_results_too_large_are_refused(fit, data, monkeypatch):
    monkeypatch.setattr(fit.module, "posterior", lambda cells: pytest.fail("work was done"))
    monkeypatch.setattr(results, "LARGEST_RESULT", 90 * 30 * 4 * 2 - 1)
    for verb, given in ((posterior_predictive, {"n_samples": 2}), (likelihood_parameters, {"n_samples": 2}),
                        (feature_correlation, {"n_samples": 2})):
        with pytest.raises(QueryError, match="would take") as caught:
            verb(fit.module, data, **given)
        assert "n_samples" in caught.value.hint and "genes" in caught.value.hint
    monkeypatch.setattr(results, "LARGEST_RESULT", 30 * 30 * 8 - 1)
    with pytest.raises(QueryError, match="table of correlations"):
        feature_correlation(fit.module, data, correlation_type="pearson")
    monkeypatch.undo()
    monkeypatch.setattr(results, "LARGEST_RESULT", 1000)
    with pytest.raises(QueryError, match="grows beyond"):
        posterior_predictive(fit.module, data)


@pytest.mark.parametrize(("verb", "given", "field"), [
    *((verb, given, field) for verb in (posterior_predictive, likelihood_parameters, feature_correlation)
      for given, field in (({"n_samples": 0}, "n_samples"), ({"genes": ["no"]}, "genes"), ({"genes": []}, "genes"),
                           ({"transform_batch": "no"}, "transform_batch"), ({"indices": [90]}, "indices"),
                           ({"indices": []}, "indices"), ({"batch_size": 0}, "batch_size"))),
    (likelihood_parameters, {"give_mean": "yes"}, "give_mean"), (likelihood_parameters, {"draw": "mode"}, "draw"),
    (latent_library_size, {"give_mean": 1}, "give_mean"), (latent_library_size, {"indices": [-1]}, "indices"),
    (feature_correlation, {"rna_size_factor": 0}, "rna_size_factor"),
    (feature_correlation, {"rna_size_factor": float("nan")}, "rna_size_factor"),
    (feature_correlation, {"correlation_type": "kendall"}, "correlation_type"),
])
def test_refusals(fit, data, monkeypatch, verb, given, field):
    monkeypatch.setattr(fit.module, "posterior", lambda cells: pytest.fail("work was done"))
    with pytest.raises(LatomeError) as caught:
        verb(fit.module, data, **given)
    assert caught.value.field == field
