"""The loop: it learns, it repeats itself exactly, it can be cut, stopped and taken up, and it refuses NaN."""

import numpy as np
import pytest
from examples import (
    SMALL,
    opened,
    options,
    random_state,
    same_history,
    same_weights,
    small_data,
    trained,
    untrained,
    weights_of,
)

from latome.analysis.likelihood import elbo
from latome.backend import torch
from latome.data.registry import open_data
from latome.errors import FieldError, QueryError, TrainingError
from latome.fit import conclude, start, train
from latome.modules.scvi import ScviSettings


@pytest.fixture(scope="module")
def data():
    return opened()                                    # 90 cells: 81 to train on, 2 full minibatches and one of 17


def after_steps(data, n, **more):
    """A fit after n steps, driven one by one."""
    fit = untrained(data)
    trainer = start(fit, data, options(**more))
    for _ in range(n):
        trainer.advance(0.0)
    assert trainer.step == n
    return fit, trainer


LIKELIHOODS = {
    "zinb": SMALL, "nb": ScviSettings(12, 3, gene_likelihood="nb"),
    "poisson": ScviSettings(12, 3, gene_likelihood="poisson"),
    "everything": ScviSettings(12, 3, 2, gene_likelihood="nb", dispersion="gene-batch", use_observed_lib_size=False,
                               encode_covariates=True, use_layer_norm="both"),
}


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_the_loss_falls(name):
    data = opened(categorical=("kit",), continuous=("age",))
    fit = untrained(data, LIKELIHOODS[name])
    before = elbo(fit.module, data, draw="mean")
    train(fit, data, options(max_epochs=30))
    assert elbo(fit.module, data, draw="mean") > before + 5
    losses = fit.history.to_dict()["elbo_train"]
    assert losses.shape == (30,) and losses[-5:].mean() < losses[:5].mean() - 5
    assert not fit.module.training


def test_the_same_seed_gives_the_same_weights(data):
    one, same, other = trained(data, seed=3), trained(data, seed=3), trained(data, seed=4)
    assert same_weights(one, same) and same_history(one, same)
    assert not same_weights(one, other)
    assert not same_weights(untrained(data, seed=3), untrained(data, seed=4))


def test_slices_of_time_change_nothing(data):
    whole = trained(data)
    fit = untrained(data)
    trainer = start(fit, data, options())
    states = []
    while trainer.state == "running":
        torch.rand(5), np.random.rand(2)               # whoever drives it draws numbers of his own
        states.append(trainer.advance(0.0))
    conclude(fit, trainer)
    assert same_weights(whole, fit) and same_history(whole, fit)
    steps = [now.step for now in states]
    assert steps[:12] == list(range(1, 13)) and trainer.n_steps == 12
    assert [now.epoch for now in states][-1] == 4 and states[-1].state == "finished"
    assert all(now.state == "running" for now in states[:-1])
    assert states[0].elbo is None and states[-1].elbo == fit.history.last("elbo_train")
    assert trainer.advance(0.0).step == 12             # asking again changes nothing


def test_each_epoch_visits_each_training_cell_once(data, monkeypatch):
    fit = untrained(data)
    trainer = start(fit, data, options(train_size=0.7, check_val_every_n_epoch=2))
    seen, training = [], []
    explain = type(fit.module).explain

    def record(module, cells, draw="sample"):
        seen.append(cells["index"].tolist())
        training.append(module.training)
        return explain(module, cells, draw)

    monkeypatch.setattr(type(fit.module), "explain", record)
    trainer.advance()
    shown = [index for index, learning in zip(seen, training) if learning]
    per_epoch = [sum(shown[i:i + 2], []) for i in range(0, len(shown), 2)]                # 63 cells: 32 and 31
    assert len(per_epoch) == 4 and all(sorted(epoch) == sorted(trainer.train_rows) for epoch in per_epoch)
    assert len({tuple(epoch) for epoch in per_epoch}) == 4             # in another order each time
    checked = [index for index, learning in zip(seen, training) if not learning]
    assert [sorted(index) for index in checked] == [sorted(trainer.validation_rows)] * 2


@pytest.mark.parametrize(("n", "size", "steps"), [(81, 40, 2), (82, 40, 2), (83, 40, 3), (81, 81, 1), (81, 500, 1)])
def test_a_last_minibatch_of_one_or_two_cells_joins_another(n, size, steps):
    data = opened(small_data(n))
    fit, trainer = after_steps(data, steps, train_size=1.0, batch_size=size)
    trainer.advance(0.0)
    assert trainer.n_steps == 4 * steps and trainer.epoch == 1


def test_the_callers_generators_are_left_alone(data):
    before = random_state()
    trained(data, early_stopping=True)
    assert all(np.array_equal(a, b) for a, b in zip(before, random_state()))


def test_the_number_of_threads_is_restored(data):
    before, seen = torch.get_num_threads(), []
    fit = untrained(data)
    train(fit, data, options(threads=before + 1), callbacks=[lambda trainer: seen.append(torch.get_num_threads())])
    assert seen == [before + 1] * 4 and torch.get_num_threads() == before
    train(untrained(data), data, options(threads=before + 1), callbacks=[interrupt])
    assert torch.get_num_threads() == before
    assert fit.training["threads"] == before + 1


# -- ends of training --------------------------------------------------------------------------------------------------

def interrupt(trainer):
    if trainer.epoch == 2:
        raise KeyboardInterrupt


def test_an_interrupt_after_an_epoch_keeps_the_model(data):
    fit = train(untrained(data), data, options(), callbacks=[interrupt])
    assert fit.training["stopped"] == "interrupted" and fit.training["epochs"] == len(fit.history) == 2
    assert same_weights(fit, trained(data, max_epochs=2)) and not fit.module.training


def test_an_interrupt_within_a_step_keeps_the_steps_before(data, monkeypatch):
    fit = untrained(data)
    calls, explain = [], type(fit.module).explain

    def interrupted(module, *arguments):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return explain(module, *arguments)

    monkeypatch.setattr(type(fit.module), "explain", interrupted)
    before = random_state()
    train(fit, data, options())
    assert all(np.array_equal(a, b) for a, b in zip(before, random_state()))
    assert fit.training["stopped"] == "interrupted" and fit.training["epochs"] == 2
    monkeypatch.undo()
    four, trainer = after_steps(data, 4)
    assert same_weights(fit, four)
    history = fit.history.to_dict()                    # the part of the second epoch has its row
    assert history["epoch"].tolist() == [0, 1]
    assert history["elbo_train"][0] == trainer.history.last("elbo_train") != history["elbo_train"][1]
    train(fit, data, options(max_epochs=1))            # and it can be trained on
    assert fit.training["stopped"] == "finished" and fit.history.to_dict()["epoch"].tolist() == [0, 1, 2]


def test_an_interrupt_during_validation_keeps_the_epoch(data, monkeypatch):
    fit = untrained(data)
    terms = type(fit.module).terms

    def interrupted(module, *arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(type(fit.module), "terms", interrupted)
    train(fit, data, options(check_val_every_n_epoch=2))
    monkeypatch.setattr(type(fit.module), "terms", terms)
    assert fit.training["stopped"] == "interrupted" and len(fit.history) == 2 and not fit.module.training
    assert same_weights(fit, after_steps(data, 6)[0])


def test_an_interrupt_after_a_loss_beyond_bounds_keeps_the_last_sound_epoch(data, monkeypatch):
    fit = untrained(data)
    calls, loss = [], type(fit.module).loss

    def spoilt(module, terms, *more):
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return loss(module, terms, *more) * (float("nan") if len(calls) == 5 else 1.0)

    monkeypatch.setattr(type(fit.module), "loss", spoilt)
    train(fit, data, options())
    monkeypatch.undo()
    assert fit.training["stopped"] == "interrupted" and len(fit.history) == 1
    assert same_weights(fit, trained(data, max_epochs=1))


def test_an_interrupted_trainer_does_not_go_on(data):
    fit = untrained(data)
    trainer = start(fit, data, options(), callbacks=[interrupt])
    assert trainer.advance().state == "interrupted"
    before = weights_of(fit.module)
    assert trainer.advance().state == "interrupted" and trainer.epoch == 2
    assert all(np.array_equal(before[name], value) for name, value in weights_of(fit.module).items())


def test_a_callback_may_stop(data):
    fit = train(untrained(data), data, options(), callbacks=[lambda trainer: None, lambda trainer: trainer.epoch == 3])
    assert fit.training["stopped"] == "early" and len(fit.history) == 3
    assert same_weights(fit, trained(data, max_epochs=3))


def test_early_stopping_stops(data):
    given = {"max_epochs": 50, "early_stopping": True, "early_stopping_min_delta": 1e6}
    fit = trained(data, early_stopping_patience=3, **given)
    assert fit.training["stopped"] == "early" and len(fit.history) == 4
    assert np.isfinite(fit.history.to_dict()["elbo_validation"]).all()
    watching_train = trained(data, early_stopping_patience=2, early_stopping_monitor="elbo_train", train_size=1.0,
                             **given)
    assert len(watching_train.history) == 3 and "elbo_validation" not in watching_train.history.to_dict()


def test_training_again_continues(data):
    fit = trained(data, max_epochs=3)
    first = weights_of(fit.module)
    train(fit, data, options(max_epochs=2))
    history = fit.history.to_dict()
    assert history["epoch"].tolist() == [0, 1, 2, 3, 4] and fit.training["epochs"] == 5
    np.testing.assert_allclose(history["kl_weight"], np.arange(5) / 5)                  # the warm-up goes on too
    assert any(not np.array_equal(first[name], value) for name, value in weights_of(fit.module).items())
    again = train(trained(data, max_epochs=3), data, options(max_epochs=2))
    assert same_weights(fit, again)


# -- divergence --------------------------------------------------------------------------------------------------------

def test_a_loss_beyond_bounds_is_refused_and_the_first_weights_come_back(data):
    fit = untrained(data)
    before = weights_of(fit.module)
    with pytest.raises(TrainingError, match="infinite or NaN in epoch 1") as caught:
        train(fit, data, options(lr=1e6))
    assert caught.value.field == "lr" and "1000000.0" in caught.value.hint
    assert len(fit.history) == 0 and fit.training["stopped"] == "failed"
    assert all(np.array_equal(before[name], value) for name, value in weights_of(fit.module).items())
    trainer = start(fit, data, options(lr=1e6))
    with pytest.raises(TrainingError):
        trainer.advance()
    assert trainer.advance().state == "failed"         # it does not go on


def test_a_later_failure_brings_back_the_last_sound_epoch(data, monkeypatch):
    fit = untrained(data)
    loss = type(fit.module).loss

    def spoilt(module, terms, weight, *more):
        return loss(module, terms, weight, *more) * (float("nan") if weight >= 0.4 else 1.0)          # from epoch 3

    monkeypatch.setattr(type(fit.module), "loss", spoilt)
    with pytest.raises(TrainingError, match="in epoch 3"):
        train(fit, data, options())
    monkeypatch.undo()
    assert len(fit.history) == 2 and not fit.module.training
    assert same_weights(fit, trained(data, max_epochs=2))


@pytest.mark.parametrize("algorithm", ["norm", "value"])
@pytest.mark.parametrize("at", [5, 11])                # within an epoch, and in the very last step
def test_bounding_the_gradient_hides_no_nan(data, monkeypatch, algorithm, at):
    """A gradient of NaN under a loss that is finite."""
    fit = untrained(data)
    calls, loss = [], type(fit.module).loss

    def spoilt(module, terms, *more):
        value = loss(module, terms, *more)
        calls.append(1)
        if len(calls) == at + 1:
            value.register_hook(lambda gradient: gradient * float("nan"))
        return value

    monkeypatch.setattr(type(fit.module), "loss", spoilt)
    given = {"gradient_clip_val": 1.0, "gradient_clip_algorithm": algorithm}
    with pytest.raises(TrainingError, match=f"infinite or NaN in epoch {at // 3 + 1}"):
        train(fit, data, options(**given))
    monkeypatch.undo()
    assert fit.training["stopped"] == "failed" and same_weights(fit, trained(data, max_epochs=at // 3, **given))


def test_a_bounded_gradient_makes_another_model(data):
    free = trained(data)
    bounded = weights_of(trained(data, gradient_clip_val=1e9).module)  # nothing is bounded; added up in another order
    for name, value in weights_of(free.module).items():
        np.testing.assert_allclose(bounded[name], value, rtol=1e-3, atol=1e-4, err_msg=name)
    assert not same_weights(free, trained(data, gradient_clip_val=0.1))
    losses = trained(data, max_epochs=30, gradient_clip_val=0.1).history.to_dict()["elbo_train"]
    assert losses[-1] < losses[0] - 5


def test_decoupled_decay_makes_another_model(data):
    given = {"weight_decay": 0.1}
    assert not same_weights(trained(data, **given), trained(data, optimizer="AdamW", **given))
    assert same_weights(trained(data, weight_decay=0), trained(data, weight_decay=0, optimizer="AdamW"))


def test_a_failure_of_further_training_keeps_the_trained_model(data):
    fit = trained(data)
    before = weights_of(fit.module)
    with pytest.raises(TrainingError, match="in epoch 5"):
        train(fit, data, options(lr=1e6))
    assert all(np.array_equal(before[name], value) for name, value in weights_of(fit.module).items())
    assert len(fit.history) == 4


# -- what is written down ----------------------------------------------------------------------------------------------

def test_history_of_a_training(data):
    fit = trained(data, check_val_every_n_epoch=2)
    found = fit.history.to_dict()
    np.testing.assert_array_equal(found["epoch"], np.arange(4))
    np.testing.assert_allclose(found["kl_weight"], np.arange(4) / 5)
    for part in ("train", "validation"):
        total = found[f"reconstruction_loss_{part}"] + found[f"kl_local_{part}"]
        np.testing.assert_allclose(found[f"elbo_{part}"], total, rtol=1e-12)
    assert np.isnan(found["elbo_validation"]).tolist() == [True, False, True, False]
    assert (found["kl_local_train"] > 0).all() and (found["kl_global_train"] == 0).all()
    facts = fit.training
    assert (facts["n_train"], facts["n_validation"], facts["stopped"]) == (81, 9, "finished")
    assert facts["seconds"] > 0 and facts["device"] == "cpu" and facts["options"]["lr"] == 5e-3


def test_no_cells_to_validate_on_is_no_validation(data):
    fit = trained(data, train_size=1.0, check_val_every_n_epoch=1)
    assert len(fit.history) == 4 and "elbo_validation" not in fit.history.to_dict()


def test_the_history_holds_means_over_cells(data, monkeypatch):
    """With a learning rate of next to nothing, no dropout and means for draws, an epoch reads one model."""
    settings = ScviSettings(12, 3, dropout_rate=0.0, use_batch_norm="none")
    fit = untrained(data, settings)
    explain = type(fit.module).explain
    monkeypatch.setattr(type(fit.module), "explain", lambda module, cells, draw="mean": explain(module, cells, "mean"))
    trainer = start(fit, data, options(max_epochs=1, lr=1e-12, weight_decay=0, check_val_every_n_epoch=1))
    trainer.advance()
    for rows, name in ((trainer.train_rows, "elbo_train"), (trainer.validation_rows, "elbo_validation")):
        expected = -elbo(fit.module, data, indices=rows, draw="mean")
        assert trainer.history.last(name) == pytest.approx(expected, rel=1e-5)


def test_the_warm_up_may_run_over_steps(data):
    fit = trained(data, n_epochs_kl_warmup=None, n_steps_kl_warmup=8)
    # three steps an epoch; the history has the weight of the last
    np.testing.assert_allclose(fit.history.to_dict()["kl_weight"], [2 / 8, 5 / 8, 1, 1])


def test_the_weight_enters_the_loss(data):
    fit = untrained(data)
    with torch.no_grad():
        terms = fit.module.terms(next(iter(start(fit, data, options()).cells.training)), "mean")
    zero, half, one = (float(fit.module.loss(terms, weight, 81)) for weight in (0.0, 0.5, 1.0))
    kl, rec = float(terms.divergences().mean()), float(terms.reconstruction().mean())
    assert zero == pytest.approx(rec, rel=1e-5) and kl > 0
    assert half == pytest.approx(rec + kl / 2, rel=1e-5) and one == pytest.approx(rec + kl, rel=1e-5)


# -- data and model must belong together -------------------------------------------------------------------------------

def test_data_of_other_genes_are_refused(data):
    other = opened(small_data(n_genes=31))
    with pytest.raises(QueryError, match="not opened against this model"):
        start(untrained(data), other, options())


def test_a_model_that_needs_labels_says_so():
    settings = ScviSettings(12, 3, dispersion="gene-label")
    with pytest.raises(FieldError, match="needs labels"):
        untrained(opened(), settings)
    adata = small_data()
    adata.obs["some"] = adata.obs["cell_type"].astype(object).where(np.arange(90) > 3)
    data = opened(adata, labels="some")
    with pytest.raises(FieldError, match="a label for each cell"):
        train(untrained(data, settings), data, options())


def test_an_interrupt_between_two_slices_keeps_the_model(data):
    def show(now):
        if now.epoch >= 2:
            raise KeyboardInterrupt

    fit = train(untrained(data), data, options(max_epochs=200), progress=show)
    assert fit.training["stopped"] == "interrupted" and fit.trained
    assert 2 <= len(fit.history) < 200
    assert not fit.module.training


def test_training_again_goes_on_warming_up(data):
    """Over epochs and over steps alike."""
    for warm_up in ({"n_epochs_kl_warmup": 4}, {"n_epochs_kl_warmup": None, "n_steps_kl_warmup": 10}):
        fit = untrained(data)
        for _ in range(2):
            train(fit, data, options(max_epochs=2, **warm_up))
        weights = fit.history.to_dict()["kl_weight"]
        assert (np.diff(weights) > 0).all(), (warm_up, weights)


@pytest.mark.parametrize("other", [{"continuous": ("library",)}, {"categorical": ("cell_type", "kit")}])
def test_data_of_other_covariates_are_refused(other):
    roles = {"categorical": ("kit", "cell_type"), "continuous": ("age",)}
    fit = untrained(opened(**roles))
    with pytest.raises(QueryError, match="not opened against this model"):
        start(fit, opened(**(roles | other)), options())


def test_a_batch_without_cells_keeps_its_library_prior():
    adata = small_data()
    fit = trained(opened(adata), ScviSettings(12, 3, use_observed_lib_size=False), max_epochs=1)
    before = fit.module.library_mean.clone()
    one = adata[adata.obs["batch"] == fit.registry.batch_categories[0]].copy()
    train(fit, open_data(one, registry=fit.registry), options(max_epochs=1))
    torch.testing.assert_close(fit.module.library_mean, before)
