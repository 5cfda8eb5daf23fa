"""AutoZI: its likelihood against scipy, its global latent, its priors, and genes that it has to tell apart."""

import numpy as np
import pytest
import scipy.stats as st
from examples import opened, options, probe, small_data, trained, untrained

from latome.analysis.zero_inflation import zero_inflation
from latome.backend import torch
from latome.data.registry import Columns, open_data
from latome.data.simulate import simulate
from latome.errors import FieldError, SettingError
from latome.fit import fit, train
from latome.modules.autozi import AutoziSettings
from latome.training.options import TrainingOptions

SMALL = {"n_hidden": 12, "n_latent": 3}


def made(data=None, **settings):
    return untrained(opened(labels="cell_type") if data is None else data, AutoziSettings(**SMALL, **settings)).module


def auroc(truth, score):
    return st.mannwhitneyu(score[truth], score[~truth]).statistic / (truth.sum() * (~truth).sum())


@pytest.mark.parametrize("seed", [0, 1])
def test_zero_inflated_genes_are_told_from_others(seed):
    dropout = np.where(np.arange(60) % 2 == 0, 0.0, 0.5)
    adata = simulate(1000, 60, 2, 2, seed=seed, depth=600, zero_inflation=dropout)
    options = TrainingOptions(max_epochs=60, batch_size=64, lr=1e-2, n_epochs_kl_warmup=20, threads=1)
    found = fit(AutoziSettings(n_hidden=32, n_latent=4), open_data(adata, Columns(batch="batch")), options)
    table = zero_inflation(found.module, found.registry)
    assert auroc(dropout > 0, table["prob_zero_inflated"].to_numpy()) > 0.9
    assert (table["is_zero_inflated"] == (dropout > 0)).mean() > 0.75


@pytest.mark.parametrize("by", ["gene", "gene-batch", "gene-label"])
@pytest.mark.parametrize("minimal_dropout", [0.01, 0.3])
def test_the_likelihood_is_the_mixture(by, minimal_dropout):
    data = opened(labels="cell_type")
    module = made(data, zero_inflation=by, minimal_dropout=minimal_dropout).eval()
    cells, z = probe(data), torch.randn(7, 3)
    rows = {"gene": None, "gene-batch": cells["batch"], "gene-label": cells["labels"]}[by]
    delta = torch.rand(module.delta_mean().shape)
    counts = module.generative({"z": z, "delta": delta}, cells).likelihood["x"]
    of_cells = (delta.expand(7, -1) if rows is None else delta[rows]).double().numpy()
    gate = module.decoder(z, cells["categories"], cells["continuous"])["gate"].value()
    pi = minimal_dropout + (1 - minimal_dropout) / (1 + np.exp(-gate.detach().double().numpy()))
    x, mean, theta = (value.detach().double().numpy() for value in (cells["x"].dense(), counts.rate, counts.theta))
    nb = st.nbinom.pmf(x, theta, theta / (theta + mean))
    expected = np.log(of_cells * nb + (1 - of_cells) * (pi * (x == 0) + (1 - pi) * nb)).sum(1)
    np.testing.assert_allclose(counts.log_prob(cells["x"]).detach(), expected, rtol=1e-4)


def test_without_a_delta_it_is_integrated_out():
    torch.manual_seed(0)
    module, data = made().eval(), opened(labels="cell_type")
    cells, z = probe(data), torch.randn(7, 3)
    with torch.no_grad():
        found = module.generative({"z": z}, cells).likelihood["x"].log_prob(cells["x"]).double().exp()
        delta = torch.stack([module.draw({}, "sample")["delta"] for _ in range(20_000)])            # (s, 1, g)
        counts = module.generative({"z": z.expand(len(delta), -1, -1), "delta": delta}, cells).likelihood["x"]
        draws = counts.elementwise_log_prob(cells["x"].dense()).sum(-1).double().exp()              # (s, m)
    error = draws.std(0) / np.sqrt(len(draws))
    assert ((draws.mean(0) - found).abs() < 4.5 * error).all()
    assert (error < 0.1 * found).all()


def test_the_loss_is_that_of_all_cells():
    data = opened(labels="cell_type")
    module, cells = made(data), probe(data, data.n_cells)
    terms = module.terms(cells, "mean")
    whole = module.global_terms()["delta"]
    expected = data.n_cells * terms.per_cell(0.5).mean() + whole
    torch.testing.assert_close(module.loss(terms, 0.5, data.n_cells), expected)
    q, p = module.delta_posterior(), module.delta_prior()
    beta = torch.distributions.Beta
    torch.testing.assert_close(whole, torch.distributions.kl_divergence(
        beta(q.alpha, q.beta), beta(p.alpha, p.beta).expand(q.alpha.shape)).sum())


@pytest.mark.parametrize("by", ["gene", "gene-batch", "gene-label"])
@pytest.mark.parametrize("priors", [(0.5, 0.7), (None, None), (0.3, None)])
def test_priors_are_honoured(by, priors):
    data = opened(labels="cell_type")
    settings = AutoziSettings(**SMALL, zero_inflation=by, alpha_prior=priors[0], beta_prior=priors[1])
    fitted = untrained(data, settings)
    before = fitted.module.delta_prior()
    assert before.alpha.shape == before.beta.shape == (1,)
    before = before.alpha.item(), before.beta.item()
    assert fitted.module.delta_mean().shape == ({"gene": 1, "gene-batch": 2, "gene-label": 2}[by], 30)
    train(fitted, data, options(max_epochs=2))
    after = fitted.module.delta_prior()
    for given, first, last in zip(priors, before, (after.alpha.item(), after.beta.item()), strict=True):
        assert (last == first == pytest.approx(given)) if given is not None else last != first
    assert fitted.history.last("kl_global_train") > 0


def test_labels_are_needed_where_they_count():
    with pytest.raises(FieldError, match="zero_inflation 'gene-label' needs labels"):
        made(opened(), zero_inflation="gene-label")
    adata = small_data()
    adata.obs["cell_type"] = adata.obs["cell_type"].astype(object)
    adata.obs.iloc[3, adata.obs.columns.get_loc("cell_type")] = np.nan
    data = opened(adata, labels="cell_type")
    with pytest.raises(FieldError, match="zero_inflation 'gene-label' needs a label for each cell"):
        trained(data, AutoziSettings(**SMALL, zero_inflation="gene-label"))
    module = made(zero_inflation="gene-label").eval()
    with pytest.raises(FieldError, match="needs a label"):
        module.terms(probe(data))


@pytest.mark.parametrize("wrong", [{"alpha_prior": 0.0}, {"beta_prior": 1.0}, {"minimal_dropout": 1.0},
                                   {"zero_inflation": "batch"}])
def test_settings_are_bounded(wrong):
    with pytest.raises(SettingError, match=next(iter(wrong))):
        AutoziSettings(**wrong)
