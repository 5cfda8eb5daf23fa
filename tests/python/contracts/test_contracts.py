"""What every model promises. Runs for each line of cases.py."""

import dataclasses

import anndata
import numpy as np
import pytest
import scipy.sparse as sp
from cases import make_adata
from examples import probe

from latome.analysis.expression import normalized_expression
from latome.analysis.latent import latent, latent_moments
from latome.analysis.likelihood import elbo, elbo_terms
from latome.analysis.loadings import loadings
from latome.analysis.zero_inflation import zero_inflation
from latome.backend import torch
from latome.data.registry import open_data
from latome.describe import describe_fit, describe_model
from latome.errors import QueryError, SettingError
from latome.fit import initialise, start, train
from latome.io.archive import load, pack, save, unpack
from latome.protocol.settings import describe_settings
from latome.surgery import map_query
from latome.training.optimizer import FlatOptimizer, adam, as_laid_out
from latome.training.options import TrainingOptions
from latome.training.session import RandomStream

FEW = TrainingOptions(max_epochs=3, batch_size=32, n_epochs_kl_warmup=2, threads=1)


def weights(fit):
    return {name: value.clone() for name, value in fit.module.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def seeded_latent(fit, data):
    with RandomStream(0).active():                     # a logistic-normal's mean is found by drawing
        return latent(fit.module, data, mc_samples=50)


def test_settings_are_bounded(made):
    for entry in describe_settings(type(made.settings)):
        assert entry["doc"].endswith("."), entry["name"]
        assert entry["type"] in ("int", "float", "bool", "choice")
        if entry["type"] in ("int", "float"):
            bounds = {"ge", "gt", "le", "lt"} & set(entry)
            assert bounds, f"{entry['name']} has no bound"
        wrong = {"choice": "no such choice", "bool": "yes", "int": -1, "float": -1.0}[entry["type"]]
        with pytest.raises(SettingError, match=entry["name"]):
            dataclasses.replace(made.settings, **{entry["name"]: wrong})


@pytest.mark.parametrize("m", [1, 7])
def test_shapes(case, made, data, m):
    cells = probe(data, m)
    made.module.eval()
    terms, posterior, latents = made.module.explain(cells)
    for group in (terms.log_likelihood, terms.divergence if case.latent else {}):
        assert all(term.value.shape == (m,) for term in group.values())
    assert terms.log_likelihood and (terms.divergence or not case.latent)
    if case.latent:
        assert latents["z"].shape == (m, made.settings.n_latent)
    case.needs(latent=True, counts=True)
    for name, distribution in made.module.generative(latents, cells).likelihood.items():
        assert distribution.mean.shape == (m, data.n_genes), name
        assert distribution.sample().shape == (m, data.n_genes), name
    stacked = {name: torch.stack([value, value]) for name, value in latents.items()}       # two posterior samples
    doubled = made.module.generative(stacked, cells).likelihood["x"].log_prob(cells["x"])
    assert doubled.shape == (2, m)
    torch.testing.assert_close(doubled[0], terms.log_likelihood["x"].value, rtol=1e-5, atol=1e-4)


def test_every_parameter_has_a_finite_gradient(made, data):
    made.module.train()
    made.module.prepare(data, np.arange(data.n_cells))
    cells = probe(data, data.n_cells)
    made.module.loss(made.module.terms(cells), 1.0, data.n_cells).backward()
    for name, parameter in made.module.named_parameters():
        assert parameter.grad is not None, f"{name} takes no part in the loss"
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


def test_loss_falls_on_data_drawn_from_the_model(case, data, made):
    truth = initialise(case.settings, data, seed=11).module.eval()
    cells = probe(data, data.n_cells)
    case.needs(counts=True)
    with torch.no_grad():
        torch.manual_seed(0)
        latents = truth.draw(truth.inference(cells), "sample")
        if case.latent:
            latents["z"] = 3 * torch.randn_like(latents["z"])
        drawn = truth.generative(latents, cells).likelihood["x"].sample().numpy()
    drawn = drawn.clip(min=0)                          # a normal likelihood draws negative values too
    drawn[:, 0] += 1                                   # no empty cell
    adata = make_adata()
    adata = anndata.AnnData(sp.csr_matrix(drawn), obs=adata.obs, var=adata.var)
    opened = open_data(adata, registry=data.registry, allow_noninteger=True)
    options = TrainingOptions(
        max_epochs=25, batch_size=32, lr=5e-3, n_epochs_kl_warmup=5, threads=1, early_stopping=True)
    history = train(initialise(case.settings, opened, seed=5), opened, options).history.to_dict()
    assert np.isfinite(history["elbo_train"]).all()
    assert history["reconstruction_loss_train"][-1] < history["reconstruction_loss_train"][0]
    assert history["reconstruction_loss_validation"][-1] < history["reconstruction_loss_validation"][0]


def test_same_seed_same_weights(case, data):
    first, second = (train(initialise(case.settings, data, seed=5), data, FEW) for _ in range(2))
    other = train(initialise(case.settings, data, seed=6), data, FEW)
    assert same(weights(first), weights(second))
    assert not same(weights(first), weights(other))


def test_save_and_load_are_equal(case, made, data, tmp_path):
    fitted = train(made, data, FEW)
    for again in (load(save(fitted, tmp_path / "model")), unpack(*pack(fitted))):
        assert same(weights(fitted), weights(again))
        assert again.settings == fitted.settings and again.registry == fitted.registry
        np.testing.assert_array_equal(again.history.frame(), fitted.history.frame())
        assert describe_fit(again) == describe_fit(fitted)
        if case.latent:
            np.testing.assert_array_equal(seeded_latent(again, data), seeded_latent(fitted, data))


def test_answers_do_not_depend_on_the_minibatch(case, made, data):
    fitted = train(made, data, FEW)
    whole, parts = (elbo_terms(fitted.module, data, draw="mean", batch_size=size) for size in (1000, 7))
    for name in whole:
        np.testing.assert_allclose(whole[name], parts[name], rtol=1e-4, atol=1e-3)
    case.needs(latent=True)
    whole, parts = (latent_moments(fitted.module, data, batch_size=size)[0] for size in (1000, 7))
    np.testing.assert_allclose(whole, parts, rtol=1e-4, atol=1e-5)
    rows = np.array([140, 3, 77])
    some = latent_moments(fitted.module, data, indices=rows)[0]
    np.testing.assert_allclose(some, whole[rows], rtol=1e-4, atol=1e-5)


def test_minified_data_answer_alike(case, made, data):
    case.needs(latent=True, counts=True)
    fitted = train(made, data, FEW)
    mean, variance = latent_moments(fitted.module, data)
    minified = dataclasses.replace(data, stored={"z": (mean, variance)}, has_counts=False)
    if made.module.library_encoder is not None:        # its library is inferred from the counts
        return
    np.testing.assert_array_equal(latent_moments(fitted.module, minified)[0], mean)
    np.testing.assert_allclose(normalized_expression(fitted.module, minified, draw="mean"),
                               normalized_expression(fitted.module, data, draw="mean"), rtol=1e-4, atol=1e-7)
    other = dataclasses.replace(minified, stored={"z": (mean[:, :2], variance[:, :2])})
    with pytest.raises(QueryError, match="2 dimensions"):
        latent_moments(fitted.module, other)
    with pytest.raises(QueryError, match="minified"):
        elbo(fitted.module, minified)
    with pytest.raises(QueryError, match="minified"):
        start(fitted, minified, FEW)


def test_training_again_continues(made, data):
    fitted = train(made, data, FEW)
    before = weights(fitted)
    fitted = train(fitted, data, FEW)
    assert fitted.history.to_dict()["epoch"].tolist() == [0, 1, 2, 3, 4, 5]
    assert not same(before, weights(fitted))


def test_slices_of_time_equal_one_run(case, data):
    whole = train(initialise(case.settings, data, seed=5), data, FEW)
    made = initialise(case.settings, data, seed=5)
    trainer = start(made, data, FEW)
    while trainer.advance(0.0).state == "running":     # one step at a time
        torch.rand(3)                                  # someone else draws in between
    assert same(weights(whole), weights(made))


def test_the_flat_buffer_survives(made, data):
    module = made.module
    optimizer = FlatOptimizer(module.parameters(), adam(lr=1e-3, eps=0.01, weight_decay=0))
    assert optimizer.in_place()
    state = {name: value + 1 if value.is_floating_point() else value for name, value in weights(made).items()}
    module.load_state_dict(state)
    assert optimizer.in_place() and same(weights(made), state)
    first = next(module.parameters())
    torch.testing.assert_close(as_laid_out(optimizer.flat.data[:first.numel()], first), first.data)
    module.to(torch.float64).to(torch.float32)         # moves the parameters out of the buffer
    if not optimizer.in_place():
        optimizer.lay_out()
    assert optimizer.in_place() and same(weights(made), state)


def test_verbs_return_what_they_declare(case, made, data):
    case.needs(latent=True, counts=True)
    fitted = train(made, data, FEW)
    n, k, g = data.n_cells, made.settings.n_latent, data.n_genes
    mean, variance = latent_moments(fitted.module, data)
    assert mean.shape == variance.shape == (n, k) and (variance > 0).all()
    assert isinstance(elbo(fitted.module, data), float)
    rho = normalized_expression(fitted.module, data, draw="mean", library_size=1)
    assert rho.shape == (n, g)
    assert (rho >= 0).all()
    if fitted.registry.columns.size_factor is None:
        np.testing.assert_allclose(rho.sum(1), 1, rtol=1e-4)
    moved = normalized_expression(fitted.module, data, draw="mean", transform_batch=fitted.registry.batch_categories)
    each = [normalized_expression(fitted.module, data, draw="mean", transform_batch=name)
            for name in fitted.registry.batch_categories]
    np.testing.assert_allclose(moved, np.mean(each, axis=0), rtol=1e-4, atol=1e-7)
    table = fitted.history.frame()
    assert table.index.name == "epoch" and all(kind == np.float64 for kind in table.dtypes)


def new_cells():
    """Cells of batches and of a site that those of a case do not have."""
    adata = make_adata(seed=1)
    adata.obs["batch"] = ["new " + batch for batch in adata.obs["batch"].astype(str)]
    adata.obs["site"] = ["z" if site == "x" else site for site in adata.obs["site"]]
    return adata


def answers(fit, data):
    """{what: tensor} of the posterior and of the decoding at its mean, likelihood of each cell included."""
    cells = probe(data, data.n_cells)
    with torch.no_grad(), RandomStream(0).active():
        _, posterior, latents = fit.module.eval().explain(cells, "mean")
        likelihood = fit.module.generative(latents, cells).likelihood["x"]
        found = {"mean": likelihood.mean, "log_prob": likelihood.log_prob(cells["x"])}
        return found | {name: torch.stack([q.mean, q.variance]) for name, q in posterior.items()}


def test_surgery_leaves_the_reference_bit_equal(case, made, data):
    case.needs(latent=True, counts=True)
    reference = train(made, data, FEW)
    before = answers(reference, data)
    mapped, query = map_query(reference, new_cells())
    seen = dataclasses.replace(data, registry=mapped.registry)          # the codes of known categories are the same
    assert same(answers(mapped, seen), before)
    start_of_query = weights(mapped)
    train(mapped, query, dataclasses.replace(FEW, weight_decay=0.1, gradient_clip_val=1.0))
    assert same(answers(mapped, seen), before) and same(answers(reference, data), before)
    assert not same(weights(mapped), start_of_query)


def test_the_description_is_complete(made):
    told = describe_model(made.kind)
    assert told["title"] and "doi" in told["paper"]
    assert [entry["name"] for entry in told["settings"]] == [f.name for f in dataclasses.fields(made.settings)]


def test_what_the_description_says_of_a_model_is_true(case, made, data):
    told = describe_fit(made)
    cells = probe(data, 3)
    made.module.eval()
    assert told["latent"] == bool(made.module.inference(cells)) == case.latent == describe_model(made.kind)["latent"]
    asked = {"label_probabilities": lambda: made.module.label_probabilities(cells).shape == (3, data.registry.n_labels),
             "feature_loadings": lambda: loadings(made.module).shape == (data.n_genes, made.settings.n_latent),
             "zero_inflation": lambda: len(zero_inflation(made.module, made.registry)) >= data.n_genes}
    for question, answer in asked.items():
        if question in told["questions"]:
            assert answer(), question
        elif made.kind != "solo":                      # it tells doublets from features of its own, which no one asks
            with pytest.raises(QueryError):
                answer()
    assert set(told["questions"]) <= set(asked)


def test_models_that_need_all_genes_say_so(case, made):
    if made.kind == "solo":
        pytest.skip("its data are not counts of genes")
    adata = make_adata(seed=3)
    few = adata[:, made.registry.genes].copy()
    sizes = [open_data(cells, registry=made.registry).size_factor for cells in (adata, few)]
    assert describe_fit(made)["needs_all_genes"] == (not np.array_equal(*sizes))
