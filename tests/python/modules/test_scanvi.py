"""scANVI: its loss against the story told cell by cell and label by label in float64, and what training does."""

import dataclasses

import numpy as np
import pytest
from examples import options, probe, same_history, same_weights
from scipy import special, stats

from latome.analysis.labels import label_probabilities
from latome.analysis.likelihood import elbo, marginal_likelihood
from latome.backend import torch
from latome.data.registry import Columns, open_data
from latome.data.simulate import simulate
from latome.errors import FieldError, QueryError
from latome.fit import initialise, start, train
from latome.io.checkpoint import begin
from latome.modules.scanvi import LabelledPrior, ScanviSettings
from latome.modules.scvi import ScviSettings

SMALL = {"n_hidden": 12, "n_latent": 3, "gene_likelihood": "nb"}


def partly(share=0.4, n=150, seed=0, genes=40, **simulation):
    """Data of three types, a share of whose cells keep their label."""
    adata = simulate(n, genes, n_types=3, n_batches=2, **{"seed": 1, "depth": 200, **simulation})
    keep = np.random.default_rng(seed).random(n) < share
    adata.obs["known"] = adata.obs["cell_type"].astype(object).where(keep, "?")
    return adata


def opened(adata=None):
    return open_data(partly() if adata is None else adata, Columns(batch="batch", labels="known", unlabeled="?"))


def made(data, seed=1, **settings):
    return initialise(ScanviSettings(**SMALL, **settings), data, seed=seed)


# the loss, again -------------------------------------------------------------------------------------------
class Story:
    """The networks of a module in float64, from its state dict; batch norms by the rows given, or the running moments.

    Arguments
    ---------
    module : a SCANVI without dropout.
    """

    def __init__(self, module):
        self.weights = {name: value.detach().double().numpy() for name, value in module.state_dict().items()}
        self.training = module.training

    def hidden(self, name, x, codes=None):
        """One hidden layer with ReLU of x (r, n_in); codes (r,) of a category that enters it."""
        w = self.weights
        y = x @ w[f"{name}.linears.0.weight"].T + w[f"{name}.linears.0.bias"]
        if codes is not None:
            y = y + w[f"{name}.linears.0.tables.0"][codes]
        norm = f"{name}.batch_norms.0"
        mean, variance = (y.mean(0), y.var(0)) if self.training else (w[f"{norm}.running_mean"],
                                                                      w[f"{norm}.running_var"])
        y = (y - mean) / np.sqrt(variance + 1e-3) * w[f"{norm}.weight"] + w[f"{norm}.bias"]
        return np.maximum(y, 0)

    def linear(self, name, x):
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def normal(self, name, x, codes=None, least=1e-4):
        """(mean, variance) of an encoder."""
        h = self.hidden(f"{name}.hidden", x, codes)
        return self.linear(f"{name}.mean", h), np.exp(self.linear(f"{name}.log_variance", h)) + least

    def log_q(self, z):
        return special.log_softmax(self.linear("classifier.logits", self.hidden("classifier.hidden", z)), axis=1)

    def by_label(self, z, n_labels):
        """q(z2 | z, y) and p(z | z2, y) at the mean of z2, moments (labels, m, k); a network sees all rows at once."""
        codes = np.repeat(np.arange(n_labels), len(z))
        rows = np.concatenate([z] * n_labels)
        q = self.normal("deeper", rows, codes)
        p = self.normal("shallower", q[0], codes, least=0)
        return [[part.reshape(n_labels, *z.shape) for part in moments] for moments in (q, p)]


def expected_terms(story, cells):
    """(reconstruction, divergence) (m,) each, every latent at its mean, by loops over cells and labels."""
    x, batch = cells["x"].dense().double().numpy(), cells["batch"].numpy()
    mean, variance = story.normal("encoder", np.log1p(x))
    log_q = story.log_q(mean)
    n_labels = log_q.shape[1]
    (q2, v2), (p1, s1) = story.by_label(mean, n_labels)
    rho = special.softmax(story.linear("decoder.logits", story.hidden("decoder.hidden", mean, batch)), axis=1)
    theta, library = np.exp(story.weights["log_theta"]), x.sum(1)
    reconstruction, divergence = np.zeros(len(x)), np.zeros(len(x))
    for n in range(len(x)):
        mu = library[n] * rho[n]
        reconstruction[n] -= stats.nbinom.logpmf(x[n], theta, theta / (theta + mu)).sum()
        reconstruction[n] += stats.norm.logpdf(mean[n], mean[n], np.sqrt(variance[n])).sum()
        for y in range(n_labels):
            share = np.exp(log_q[n, y])
            log_p = stats.norm.logpdf(mean[n], p1[y, n], np.sqrt(s1[y, n])).sum()
            kl = 0.5 * (v2[y, n] + q2[y, n] ** 2 - 1 - np.log(v2[y, n])).sum()
            reconstruction[n] -= share * log_p
            divergence[n] += share * (kl + log_q[n, y] - np.log(1 / n_labels))
    return reconstruction, divergence


@pytest.mark.parametrize("training", [False, True])
def test_the_terms_are_those_of_the_story(training):
    data = opened()
    module = made(data, dropout_rate=0.0).module.train(training)
    cells = probe(data, 60)
    state = {name: value.clone() for name, value in module.state_dict().items()}
    with torch.no_grad():
        terms = module.terms(cells, "mean")
    module.load_state_dict(state)                      # the running moments of before
    reconstruction, divergence = expected_terms(Story(module), cells)
    np.testing.assert_allclose(terms.reconstruction(), reconstruction, rtol=1e-5)
    np.testing.assert_allclose(terms.divergences(), divergence, rtol=1e-4, atol=1e-4)
    scaled = float(module.loss(terms, 0.25, 150))
    penalty = 50 * float(terms.penalty["classification_loss"][0]) if training else 0
    assert scaled == pytest.approx((reconstruction + 0.25 * divergence).mean() + penalty, rel=1e-5)
    assert training == bool(terms.penalty)


@pytest.mark.parametrize("name", [
    "encoder.mean.weight", "encoder.log_variance.bias", "deeper.hidden.linears.0.tables.0", "deeper.mean.weight",
    "deeper.log_variance.weight", "shallower.hidden.linears.0.weight", "shallower.mean.bias",
    "shallower.log_variance.weight", "classifier.logits.weight", "classifier.hidden.batch_norms.0.weight"])
def test_the_gradient_is_that_of_the_story(name):
    """Along a direction, by the difference of the story's loss on either side."""
    data = opened()
    module = made(data, dropout_rate=0.0, classification_ratio=0.0).module.train()
    cells, story = probe(data, 25), Story(module)
    module.loss(module.terms(cells, "mean"), 0.7, 150).backward()
    gradient = dict(module.named_parameters())[name].grad.double().numpy()
    direction, at, losses = np.random.default_rng(0).normal(size=gradient.shape), story.weights[name], []
    for step in (1e-5, -1e-5):
        story.weights[name] = at + step * direction
        reconstruction, divergence = expected_terms(story, cells)
        losses.append((reconstruction + 0.7 * divergence).mean())
    expected = (losses[0] - losses[1]) / 2e-5
    assert (gradient * direction).sum() == pytest.approx(expected, rel=2e-4, abs=2e-5)


def test_the_penalty_is_the_cross_entropy_of_the_labelled_cells_read_beside():
    data = opened()
    module = made(data, dropout_rate=0.0, classification_ratio=7.0).module.train()
    cells, beside = probe(data, 40), probe(data, 90)
    state = {name: value.clone() for name, value in module.state_dict().items()}
    known = {name: value for name, value in beside.items()}
    terms = module.terms(cells | {"streams": {"labelled": known}})      # drawn; labelled cells are taken at their mean
    module.load_state_dict(state)
    story, labels = Story(module), known["labels"].numpy()
    log_q = story.log_q(story.normal("encoder", np.log1p(known["x"].dense().double().numpy()))[0])
    some = np.flatnonzero(labels >= 0)
    expected = -log_q[some, labels[some]].mean()
    value, weight = terms.penalty["classification_loss"]
    assert float(value.detach()) == pytest.approx(expected, rel=1e-5) and weight == 7.0
    assert float(terms.tally["loss"].detach()) == pytest.approx(expected * len(some), rel=1e-5)
    confusion = np.zeros((3, 3))
    np.add.at(confusion, (labels[some], log_q[some].argmax(1)), 1)
    np.testing.assert_array_equal(terms.tally["confusion"], confusion)


def test_the_divergence_of_an_inferred_library_is_warmed_up():
    data = opened()
    module = made(data, use_observed_lib_size=False).module.eval()
    module.prepare(data, None)
    with torch.no_grad():
        terms = module.terms(probe(data, 30), "mean")
    assert set(terms.divergence) == {"z2", "labels", "library"}
    assert float(module.loss(terms, 0.0, 150)) == pytest.approx(float(terms.reconstruction().mean()), rel=1e-6)


def test_the_prior_of_a_label_matters():
    data = opened()
    module = made(data).module.eval()
    cells = probe(data, 30)
    with torch.no_grad():
        before = module.terms(cells, "mean").divergence["labels"].value
        log_q = module.label_probabilities(cells).log()
        module.label_prior.copy_(torch.tensor([0.5, 0.3, 0.2]))
        after = module.terms(cells, "mean").divergence["labels"].value
    shift = (log_q.exp() * (np.log(1 / 3) - module.label_prior.log())).sum(1)
    torch.testing.assert_close(after - before, shift, rtol=1e-4, atol=1e-5)


# the marginal likelihood -----------------------------------------------------------------------------------
def test_the_prior_of_the_latent_is_the_mixture_over_labels_and_states():
    """With q(z2 | z, y) and p(z | z2, y) that do not depend on their input, p(z) has a closed form."""
    data = opened()
    module = made(data).module.eval()
    with torch.no_grad():
        for network in (module.deeper, module.shallower):
            network.mean.weight.zero_()
            network.log_variance.weight.zero_()
        module.deeper.mean.bias.zero_()
        module.deeper.log_variance.bias.fill_(np.log(1 - 1e-4))         # q(z2) = p(z2)
        z = torch.randn(4, 5, 3)
        found = LabelledPrior(module).log_prob(z)
    p = module.shallower
    expected = stats.norm.logpdf(z.numpy(), p.mean.bias.detach(), np.exp(0.5 * p.log_variance.bias.detach().numpy()))
    np.testing.assert_allclose(found, expected.sum(-1), rtol=1e-4)


def test_the_marginal_likelihood_lies_above_its_bound():
    data = opened()
    fitted = train(made(data), data, options(max_epochs=20))
    torch.manual_seed(0)
    bound = np.mean([elbo(fitted.module, data) for _ in range(5)])
    few, many = (marginal_likelihood(fitted.module, data, n_mc_samples=n) for n in (2, 100))
    assert bound < few < many


def test_divergence_of_one_draw_is_unbiased():
    data = opened()
    module = made(data).module.eval()
    torch.manual_seed(0)
    with torch.no_grad():
        z = torch.randn(6, 3)
        exact = module.by_label(z)[1]
        drawn = torch.stack([module.by_label(z, share=True)[1] for _ in range(4000)])
    error = drawn.std(0) / np.sqrt(4000)
    assert ((drawn.mean(0) - exact).abs() < 5 * error).all()


# training --------------------------------------------------------------------------------------------------
def test_labels_are_recovered_from_a_tenth_of_them():
    adata = partly(0.1, 600, genes=100, depth=600)
    data = opened(adata)
    fitted = train(made(data, seed=0), data, options(max_epochs=40, n_epochs_kl_warmup=20, early_stopping=True,
                                                     batch_size=64))
    truth, names = adata.obs["cell_type"].to_numpy(), np.array(fitted.registry.categories["labels"])
    hidden = adata.obs["known"].to_numpy() == "?"
    found = label_probabilities(fitted.module, data)
    assert found.shape == (600, 3) and found.dtype == np.float32
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-5)
    assert (names[found.argmax(1)] == truth)[hidden].mean() > 0.95      # three types: chance is a third
    history = fitted.history.to_dict()
    for metric in ("accuracy", "f1_score", "calibration_error", "classification_loss"):
        for part in ("train", "validation"):
            assert np.isfinite(history[f"{metric}_{part}"]).all(), (metric, part)
    assert history["classification_loss_train"][-1] < history["classification_loss_train"][0] / 3
    assert history["accuracy_train"][-1] > 0.95


def test_each_epoch_draws_its_labelled_cells_anew_whatever_callbacks_there_are():
    data, seen = opened(partly(0.6)), []
    fit = made(data, n_samples_per_label=5)
    trainer = start(fit, data, options(max_epochs=3), [lambda trainer: None, lambda trainer: seen.append(
        trainer.module.streams(data, trainer.train_rows, np.random.default_rng([trainer.seed, trainer.epoch, 1])))])
    drawn = []
    terms = fit.module.explain

    def noting(cells, draw="sample"):
        if "streams" in cells:
            drawn.append(cells["streams"]["labelled"]["index"].clone())
        return terms(cells, draw)

    fit.module.explain = noting
    trainer.advance()
    n_steps = len(trainer.cells.training)
    epochs = [torch.cat(drawn[i * n_steps:(i + 1) * n_steps]).unique() for i in range(3)]
    codes = data.codes["labels"]
    for rows in epochs:
        assert np.bincount(codes[rows]).tolist() == [5, 5, 5]
        assert set(rows.tolist()) <= set(trainer.train_rows.tolist())
    assert not torch.equal(epochs[0], epochs[1]) and not torch.equal(epochs[1], epochs[2])
    assert len(seen) == 3 and not np.array_equal(np.sort(seen[0]["labelled"]), np.sort(seen[1]["labelled"]))


def test_all_labelled_cells_are_read_where_none_is_left_out():
    data = opened()
    module, rows = made(data).module, np.arange(20, 120)
    stream = module.streams(data, rows, np.random.default_rng(0))["labelled"]
    assert sorted(stream) == [row for row in rows if data.codes["labels"][row] >= 0]
    unlabelled = rows[data.codes["labels"][rows] < 0]
    assert module.streams(data, unlabelled, np.random.default_rng(0)) == {}


@pytest.mark.parametrize("share", [1.0, 0.03])
def test_all_cells_labelled_and_hardly_any(share):
    adata = partly(0.0, 90) if share < 1 else partly(1.0, 90)
    if share < 1:
        adata.obs.loc[adata.obs_names[:2], "known"] = ["a", "b"]       # two labels of one cell each
    data = opened(adata)
    fitted = train(made(data), data, options(max_epochs=2, train_size=1.0))
    assert np.isfinite(fitted.history.to_dict()["elbo_train"]).all()
    assert fitted.history.last("accuracy_train") is not None


def test_one_labelled_cell_in_training_is_read_several_times():
    adata = partly(0.0, 90)
    adata.obs.loc[adata.obs_names[[0, 89]], "known"] = ["a", "b"]
    data = opened(adata)
    rows = [list(range(80)), list(range(80, 90))]
    fitted = train(made(data), data, options(max_epochs=2, check_val_every_n_epoch=1), split=rows)
    assert fitted.history.last("accuracy_train") is not None and fitted.history.last("accuracy_validation") is not None


def test_validation_without_a_labelled_cell_has_no_scores():
    adata = partly(0.5, 90)
    adata.obs.loc[adata.obs_names[80:], "known"] = "?"
    data = opened(adata)
    rows = [list(range(80)), list(range(80, 90))]
    fitted = train(made(data), data, options(max_epochs=2, check_val_every_n_epoch=1), split=rows)
    history = fitted.history.to_dict()
    assert not [name for name in history if name.endswith("_validation") and name.startswith(("acc", "class", "f1"))]
    assert np.isfinite(history["elbo_validation"]).all() and np.isfinite(history["accuracy_train"]).all()


@pytest.mark.parametrize("n", [129, 130, 131, 150])
def test_last_minibatches(n):
    """Of one, two and three cells, at 64 a minibatch."""
    data = opened(partly(0.5, n))
    fitted = train(made(data), data, options(max_epochs=1, batch_size=64, train_size=1.0))
    assert np.isfinite(fitted.history.to_dict()["elbo_train"]).all()


@pytest.mark.parametrize("labels", [["a"], [], None])
def test_fewer_than_two_labels_are_refused(labels):
    adata = partly()
    adata.obs["known"] = "?" if not labels else labels[0]
    columns = Columns(batch="batch", labels=None if labels is None else "known", unlabeled="?")
    with pytest.raises(FieldError, match="needs `labels`" if labels is None else "tells labels apart") as caught:
        initialise(ScanviSettings(**SMALL), open_data(adata, columns))
    assert caught.value.field == "labels"


def test_a_label_that_is_new_in_a_query_is_refused():
    fit = made(opened())
    other = partly(seed=3)
    other.obs["known"] = other.obs["known"].replace({"type_1": "type_9"})
    with pytest.raises(FieldError, match="not trained on: 'type_9'"):
        open_data(other, registry=fit.registry)
    del other.obs["known"]
    assert (open_data(other, registry=fit.registry).codes["labels"] == -1).all()


def test_a_model_without_labels_says_so():
    data = opened()
    with pytest.raises(QueryError, match="scVI does not tell labels"):
        label_probabilities(initialise(ScviSettings(n_hidden=8, n_latent=2), data).module, data)


def test_probabilities_of_a_draw_and_of_some_rows():
    data = opened()
    module = made(data).module
    whole, rows = label_probabilities(module, data), [7, 3]
    np.testing.assert_allclose(label_probabilities(module, data, indices=rows), whole[rows], rtol=1e-5)
    torch.manual_seed(0)
    drawn = label_probabilities(module, data, draw="sample")
    assert np.abs(drawn - whole).max() > 1e-3


def test_minified_data_keep_their_labels():
    data = opened()
    fitted = train(made(data), data, options())
    with torch.no_grad():
        q = fitted.module.inference(probe(data, data.n_cells))["z"]
    minified = dataclasses.replace(data, stored={"z": (q.mean.numpy(), q.variance.numpy())}, has_counts=False)
    np.testing.assert_allclose(label_probabilities(fitted.module, minified), label_probabilities(fitted.module, data),
                               rtol=1e-4, atol=1e-6)


def test_the_adversary_bounds_the_gradient_and_begins_from_the_seed():
    data = opened()
    trainers = []
    for state in (1, 2):
        torch.manual_seed(state)                       # of the caller: it has no say
        trainers.append(start(made(data, adversarial=True), data, options(max_epochs=2)))
    weights = [[p.clone() for p in trainer.adversary.network.parameters()] for trainer in trainers]
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))
    trainers[0].advance()
    moved = trainers[0].adversary.network.parameters()
    assert any(not torch.equal(a, b) for a, b in zip(moved, weights[0], strict=True))
    assert trainers[0].module.gradient_clip == 50 and made(data).module.gradient_clip is None
    assert [layer.out_features for layer in trainers[0].adversary.network.modules() if isinstance(
        layer, torch.nn.Linear)] == [2]
    assert start(made(data), data, options()).adversary is None
    alone = opened_without_batch()
    assert start(made(alone, adversarial=True), alone, options()).adversary is None         # one batch: nothing to tell


def opened_without_batch():
    return open_data(partly(), Columns(labels="known", unlabeled="?"))


def test_an_interrupted_training_goes_on_from_its_checkpoint_as_if_it_had_not_stopped(tmp_path):
    data = opened()
    settings = {"adversarial": True, "n_samples_per_label": 8}
    more = {"max_epochs": 4, "check_val_every_n_epoch": 1}
    whole = made(data, **settings)
    train(whole, data, options(**more))
    stopped = made(data, **settings)
    trainer = begin(stopped, data, options(**more, checkpoint=str(tmp_path), checkpoint_every=1))
    trainer.advance(steps=8)                           # within the second epoch: five steps each
    trainer.interrupt()
    resumed = made(data, **settings)
    trainer = begin(resumed, data, options(**more, checkpoint=str(tmp_path), checkpoint_every=1))
    trainer.advance()
    assert trainer.state == "finished"
    assert same_weights(whole, resumed)
    resumed.history = trainer.history
    assert same_history(whole, resumed)
