"""The border to R: plain dicts, errors as values, nothing printed, nothing copied that need not be."""

import json
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from examples import random_state, same_weights, small_data, trained

from latome import bridge
from latome.analysis.latent import latent
from latome.analysis.likelihood import elbo
from latome.backend import torch
from latome.data.registry import Columns, open_data
from latome.data.selection import select_genes
from latome.io import archive
from latome.modules.scvi import ScviSettings

SETTINGS = {"n_hidden": 12, "n_latent": 3}
OPTIONS = {"max_epochs": 4, "batch_size": 32, "n_epochs_kl_warmup": 5, "lr": 5e-3, "device": "cpu"}
ERROR = {"ok", "kind", "field", "problem", "hint"}


@pytest.fixture(autouse=True)
def silent(capfd):
    """Whatever a test does, nothing is printed."""
    yield
    assert capfd.readouterr() == ("", "")


def as_r_sends_it(adata):
    """The arguments of `anndata`: read-only float64 and int32 of a genes x cells dgCMatrix, factors as codes."""
    csc = sp.csc_matrix(adata.X.T.astype(np.float64))                  # genes x cells
    arrays = {"x": csc.data, "i": csc.indices.astype(np.int32), "p": csc.indptr.astype(np.int32)}
    for values in arrays.values():
        values.flags.writeable = False
    columns = {}
    for name in ("batch", "cell_type", "kit"):
        factor = adata.obs[name].astype("category").cat
        columns[name] = {"codes": factor.codes.to_numpy(np.int32), "levels": list(factor.categories.astype(str))}
    columns["age"] = {"values": adata.obs["age"].to_numpy(np.float64)}
    return {**arrays, "shape": [adata.n_obs, adata.n_vars], "cells": list(adata.obs_names),
            "genes": list(adata.var_names), "columns": columns}


def good(answer):
    assert answer["ok"], answer
    assert isinstance(answer["warnings"], list)
    return answer


@pytest.fixture
def sent():
    return as_r_sends_it(small_data())


@pytest.fixture
def data(sent):
    return good(bridge.anndata(**sent))["data"]


def start(data, **changed):
    return bridge.start(**{"data": data, "kind": "scvi", "settings": SETTINGS, "genes": None, "options": OPTIONS,
                           "columns": {"batch": "batch", "labels": None, "categorical": [], "continuous": []},
                           "seed": 0, **changed})


def run(data, **changed):
    trainer = good(start(data, **changed))["trainer"]
    while good(bridge.advance(trainer, 0.02))["state"] == "running":
        pass
    return good(bridge.finish(trainer))


def test_status_is_plain():
    answer = good(bridge.status())
    assert json.loads(json.dumps(answer)) == answer
    assert {"version", "python", "executable", "torch", "numpy", "anndata", "safetensors", "threads", "devices",
            "kernels",
            "borrowed_blas"} <= set(answer)
    assert answer["devices"][0] == "cpu" and answer["threads"] == torch.get_num_threads()


def test_an_object_arrives_whole_and_without_a_copy(sent, data):
    adata = small_data()
    assert data.shape == adata.shape and (data.X != adata.X).nnz == 0
    assert np.shares_memory(data.X.data, sent["x"]) and np.shares_memory(data.X.indices, sent["i"])
    source = open_data(data, Columns(batch="batch")).source            # and training reads that memory
    assert np.shares_memory(source.csr.data, sent["x"]) and np.shares_memory(source.csr.indices, sent["i"])
    for name in ("batch", "cell_type", "kit"):
        assert data.obs[name].astype(str).tolist() == adata.obs[name].astype(str).tolist()
    np.testing.assert_array_equal(data.obs["age"], adata.obs["age"])
    assert list(data.obs_names) == list(adata.obs_names) and list(data.var_names) == list(adata.var_names)


def test_missing_levels_and_single_names(sent):
    sent["columns"] = {"batch": {"codes": np.array([-1] + [0] * 89), "levels": "only"}}
    column = good(bridge.anndata(**sent))["data"].obs["batch"]
    assert column.isna().sum() == 1 and column.cat.categories.tolist() == ["only"]
    one = {"x": np.ones(1), "i": np.zeros(1, np.int32), "p": np.array([0, 1]), "shape": [1.0, 1.0], "cells": "cell",
           "genes": "gene", "columns": {}}
    assert good(bridge.anndata(**one))["data"].shape == (1, 1)


def test_cells_without_counts_bring_their_posterior(sent):
    nothing = {"x": np.zeros(0), "i": np.zeros(0, np.int32), "p": np.zeros(91, np.int32)}
    mean, variance = np.asfortranarray(np.arange(270.0).reshape(90, 3)), np.ones((90, 3), order="F")
    posterior = {"mean": mean, "variance": variance, "totals": np.full(90, 200.0)}
    adata = good(bridge.anndata(**{**sent, **nothing}, posterior=posterior))["data"]
    dataset = open_data(adata, Columns(batch="batch"))
    assert not dataset.has_counts and (dataset.totals == 200).all() and np.array_equal(dataset.stored["z"][0], mean)
    refused = bridge.anndata(**{**sent, **nothing}, posterior={**posterior, "variance": variance[:5]})
    assert not refused["ok"] and refused["kind"] == "FieldError"


def test_gene_selection(data):
    genes = good(bridge.select_genes(data, 7.0, "batch"))["genes"]
    assert genes == select_genes(data, n_top=7, batch="batch") and len(genes) == 7


def test_a_run_equals_one_from_python(data):
    before = random_state()
    answer = good(start(data, columns={"batch": "batch", "labels": "cell_type", "categorical": "kit",
                                       "continuous": ["age"]}, seed=3.0))
    trainer = answer.pop("trainer")
    assert {"n_cells": 90, "n_genes": 30, "n_batch": 2, "n_epochs": 4, "n_steps": 12, "device": "cpu",
            "title": "scVI"}.items() <= answer.items() and answer["threads"] == 1
    told = []
    while not told or told[-1]["state"] == "running":
        told.append(good(bridge.advance(trainer, 0.0)))
    assert [now["step"] for now in told[:12]] == list(range(1, 13))
    assert told[-1]["state"] == "finished" and told[-1]["epoch"] == 4 and told[-1]["elbo_validation"] is None
    ended = good(bridge.finish(trainer))
    columns = Columns(batch="batch", labels="cell_type", categorical=("kit",), continuous=("age",))
    reference = open_data(small_data(), columns)
    fit = trained(reference, ScviSettings(**SETTINGS), seed=3, early_stopping=False)
    assert same_weights(archive.unpack(ended["document"], ended["weights"]), fit)
    np.testing.assert_allclose(ended["latent"], latent(fit.module, reference), rtol=1e-6)
    for name, values in fit.history.to_dict().items():
        np.testing.assert_array_equal(ended["history"][name], values)
    assert all(np.array_equal(a, b) for a, b in zip(before, random_state()))


def test_what_crosses_is_plain(data):
    ended = run(data)
    assert isinstance(ended["document"], str) and isinstance(ended["weights"], bytearray)
    assert ended["latent"].flags.f_contiguous and ended["latent"].shape == (90, 3)
    assert ended["latent"].dtype == np.float64
    summary = ended["summary"]
    json.dumps(summary, allow_nan=False)
    assert {"kind": "scvi", "n_cells": 90, "n_genes": 30, "seed": 0, "epochs": 4, "stopped": "finished",
            "device": "cpu"}.items() <= summary.items()
    assert summary["genes"][0] == "gene_1" and len(summary["batch_levels"]) == 2 and summary["label_levels"] == []
    assert summary["settings"]["n_latent"] == 3 and summary["columns"]["batch"] == "batch"
    np.testing.assert_allclose(summary["z_sd"], ended["latent"].std(0), rtol=1e-5)
    assert all(v.ndim == 1 and v.dtype == np.float64 and len(v) == 4 for v in ended["history"].values())
    described = good(bridge.describe(ended["document"], bytes(ended["weights"])))
    assert {name: value for name, value in described["summary"].items() if name != "z_sd"} == {
        name: value for name, value in summary.items() if name != "z_sd"}


def test_questions(data):
    ended = run(data)
    model = {"document": ended["document"], "weights": ended["weights"]}
    answer = good(bridge.latent(**model, data=data, options={"give_mean": True}))
    np.testing.assert_allclose(answer["latent"], ended["latent"], rtol=1e-6)
    assert answer["latent"].flags.f_contiguous and answer["warnings"] == []
    drawn, again, other = (good(bridge.latent(**model, data=data, options={"give_mean": False}, seed=seed))["latent"]
                           for seed in (1, 1, 2))
    np.testing.assert_array_equal(drawn, again)
    assert np.abs(drawn - other).max() > 0.01
    wider = data[:, ::-1].copy()                       # genes in another order
    np.testing.assert_allclose(bridge.latent(**model, data=wider)["latent"], ended["latent"], rtol=1e-4, atol=1e-5)
    fit = archive.unpack(**model)
    torch.manual_seed(0)
    expected = elbo(fit.module, open_data(data, registry=fit.registry), draw="mean")
    found = good(bridge.elbo(**model, data=data, seed=0))["value"]
    assert isinstance(found, float) and abs(found - expected) < 5 and found == bridge.elbo(**model, data=data)["value"]


def test_training_goes_on_from_a_document(data):
    first = run(data)
    second = run(data, document=first["document"], weights=bytes(first["weights"]), settings=None, columns=None, seed=0,
                 options=OPTIONS | {"max_epochs": 2})
    assert second["history"]["epoch"].tolist() == [0, 1, 2, 3, 4, 5] and second["summary"]["epochs"] == 6


def test_an_untrained_model_is_doubted(data):
    trainer = good(start(data))["trainer"]
    ended = good(bridge.finish(trainer))
    assert ended["summary"]["stopped"] == "interrupted" and ended["summary"]["epochs"] == 0
    for ask in (bridge.latent, bridge.elbo):
        answer = good(ask(ended["document"], ended["weights"], data))
        assert len(answer["warnings"]) == 1 and "not been trained" in answer["warnings"][0]


def test_doubts_about_the_data_come_as_values(sent):
    sent["columns"]["age"] = {"values": np.ones(90)}
    data = good(bridge.anndata(**sent))["data"]
    answer = good(start(data, columns={"continuous": "age"}))
    assert len(answer["warnings"]) == 1 and "same in every cell" in answer["warnings"][0]


def test_an_interrupt_is_a_state_and_the_model_is_kept(data, monkeypatch):
    trainer = good(start(data))["trainer"]
    loss, calls = type(trainer.module).loss, []

    def interrupted(module, *arguments):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return loss(module, *arguments)

    monkeypatch.setattr(type(trainer.module), "loss", interrupted)
    states = [good(bridge.advance(trainer, 0.0))["state"] for _ in range(5)]
    assert states == ["running"] * 4 + ["interrupted"]
    ended = good(bridge.finish(trainer))
    assert ended["summary"]["stopped"] == "interrupted" and ended["latent"].shape == (90, 3)


def test_an_interrupt_in_the_guise_of_an_error_keeps_the_model(data, monkeypatch):
    trainer = good(start(data))["trainer"]
    for _ in range(4):
        good(bridge.advance(trainer, 0.0))

    def disguised(module, *arguments):
        raise RuntimeError("(Unknown exception occurred)")

    monkeypatch.setattr(type(trainer.module), "loss", disguised)
    assert bridge.advance(trainer, 0.0)["kind"] == "Interrupt"
    ended = good(bridge.finish(trainer))
    assert ended["summary"]["stopped"] == "interrupted" and np.isfinite(ended["latent"]).all()
    assert len(ended["history"]["epoch"]) >= 1


def test_files(data, tmp_path):
    ended = run(data)
    model = {"document": ended["document"], "weights": bytes(ended["weights"])}
    folder = good(bridge.write_model(**model, folder=str(tmp_path / "m")))["folder"]
    assert folder == str(tmp_path / "m")
    again = good(bridge.read_model(folder))
    assert same_weights(archive.unpack(again["document"], again["weights"]), archive.unpack(**model))
    assert again["history"].keys() == ended["history"].keys()
    refused = bridge.write_model(**model, folder=folder)
    assert not refused["ok"] and refused["kind"] == "ArchiveError" and "already holds" in refused["problem"]
    good(bridge.write_model(**model, folder=folder, overwrite=True))


ERRORS = {  # changes of start(), kind of error, field, what the problem says
    "kind": ({"kind": "scvo"}, "SettingError", "kind", "no model 'scvo'"),
    "setting": ({"settings": {"n_latent": 0}}, "SettingError", "n_latent", "cannot be 0"),
    "unknown setting": ({"settings": {"n_latents": 1}}, "SettingError", "n_latents", "no setting"),
    "option": ({"options": {"max_epochs": 2.5}}, "SettingError", "max_epochs", "whole number"),
    "column": ({"columns": {"batch": "bach"}}, "FieldError", "batch", "no column 'bach'"),
    "genes": ({"genes": ["gene_1", "geneX"]}, "FieldError", "genes", "'geneX'"),
    "one gene as text": ({"genes": "geneX"}, "FieldError", "genes", "1 of 1"),
    "seed": ({"seed": -1}, "SettingError", "seed", "cannot be -1"),
    "device": ({"options": {"device": "warp"}}, "SettingError", "device", "'warp'"),
    "split": ({"options": {"train_size": 0.01}}, "TrainingError", "train_size", "left to train on"),
    "document": ({"document": "{}", "weights": b""}, "ArchiveError", "document", "not the description"),
    "no data": ({"data": None}, "FieldError", "adata", "not AnnData"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_are_values(data, name):
    changed, kind, field, problem = ERRORS[name]
    answer = start(**{"data": data, **changed})
    assert set(answer) == ERROR and answer["ok"] is False
    assert (answer["kind"], answer["field"]) == (kind, field) and problem in answer["problem"] and answer["hint"]


def test_other_verbs_return_errors_too(data, tmp_path):
    ended = run(data)
    model = {"document": ended["document"], "weights": ended["weights"]}
    answers = [
        (bridge.latent(**model, data=data[:, :20].copy()), "QueryError"),
        (bridge.latent(**model, data=None), "QueryError"),
        (bridge.elbo("{", b"", data), "ArchiveError"), (bridge.describe(ended["document"], b"noise"), "ArchiveError"),
        (bridge.read_model(str(tmp_path / "absent")), "ArchiveError"), (bridge.latent(**model, data=data, seed="x"),
                                                                        "SettingError"),
        (bridge.select_genes(data, 10, "bach"), "FieldError"),
    ]
    for answer, kind in answers:
        assert set(answer) == ERROR and answer["kind"] == kind and answer["problem"] and answer["hint"]


def test_divergence_is_a_value_and_the_last_sound_model_is_kept(data):
    trainer = good(start(data, options=OPTIONS | {"lr": 1e6}))["trainer"]
    answer = {"ok": True}
    while answer["ok"]:
        answer = bridge.advance(trainer, 0.0)
    assert answer["kind"] == "TrainingError" and "NaN" in answer["problem"]
    assert np.isfinite(good(bridge.finish(trainer))["latent"]).all()


@pytest.mark.parametrize(("error", "kind", "said"), [
    (MemoryError(), "MemoryError", "out of memory"), (ZeroDivisionError("by nought"), "ZeroDivisionError", "by nought"),
    (KeyboardInterrupt(), "Interrupt", "Interrupted"),
    (RuntimeError("(Unknown exception occurred)"), "Interrupt", "Interrupted")])
def test_what_nobody_foresaw_is_a_value_too(monkeypatch, error, kind, said):
    def failing():
        raise error

    monkeypatch.setattr(bridge.engine.torch, "get_num_threads", failing)
    answer = bridge.status()
    assert not answer["ok"] and answer["kind"] == kind and said in answer["problem"]
    monkeypatch.undo()


def test_names_that_occur_twice_are_no_printed_warning(sent):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert bridge.anndata(**{**sent, "genes": ["g"] * sent["shape"][1]})["ok"]
