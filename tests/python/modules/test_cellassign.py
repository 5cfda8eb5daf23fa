"""CellAssign against its own story: the terms over all genes and types, the priors, and types that were planted."""

from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from examples import probe, weights_of
from scipy import stats

from latome.analysis.labels import label_probabilities
from latome.backend import torch
from latome.compose.cellassign import for_markers
from latome.data.registry import Columns, open_data
from latome.data.simulate import simulate
from latome.data.sources import read_h5ad
from latome.fit import train
from latome.io import scvi_tools
from latome.training.options import TrainingOptions

COVARIATES = Columns(batch="batch", categorical=("kit",), continuous=("age",))


def planted(n=600, n_types=3, seed=0, **simulation):
    """(AnnData of all genes, 0/1 table of ten markers a type)."""
    adata = simulate(n, 200, n_types, 2, seed=seed, depth=1500, marker_effect=3.0, categorical={"kit": 2},
                     continuous={"age": 0.1}, **simulation)
    kinds = list(adata.obs["cell_type"].cat.categories)
    chosen = {kind: adata.var_names[adata.var["marker_of"] == kind][:10] for kind in kinds}
    genes = [gene for names in chosen.values() for gene in names]
    return adata, pd.DataFrame({kind: [int(gene in set(names)) for gene in genes] for kind, names in chosen.items()},
                               index=genes)


@pytest.mark.parametrize("columns", [None, COVARIATES], ids=["plain", "covariates"])
def test_the_terms_are_those_of_the_story(columns):
    fit, data = for_markers(*planted(80), columns, seed=1)
    module, cells = fit.module.eval(), probe(data, 80)
    with torch.no_grad():
        for table in [*module.tables, *([] if module.continuous is None else [module.continuous])]:
            table.normal_(0, 0.3)
        log_pi = module.type_logits.log_softmax(0)
        each = [module.generative({"type": torch.full((80,), c)}, cells).likelihood["x"].log_prob(cells["x"])
                + log_pi[c] for c in range(3)]
        joint = torch.stack(each, 1)                                    # (m, C), by the kernel of scVI
        torch.testing.assert_close(module.joint(cells), joint, rtol=1e-5, atol=1e-3)
        gamma = joint.softmax(1)
        torch.testing.assert_close(module.label_probabilities(cells), gamma, rtol=0, atol=1e-3)
        found = module.terms(cells)
        torch.testing.assert_close(found.reconstruction(), -(gamma * joint).sum(1), rtol=1e-5, atol=1e-2)
        priors = sum(float(value) for value in module.global_terms().values())
        loss = module.loss(found, 1.0, 500)
        assert float(loss) == pytest.approx(float(found.reconstruction().mean()) + priors / 500, rel=1e-6)


def test_priors_against_scipy():
    fit, _ = for_markers(*planted(80), seed=1)
    module, markers = fit.module, fit.module.panel
    with torch.no_grad():
        module.log_delta_mean.fill_(0.3)
        module.log_delta_log_variance.fill_(-0.7)
    found = {name: float(value.detach()) for name, value in module.global_terms().items()}
    pi = module.type_logits.double().softmax(0).detach().numpy()
    assert found["types"] == pytest.approx(-stats.dirichlet([0.01] * 3).logpdf(pi / pi.sum()), rel=1e-4)
    log_delta = module.log_delta.detach().numpy()[markers.gene, markers.type]
    assert found["markers"] == pytest.approx(-stats.norm(0.3, np.exp(-0.35)).logpdf(log_delta).sum(), rel=1e-5)


def test_training_takes_the_steps_of_scvi_tools():
    folder = Path(__file__).parents[1] / "fixtures" / "cellassign_covariates"
    fit, wanted = scvi_tools.read(folder / "model_start"), weights_of(scvi_tools.read(folder / "model").module)
    before = weights_of(fit.module)
    data = open_data(read_h5ad(folder / "model" / "adata.h5ad"), registry=fit.registry)
    recipe = {**fit.module.recipe, "lr": 3e-3, "max_epochs": 50, "early_stopping": False}
    train(fit, data, TrainingOptions(**recipe, train_size=1.0, threads=1))
    for name, values in weights_of(fit.module).items():
        assert name == "basis" or np.abs(wanted[name] - before[name]).max() > 0.05
        np.testing.assert_allclose(values, wanted[name], rtol=1e-4, atol=1e-4)


def test_planted_types_are_found():
    adata, table = planted()
    fit, data = for_markers(adata, table, Columns(batch="batch"))
    train(fit, data, TrainingOptions(**{**fit.module.recipe, "max_epochs": 120, "batch_size": 128, "threads": 1}))
    found = label_probabilities(fit.module, data)
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-5)
    types = np.array(fit.registry.categories["labels"])[found.argmax(1)]
    assert (types == adata.obs["cell_type"]).mean() > 0.97
    assert fit.module.log_delta.min() >= np.log(2) - 1e-6               # a marker rises, by `min_delta` at least
    history = fit.history.to_dict()
    assert history["elbo_validation"][-1] < history["elbo_validation"][0]


def test_parameters_of_counts_drawn_from_the_model():
    generator = torch.Generator().manual_seed(0)
    adata, table = planted(1500)
    fit, data = for_markers(adata, table, seed=3)
    truth, cells = fit.module, probe(data, 1500)
    kinds = torch.randint(0, 3, (1500,), generator=generator)
    with torch.no_grad():
        truth.baseline.normal_(0.5, 0.5, generator=generator)
        truth.log_delta.uniform_(0.75, 1.0, generator=generator)
        truth.log_a.fill_(1.0)
        truth.basis.copy_(torch.linspace(0, 300, 10))
        torch.manual_seed(0)
        drawn = truth.generative({"type": kinds}, cells).likelihood["x"].sample()
    other = anndata.AnnData(sp.csr_matrix(drawn.numpy()), var=pd.DataFrame(index=table.index),
                            obs=pd.DataFrame({"size": cells["size_factor"].numpy()}, index=data.cells))
    again, drawn_data = for_markers(other, table, Columns(size_factor="size"), seed=4)
    train(again, drawn_data, TrainingOptions(max_epochs=150, batch_size=128, lr=1e-2, weight_decay=0.0, threads=1))
    found = label_probabilities(again.module, drawn_data).argmax(1)
    assert (found == kinds.numpy()).mean() > 0.97
    assert (again.module.log_rate(probe(drawn_data, 5))[0] - truth.log_rate(cells)[0]).abs().median() < 0.15
    pairs = truth.panel_gene, truth.panel_type
    assert (again.module.log_delta[pairs].exp() - truth.log_delta[pairs].exp()).abs().median() < 0.3


def test_the_gaussians_span_the_counts():
    fit, data = for_markers(*planted(80))
    counts = data.source.take(np.arange(80))
    np.testing.assert_allclose(fit.module.basis, np.linspace(0, counts.max(), 10), rtol=1e-6)


def test_the_base_levels_may_begin_at_the_means():
    adata, table = planted(80)
    fit, data = for_markers(adata, table, settings={"start": "standardised"})
    means = np.asarray(adata[:, table.index].X.mean(0)).ravel()
    expected = (means - means.mean()) / means.std(ddof=1)
    np.testing.assert_allclose(weights_of(fit.module)["baseline"], expected, rtol=1e-4)


def test_it_begins_with_no_type_ahead_and_ends_alike_whatever_the_seed():
    adata, table = planted(300)
    called = []
    for seed in (0, 1):
        fit, data = for_markers(adata, table, seed=seed)
        np.testing.assert_allclose(fit.module.type_logits.detach().softmax(0), 1 / 3, rtol=1e-6)
        means = np.asarray(adata[:, table.index].X.sum(0)).ravel()
        rise = np.expm1(fit.module.log_delta[0, 0].exp().item()) / 3    # each gene marks one type of three
        np.testing.assert_allclose(weights_of(fit.module)["baseline"],
                                   np.log((means + 0.5) / data.size_factor.sum() / (1 + rise)), rtol=1e-4)
        train(fit, data, TrainingOptions(max_epochs=60, batch_size=128, lr=1e-2, threads=1))
        called.append(label_probabilities(fit.module, data).argmax(1))
    truth = adata.obs["cell_type"].cat.codes.to_numpy()
    assert (called[0] == called[1]).mean() > 0.99
    assert (called[0] == truth).mean() > 0.97
