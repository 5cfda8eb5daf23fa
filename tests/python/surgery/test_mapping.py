"""New cells are mapped onto a reference that stays as it is, bit for bit, whatever training does."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from examples import options, same_weights
from queries import (
    COLUMNS,
    DECAYED,
    EVERYTHING,
    answers,
    cells,
    equal,
    new_cells,
    reference,
    with_registry,
)

from latome.analysis.expression import normalized_expression
from latome.analysis.latent import latent_moments
from latome.analysis.likelihood import elbo
from latome.analysis.predictive import likelihood_parameters
from latome.backend import torch
from latome.data.registry import Columns, open_data
from latome.errors import FieldError, QueryError, TrainingError
from latome.fit import start, train
from latome.io import archive, checkpoint
from latome.modules.scvi import ScviSettings
from latome.surgery import learns, map_query, new_categories
from latome.training.session import RandomStream

FOR_MAPPING = ScviSettings.make(n_hidden=16, n_latent=4, for_mapping=True)


@pytest.fixture(scope="module")
def made():
    """(reference, its data): batch, two categorical covariates, a continuous one, and every part that grows."""
    return reference()


# registry ----------------------------------------------------------------------------------------------------------
def test_new_categories_follow_those_that_are_known(made):
    fit, _ = made
    mapped, data = map_query(fit, new_cells())
    assert mapped.registry.genes == fit.registry.genes and mapped.registry.n_cells == data.n_cells == 90
    assert new_categories(fit.registry, mapped.registry) == {
        "batch": ["new batch_1", "new batch_2"], "kit": ["new kit"]}
    for role, levels in fit.registry.categories.items():
        assert list(mapped.registry.categories[role][:len(levels)]) == list(levels)
    assert data.codes["batch"].min() == 2 and set(data.categories[:, 1]) <= {0, 1, 2, 3}


def test_labels_are_never_extended(made):
    fit, _ = made
    query = new_cells()
    query.obs["cell_type"] = "unheard of"
    with pytest.raises(FieldError, match="not trained on: 'unheard of'"):
        map_query(fit, query)
    del query.obs["cell_type"]
    assert (map_query(fit, query)[1].codes["labels"] == -1).all()


def test_a_column_of_cell_names_is_no_batch(made):
    query = new_cells()
    query.obs["batch"] = query.obs_names
    with pytest.raises(FieldError, match="90 new categories in 90 cells"):
        map_query(made[0], query)


def test_columns_of_the_query_may_have_other_names(made):
    fit, _ = made
    query = new_cells()
    usual = map_query(fit, query)[0]
    query.obs = query.obs.rename(columns={"batch": "donor", "kit": "chemistry", "age": "years"})
    columns = Columns(batch="donor", categorical=("chemistry", "lane"), continuous=("years",))
    mapped, data = map_query(fit, query, columns)
    assert mapped.registry.columns.batch == "donor" and data.registry.categories["chemistry"][-1] == "new kit"
    assert new_categories(fit.registry, mapped.registry).keys() == {"batch", "chemistry"}
    assert same_weights(usual, mapped)
    with pytest.raises(FieldError, match="categorical covariates are \\['chemistry'\\]; the reference has"):
        map_query(fit, query, dataclasses.replace(columns, categorical=("chemistry",)))
    query.obs["batch"] = query.obs["lane"]
    with pytest.raises(FieldError, match="cannot be called 'batch'"):
        map_query(fit, query, dataclasses.replace(columns, categorical=("chemistry", "batch")))


def test_a_reference_of_one_batch_gains_a_table():
    fit, data = reference(FOR_MAPPING, Columns())
    before = answers(fit, data)
    mapped, query = map_query(fit, new_cells(), Columns(batch="batch"))
    assert list(mapped.registry.categories["batch"]) == ["all", "new batch_1", "new batch_2"]
    table = mapped.module.encoder.hidden.linears[0].tables[0]
    assert table.shape == (3, 16) and not table.any()                   # the mean of a row of zeros
    assert learns(mapped)
    train(mapped, query, DECAYED)
    assert not table[0].any() and table[1].any() and table[2].any()
    assert equal(answers(mapped, with_registry(data, mapped)), before)
    without, _ = map_query(fit, new_cells())
    assert not learns(without) and without.trained


def test_a_covariate_of_one_category_gains_a_table_beside_the_others():
    adata = cells()
    adata.obs["batch"] = "only"
    fit, data = reference(EVERYTHING, adata=adata)
    before = answers(fit, data)
    mapped, query = map_query(fit, new_cells())
    layer, old = mapped.module.decoder.hidden.linears[1], fit.module.decoder.hidden.linears[1]
    assert old.columns == [1, 2] and layer.columns == [0, 1, 2]
    np.testing.assert_array_equal(layer.tables[1][:3].detach(), old.tables[0].detach())
    train(mapped, query, DECAYED)
    assert equal(answers(mapped, with_registry(data, mapped)), before)


# where new rows begin ----------------------------------------------------------------------------------------------
def test_new_rows_begin_at_the_mean_of_the_old(made):
    fit, _ = made
    mapped, _ = map_query(fit, new_cells())
    pairs = [(mapped.module.log_theta, fit.module.log_theta), *(
        (new, old) for network in ("encoder", "decoder", "library_encoder") for new, old in zip(
            getattr(mapped.module, network).hidden.linears[0].tables,
            getattr(fit.module, network).hidden.linears[0].tables, strict=True))]
    for new, old in pairs:
        new, old = new.detach(), old.detach()
        np.testing.assert_array_equal(new[:len(old)], old)
        for row in new[len(old):]:
            np.testing.assert_allclose(row, old.double().mean(0), rtol=1e-5, atol=1e-6)


def test_the_prior_of_the_library_is_that_of_the_new_cells(made):
    fit, _ = made
    query = new_cells()
    query.obs["batch"] = np.where(query.obs["batch"] == "new batch_1", "batch_1", "new")    # one batch is known
    mapped, _ = map_query(fit, query)
    np.testing.assert_array_equal(mapped.module.library_mean[:2], fit.module.library_mean)
    logs = np.log(np.asarray(query.X.sum(1)).ravel()[query.obs["batch"] == "new"])
    np.testing.assert_allclose(mapped.module.library_mean[2], logs.mean(), rtol=1e-5)
    np.testing.assert_allclose(mapped.module.library_variance[2], logs.var(), rtol=1e-4)


# what stays --------------------------------------------------------------------------------------------------------
TRAININGS = {
    "Adam": {"weight_decay": 0.1},
    "AdamW": {"weight_decay": 0.1, "optimizer": "AdamW"},
    "clipped": {"gradient_clip_val": 0.1, "weight_decay": 0.1},
    "clipped by value": {"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"},
    "best epoch": {"keep_best": True, "early_stopping": True, "lr": 0.1},
    "cycle": {"lr_schedule": "cycle"},
    "decoder alone": {"update_only_decoder": True, "weight_decay": 0.1},
}


def verbs(fit, data):
    """{what: array} of the questions that users ask; a library that is inferred is drawn."""
    with RandomStream(0).active():
        found = {"latent": np.stack(latent_moments(fit.module, data)),
                 "expression": normalized_expression(fit.module, data, draw="mean")}
        return found | likelihood_parameters(fit.module, data, give_mean=True)


@pytest.mark.parametrize("name", TRAININGS)
def test_the_reference_stays_bit_equal(made, name):
    fit, data = made
    before = answers(fit, data)
    mapped, query = map_query(fit, new_cells())
    seen = with_registry(data, mapped)
    assert equal(answers(mapped, seen), before)
    asked = verbs(fit, data)
    train(mapped, query, options(**TRAININGS[name]))
    assert equal(answers(mapped, seen), before) and equal(answers(fit, data), before)
    assert equal(verbs(mapped, seen), asked)


@pytest.mark.parametrize("creator", [
    lambda parameters: torch.optim.SGD(parameters, lr=1e-3, momentum=0.9, weight_decay=0.1),
    lambda parameters: torch.optim.RMSprop(parameters, lr=1e-3, weight_decay=0.1)])
def test_it_does_so_with_any_optimiser(made, creator):
    fit, data = made
    mapped, query = map_query(fit, new_cells())
    begun = mapped.module.log_theta.detach().clone()
    train(mapped, query, options(), optimizer=creator)
    assert equal(answers(mapped, with_registry(data, mapped)), answers(fit, data))
    assert not np.array_equal(mapped.module.log_theta[2:].detach(), begun[2:])


def test_it_does_so_without_compiled_kernels():
    if os.environ.get("LATOME_KERNELS") == "off":
        pytest.skip("this is the test within the test")
    environment = {**os.environ, "LATOME_KERNELS": "off"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__,
               "-k", "stays_bit_equal and Adam"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert done.returncode == 0 and " passed" in done.stdout, done.stdout + done.stderr


def test_all_but_the_new_rows_stays_as_it_was(made):
    mapped, query = map_query(made[0], new_cells())
    before = {name: value.clone() for name, value in mapped.module.state_dict().items()}
    train(mapped, query, DECAYED)
    for name, value in mapped.module.state_dict().items():
        n = mapped.held[name]
        assert torch.equal(value if n is None else value[:n], before[name] if n is None else before[name][:n]), name
    moved = {name for name, value in mapped.module.state_dict().items() if not torch.equal(value, before[name])}
    grown = {name for name, n in mapped.held.items() if n is not None} - {"library_mean", "library_variance"}
    assert moved == grown and len(grown) == 1 + 2 * 5                   # theta; batch and kit in each hidden layer


def test_a_second_query_holds_the_first(made):
    fit, data = made
    first, query = map_query(fit, new_cells())
    train(first, query, DECAYED)
    before = answers(fit, data), answers(first, query)
    second, further = map_query(first, new_cells("further", seed=4))
    assert list(second.registry.categories["batch"][-3:]) == ["new batch_2", "further batch_1", "further batch_2"]
    train(second, further, DECAYED)
    third, more = map_query(second, new_cells("last", seed=5))
    train(third, more, DECAYED)
    assert equal(answers(third, with_registry(data, third)), before[0])
    assert equal(answers(third, with_registry(query, third)), before[1])
    assert equal(answers(third, with_registry(further, third)), answers(second, further))


def test_a_saved_model_of_new_cells_still_holds_the_reference(made, tmp_path):
    fit, data = made
    mapped, query = map_query(fit, new_cells())
    train(mapped, query, DECAYED)
    again = archive.load(archive.save(mapped, tmp_path / "mapped"))
    assert again.held == mapped.held and same_weights(again, mapped)
    train(again, query, DECAYED)
    assert not same_weights(again, mapped)
    assert equal(answers(again, with_registry(data, again)), answers(fit, data))


def test_training_goes_on_from_a_checkpoint(made, tmp_path):
    fit, data = made

    def begun(folder):
        mapped, query = map_query(fit, new_cells())
        return mapped, checkpoint.begin(mapped, query, options(checkpoint=str(folder), checkpoint_every=1))

    whole, trainer = begun(tmp_path / "whole")
    trainer.advance()
    part, trainer = begun(tmp_path / "parts")
    while trainer.epoch < 2:
        trainer.advance(steps=1)
    part, trainer = begun(tmp_path / "parts")
    trainer.advance()
    assert same_weights(part, whole)
    assert equal(answers(part, with_registry(data, part)), answers(fit, data))


@pytest.mark.parametrize("held", [{"no such tensor": None}, {"log_theta": 99}, {"log_theta": "2"}])
def test_a_damaged_record_of_what_is_held_is_an_error(made, held, tmp_path):
    mapped, _ = map_query(made[0], new_cells())
    with pytest.raises(archive.ArchiveError, match="is said to be held"):
        archive.load(archive.save(dataclasses.replace(mapped, held=held), tmp_path / "model"))


def test_batch_norms_keep_their_statistics():
    fit, data = reference(dataclasses.replace(EVERYTHING, use_layer_norm="none", use_batch_norm="both"))
    mapped, query = map_query(fit, new_cells())
    norms = [part for part in mapped.module.modules() if isinstance(part, torch.nn.BatchNorm1d)]
    trainer = start(mapped, query, options())
    trainer.advance(steps=2)
    assert len(norms) == 5 and not any(norm.training for norm in norms)
    assert mapped.module.training and mapped.module.encoder.training    # dropout is active
    trainer.advance()
    assert equal(answers(mapped, with_registry(data, mapped)), answers(fit, data))


# what moves --------------------------------------------------------------------------------------------------------
def test_training_moves_the_latent_and_improves_the_bound_of_cells_held_out():
    fit, _ = reference(FOR_MAPPING, Columns(batch="batch"), cells(400), max_epochs=60, lr=2e-3)
    mapped, query = map_query(fit, new_cells(n=300, batch_effect=1.0))
    before = latent_moments(mapped.module, query)[0]
    split = [np.arange(200), np.arange(200, 300), np.arange(0)]
    bound = elbo(mapped.module, query, indices=split[1])
    train(mapped, query, options(max_epochs=60), split=split)
    assert np.abs(latent_moments(mapped.module, query)[0] - before).max() > 0.05
    assert elbo(mapped.module, query, indices=split[1]) > bound + 1


def test_a_reference_whose_encoder_takes_no_covariates_is_projected():
    fit, data = reference(ScviSettings(n_hidden=12, n_latent=3), Columns(batch="batch"))
    mapped, query = map_query(fit, new_cells())
    assert not learns(mapped) and mapped.trained and not len(mapped.history)
    before = latent_moments(mapped.module, query)[0]
    train(mapped, query, DECAYED)                      # its decoder can learn, and does
    np.testing.assert_array_equal(latent_moments(mapped.module, query)[0], before)
    assert not same_weights(mapped, map_query(fit, new_cells())[0])
    assert equal(answers(mapped, with_registry(data, mapped)), answers(fit, data))


def test_without_new_categories_there_is_nothing_to_train(made):
    mapped, query = map_query(made[0], cells(seed=7))
    assert not learns(mapped) and mapped.trained
    with pytest.raises(TrainingError, match="no new category"):
        train(mapped, query, options())


def test_a_network_that_is_freed_is_trained(made):
    fit, data = made
    mapped, query = map_query(fit, new_cells(), free=("decoder.*",))
    train(mapped, query, options())
    found, before = answers(mapped, with_registry(data, mapped)), answers(fit, data)
    assert np.array_equal(found["z"], before["z"]) and not np.array_equal(found["mean"], before["mean"])
    whole, _ = map_query(fit, new_cells(), free=("*",))
    assert whole.held == {} and learns(whole)


def test_settings_may_change_with_the_query(made):
    mapped, _ = map_query(made[0], new_cells(), settings={"dropout_rate": 0.0}, seed=8)
    assert mapped.settings == dataclasses.replace(EVERYTHING, dropout_rate=0.0) and mapped.seed == 8
    assert made[0].settings.dropout_rate == 0.1 and map_query(made[0], new_cells())[0].seed == made[0].seed


# genes -------------------------------------------------------------------------------------------------------------
def test_genes_are_matched_by_name(made):
    fit, _ = made
    query = new_cells()
    usual, data = map_query(fit, query)
    turned, same = map_query(fit, query[:, ::-1].copy())
    np.testing.assert_array_equal(latent_moments(turned.module, same), latent_moments(usual.module, data))
    fewer = query[:, 6:].copy()
    padded, there = map_query(fit, fewer)
    zeros = query.copy()
    zeros.X = sp.csr_matrix(zeros.X @ sp.diags((np.arange(30) >= 6).astype(np.float32)))
    blank, blanked = map_query(fit, zeros)
    np.testing.assert_array_equal(latent_moments(padded.module, there), latent_moments(blank.module, blanked))
    with pytest.raises(QueryError, match=r"24 of the model's 30 genes \(80%\); at least 90%"):
        map_query(fit, fewer, min_overlap=0.9)


def test_labels_that_a_model_needs_are_asked_for():
    fit, _ = reference(dataclasses.replace(EVERYTHING, dispersion="gene-label"))
    mapped, query = map_query(fit, new_cells())
    assert mapped.held["log_theta"] is None            # by label, and labels are not extended
    train(mapped, query, options())


def test_minified_data_of_the_reference_answer_as_before():
    fit, data = reference(FOR_MAPPING, COLUMNS)
    mean, variance = latent_moments(fit.module, data)
    minified = dataclasses.replace(data, stored={"z": (mean, variance)}, has_counts=False)
    mapped, query = map_query(fit, new_cells())
    train(mapped, query, DECAYED)
    np.testing.assert_array_equal(
        normalized_expression(mapped.module, with_registry(minified, mapped), draw="mean"),
        normalized_expression(fit.module, minified, draw="mean"))


def test_data_opened_for_the_reference_are_refused(made):
    fit, data = made
    mapped, _ = map_query(fit, new_cells())
    with pytest.raises(QueryError, match="not opened against this model's registry"):
        start(mapped, data, options())
    assert open_data(cells(), registry=mapped.registry).codes["batch"].max() == 1
