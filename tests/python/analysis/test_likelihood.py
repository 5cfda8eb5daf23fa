"""The ELBO: reconstruction less divergence, and never above the evidence; the evidence, as integrals have it."""

import copy
import dataclasses

import numpy as np
import pytest
import scipy.stats
from examples import opened, small_data, trained, untrained

from latome.analysis.latent import latent_moments
from latome.analysis.likelihood import elbo, elbo_terms, marginal_likelihood, reconstruction_error
from latome.backend import torch
from latome.data.minibatches import Minibatches
from latome.data.registry import open_data
from latome.distributions import DiagonalNormal
from latome.errors import FieldError, QueryError, SettingError
from latome.modules.scvi import ScviSettings
from latome.protocol import Generated, Module


@pytest.fixture(scope="module")
def data():
    return opened()


@pytest.fixture(scope="module")
def fit(data):
    return trained(data)


def test_the_divergence_is_that_of_normals(fit, data):
    mean, variance = latent_moments(fit.module, data)
    expected = 0.5 * (variance + mean**2 - 1 - np.log(variance)).sum(1)
    found = elbo_terms(fit.module, data, draw="mean")
    np.testing.assert_allclose(found["kl_local"], expected, rtol=1e-4, atol=1e-5)
    assert found["reconstruction_loss"].shape == (90,) and (found["reconstruction_loss"] > 0).all()
    assert elbo(fit.module, data, draw="mean") == pytest.approx(
        -(found["reconstruction_loss"] + found["kl_local"]).mean(), rel=1e-5)


def test_the_reconstruction_is_the_likelihood_of_the_decoded_cell(fit, data):
    x = torch.tensor(data.source.csr.toarray())
    module = fit.module
    with torch.no_grad():
        z = module.encoder(x.log1p()).mean
        heads = module.decoder(z, torch.tensor(data.categories), None)
        mu = (heads["logits"].value().softmax(1) * x.sum(1, keepdim=True)).double()
        theta, zero = module.log_theta.exp().double(), heads["gate"].value().sigmoid().double()
        nb = torch.distributions.NegativeBinomial(theta.expand_as(mu), logits=(mu / theta).log())
        nb = nb.log_prob(x.double()).exp()
        expected = -(zero * (x == 0) + (1 - zero) * nb).log().sum(1)
    found = elbo_terms(module, data, draw="mean")["reconstruction_loss"]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize("batch_size", [1, 7, 90])
def test_minibatches_do_not_matter(fit, data, batch_size):
    whole = elbo(fit.module, data, draw="mean")
    assert elbo(fit.module, data, draw="mean", batch_size=batch_size) == pytest.approx(whole, rel=1e-5)


def test_training_raises_it(fit, data):
    assert elbo(fit.module, data, draw="mean") > elbo(untrained(data).module, data, draw="mean") + 2


def test_the_reconstruction_error_is_a_loss(fit, data):
    found = reconstruction_error(fit.module, data, draw="mean")
    expected = elbo_terms(fit.module, data, draw="mean")["reconstruction_loss"].mean()
    assert found == {"reconstruction_loss": pytest.approx(expected, rel=1e-5)} and expected > 0


class Linear(Module):
    """x = first z, second library, + Normal(0, sd): two latents whose exact posterior is normal, and independent."""

    def __init__(self, widen=1.0, born_late=False):
        super().__init__()
        self.loadings = torch.tensor([[0.7, -0.4, 0, 0], [0, 0, 1.1, 0.5]])                 # (2, g)
        self.sd = torch.tensor([0.8, 0.5, 1.2, 0.6])
        self.widen, self.born_late = widen, born_late

    def inference(self, cells):
        posterior = {}
        for name, loading in zip(("z", "library"), self.loadings, strict=True):
            variance = 1 / (1 + (loading / self.sd).square().sum())
            mean = variance * (cells["x"].dense() * loading / self.sd.square()).sum(1, keepdim=True)
            posterior[name] = DiagonalNormal(mean, (variance * self.widen).expand_as(mean))
        return posterior

    def generative(self, latents, cells):
        mean = latents["z"] * self.loadings[0] + latents["library"] * self.loadings[1]
        prior = DiagonalNormal(torch.zeros(1), torch.ones(1))
        late = {"late": prior} if self.born_late else {}
        return Generated({"x": Gaussian(mean, self.sd)}, {"z": prior, "library": prior}, late)

    def evidence(self, x):
        covariance = self.loadings.T @ self.loadings + torch.diag(self.sd**2)
        return scipy.stats.multivariate_normal(np.zeros(4), covariance.numpy()).logpdf(x)


class Gaussian:
    def __init__(self, mean, sd):
        self.p = torch.distributions.Normal(mean, sd)

    def log_prob(self, x):
        return self.p.log_prob(x.dense()).sum(-1)


def values(rows):
    """A `Dataset` of four genes with these values (n, 4)."""
    adata = small_data(len(rows), 4)
    adata.X = np.asarray(rows, dtype=np.float32)
    return open_data(adata, allow_noninteger=True)


@pytest.fixture(scope="module")
def spread():
    return values(np.abs(np.random.default_rng(0).normal(size=(70, 4))) + 0.01)


@pytest.mark.parametrize("more", [{"n_mc_samples": 1}, {"n_mc_samples": 7, "n_mc_samples_per_pass": 2},
                                  {"n_mc_samples": 5, "batch_size": 30}])
def test_every_weight_of_the_exact_posterior_is_the_evidence(spread, more):
    module = Linear()
    expected = module.evidence(spread.source.csr.toarray())
    torch.manual_seed(0)
    found = marginal_likelihood(module, spread, return_mean=False, **more)
    assert found.shape == (70,) and found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert elbo(module, spread, batch_size=30) < expected.mean() + 0.1


def test_its_exponential_is_unbiased_and_its_logarithm_is_not():
    one = [0.5, 2.0, 0.1, 1.5]
    data, module = values([one] * 20000), Linear(widen=1.7)
    torch.manual_seed(0)
    found = marginal_likelihood(module, data, n_mc_samples=2, return_mean=False)
    exact = module.evidence(one)
    ratio = np.exp(found - exact)
    error = ratio.std() / np.sqrt(len(ratio))
    assert error < 0.01 and abs(ratio.mean() - 1) < 4 * error
    assert found.mean() < exact - 4 * found.std() / np.sqrt(len(found))


def integral(fit, data, step):
    """log p(x) (n,) of a model with one or two latents in all: the trapezoidal rule over their priors, in float64."""
    module, n = copy.deepcopy(fit.module).double(), data.n_cells
    cells = next(iter(Minibatches(data, range(n), n)))
    cells = {name: v.double() if name == "x" or v.is_floating_point() else v for name, v in cells.items()}
    with torch.no_grad():
        posterior = module.inference(cells)
        prior = module.generative({name: q.transform(q.mean) for name, q in posterior.items()}, cells).prior
        names = [(name, i) for name, q in posterior.items() for i in range(q.mean.shape[1])]
        t = torch.arange(-6, 6 + step / 2, step, dtype=torch.float64)
        totals = []
        for first in t if len(names) > 1 else [None]:                   # a row of the grid at a time
            place = [t] if first is None else [first.expand(len(t)), t]                     # (s,) each
            normal = {}
            for (name, i), at in zip(names, place, strict=True):
                p = prior[name]
                normal.setdefault(name, []).append(p.mean[..., i] + p.stddev[..., i] * at[:, None].expand(-1, n))
            latents = {name: posterior[name].transform(torch.stack(v, -1)) for name, v in normal.items()}
            log_p = module.generative(latents, cells).likelihood["x"].log_prob(cells["x"])  # (s, n)
            weight = sum(-at.square() / 2 - 0.5 * np.log(2 * np.pi) + np.log(step) for at in place)
            totals.append((log_p + weight[:, None]).logsumexp(0))
    return torch.stack(totals).logsumexp(0).numpy()


@pytest.mark.parametrize(("settings", "step", "wider"), [
    ({"n_latent": 1}, 0.02, 4), ({"n_latent": 1, "gene_likelihood": "nb"}, 0.02, 4),
    ({"n_latent": 1, "gene_likelihood": "poisson"}, 0.02, 4),
    ({"n_latent": 2, "latent_distribution": "ln"}, 0.2, 4),
    ({"n_latent": 1, "use_observed_lib_size": False}, 0.2, 8),
], ids=["zinb", "nb", "poisson", "logistic-normal", "library"])
def test_the_evidence_of_a_model_is_its_integral(settings, step, wider, monkeypatch):
    adata = small_data(200, theta=20)
    fit = trained(opened(adata), ScviSettings(12, **settings), max_epochs=30)
    data = open_data(adata[:8].copy(), registry=fit.registry)
    exact = integral(fit, data, step)
    np.testing.assert_allclose(exact, integral(fit, data, 1.3 * step), atol=0.01)
    bound = np.mean([elbo(fit.module, data) for _ in range(30)])
    # any q gives the same integral; one that is wide enough gives it soon
    monkeypatch.setattr(fit.module, "posterior", lambda cells: {
        name: type(q)(q.mean, wider**2 * q.variance) for name, q in fit.module.inference(cells).items()})
    torch.manual_seed(0)
    found = marginal_likelihood(fit.module, data, n_mc_samples=2000, return_mean=False)
    assert np.abs(found - exact).max() < 0.5 and np.abs(found.mean() - exact.mean()) < 0.05
    assert exact.mean() - 20 < bound < exact.mean()


def test_the_mean_is_over_cells_whatever_the_minibatches(fit, data):
    def ask(**more):
        torch.manual_seed(0)
        return marginal_likelihood(fit.module, data, n_mc_samples=3, batch_size=60, **more)

    each = ask(return_mean=False)
    assert ask() == pytest.approx(each.mean(), rel=1e-12)
    assert abs(each.mean() - (each[:60].mean() + each[60:].mean()) / 2) > 0.1


@pytest.mark.parametrize("per_pass", [1, 7, 50])
def test_passes_and_minibatches_change_memory_alone(fit, data, per_pass):
    torch.manual_seed(0)
    whole = marginal_likelihood(fit.module, data, n_mc_samples=400)
    found = marginal_likelihood(fit.module, data, n_mc_samples=400, n_mc_samples_per_pass=per_pass, batch_size=45)
    assert found == pytest.approx(whole, abs=0.1)


def test_the_cells_asked_about(fit, data):
    torch.manual_seed(0)
    every = marginal_likelihood(fit.module, data, n_mc_samples=500, return_mean=False)
    found = marginal_likelihood(fit.module, data, n_mc_samples=500, return_mean=False, indices=[80, 3])
    np.testing.assert_allclose(found, every[[80, 3]], atol=0.6)


@pytest.mark.parametrize(("more", "problem"), [
    ({"n_mc_samples": 0}, "`n_mc_samples`"), ({"n_mc_samples": 2.5}, "`n_mc_samples`"),
    ({"n_mc_samples_per_pass": 0}, "`n_mc_samples_per_pass`"), ({"return_mean": "no"}, "`return_mean`"),
    ({"batch_size": 0}, "`batch_size`"),
])
def test_arguments_that_are_refused(fit, data, more, problem):
    with pytest.raises(SettingError, match=problem):
        marginal_likelihood(fit.module, data, **more)


@pytest.mark.parametrize("verb", [elbo, elbo_terms, reconstruction_error, marginal_likelihood])
def test_without_counts_there_is_no_likelihood(fit, data, verb):
    with pytest.raises(QueryError, match="needs counts, and the data are minified"):
        verb(fit.module, dataclasses.replace(data, has_counts=False))


def test_latents_drawn_in_the_decoder_have_no_weights(spread):
    with pytest.raises(QueryError, match=r"draws latents while it decodes \(late\)") as caught:
        marginal_likelihood(Linear(born_late=True), spread, n_mc_samples=2)
    assert "ELBO" in caught.value.hint


def test_a_cell_without_label_has_no_dispersion_by_label():
    """Rather than that of the last label."""
    adata = small_data()
    made = untrained(opened(adata, labels="cell_type"), ScviSettings(12, 3, dispersion="gene-label"))
    del adata.obs["cell_type"]
    with pytest.raises(FieldError, match="'gene-label' needs a label for each cell"):
        elbo(made.module, open_data(adata, registry=made.registry))
