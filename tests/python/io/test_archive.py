"""Saved models: nothing is lost, a crash leaves the old one, and damaged files are told from good ones."""

import io
import json
import os
import pickle
import stat
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from examples import SMALL, opened, random_state, same_history, same_weights, small_data, trained, untrained
from safetensors.torch import save_file

from latome.analysis.latent import latent, latent_moments
from latome.analysis.likelihood import elbo_terms
from latome.backend import torch
from latome.data.registry import open_data
from latome.data.sources import read_h5ad
from latome.errors import ArchiveError
from latome.fit import initialise, train
from latome.io import archive
from latome.io.readers import read_model
from latome.modules.scvi import SCVI, ScviSettings
from latome.training.options import TrainingOptions

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
EVERYTHING = ScviSettings(12, 3, 2, gene_likelihood="nb", dispersion="gene-batch", use_observed_lib_size=False,
                          encode_covariates=True, use_layer_norm="both")


@pytest.fixture(scope="module")
def data():
    return opened(labels="cell_type", categorical=("kit",), continuous=("age",))


@pytest.fixture(scope="module")
def fit(data):
    return trained(data, EVERYTHING, seed=5, check_val_every_n_epoch=3)


def agree(one, other):
    return (same_weights(one, other) and same_history(one, other) and one.settings == other.settings
            and one.registry.to_json() == other.registry.to_json() and one.seed == other.seed
            and one.training == other.training and one.kind == other.kind)


def test_nothing_is_lost(fit, data, tmp_path):
    folder = archive.save(fit, tmp_path / "deep" / "folder")
    assert sorted(p.name for p in folder.iterdir()) == ["model.json", "model.safetensors"]
    for again in (archive.load(folder), archive.load(str(folder)), read_model(folder),
                  archive.unpack(*archive.pack(fit))):
        assert agree(fit, again) and not again.module.training
        found = latent(again.module, open_data(small_data(), registry=again.registry))
        np.testing.assert_array_equal(found, latent(fit.module, data))
    document = json.loads((folder / "model.json").read_text())
    assert document["kind"] == "scvi" and document["registry"]["genes"][0] == "gene_1"


OPTIONS = {
    "size factors": ({"var_activation": "softplus"}, {"size_factor": "size"}),
    "vectors of batches": ({"batch_representation": "embedding", "embedding_dim": 2}, {}),
    "shares, normal": ({"latent_distribution": "ln", "gene_likelihood": "normal", "log_variational": False}, {}),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_is_kept(tmp_path, name):
    settings, columns = OPTIONS[name]
    adata = small_data()
    adata.obs["size"] = np.linspace(1.0, 9.0, adata.n_obs)
    data = opened(adata, **columns)
    made = trained(data, ScviSettings(6, 2, **settings), max_epochs=1)
    again = archive.load(archive.save(made, tmp_path))
    assert agree(made, again) and again.registry.columns == data.registry.columns
    reopened = open_data(adata, registry=again.registry)
    for found, expected in zip(latent_moments(again.module, reopened), latent_moments(made.module, data)):
        np.testing.assert_array_equal(found, expected)
    for draws, expected in elbo_terms(again.module, reopened, draw="mean").items():
        np.testing.assert_array_equal(expected, elbo_terms(made.module, data, draw="mean")[draws])


def test_a_model_answers_on_minified_data_after_a_round_trip(tmp_path):
    """The stored posterior travels with the data, and the model asks for nothing else."""
    folder = FIXTURES / "scvi_minified" / "model"
    fit, adata = read_model(folder), read_h5ad(folder / "adata.h5ad")
    again = archive.load(archive.save(fit, tmp_path))
    data = open_data(adata, registry=again.registry)
    np.testing.assert_array_equal(latent(again.module, data), adata.obsm["scvi_latent_qzm"].astype(np.float32))


def test_a_model_of_the_first_format_reads():
    """Saved before there were size factors; the numbers beside it were computed by the latome that saved it."""
    folder = FIXTURES / "latome_format_1"
    assert json.loads((folder / "model.json").read_text())["format"] == 1
    fit = archive.load(folder)
    assert fit.settings == ScviSettings(4, 2, gene_likelihood="nb", dispersion="gene-batch",
                                        use_observed_lib_size=False)
    assert fit.registry.columns.size_factor is None and len(fit.history) == 2 and fit.seed == 3
    with np.load(folder / "expected.npz") as stored:
        obs = pd.DataFrame({name: stored[name] for name in ("batch", "cell_type", "kit", "age")}).set_axis(
            [f"cell_{i}" for i in range(60)])
        counts = AnnData(stored["x"].astype(np.float32), obs=obs, var=pd.DataFrame(index=fit.registry.genes))
        data = open_data(counts, registry=fit.registry)
        np.testing.assert_allclose(latent(fit.module, data), stored["latent"], rtol=1e-5, atol=1e-6)
        found = elbo_terms(fit.module, data, draw="mean")
        for name in ("reconstruction_loss", "kl_local"):
            np.testing.assert_allclose(found[name], stored[name], rtol=1e-5)
    train(fit, data, TrainingOptions(max_epochs=1, batch_size=32))
    assert len(fit.history) == 3


def test_several_models_in_one_folder(fit, tmp_path):
    other = untrained()
    archive.save(fit, tmp_path, prefix="run1_")
    archive.save(other, tmp_path, prefix="run2_")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "run1_model.json", "run1_model.safetensors", "run2_model.json", "run2_model.safetensors"]
    assert agree(archive.load(tmp_path, "run1_"), fit) and agree(read_model(tmp_path, prefix="run2_"), other)
    with pytest.raises(ArchiveError, match="already holds a model"):
        archive.save(fit, tmp_path, prefix="run2_")
    with pytest.raises(ArchiveError, match="holds no model.safetensors") as caught:
        archive.load(tmp_path)
    assert caught.value.hint == "It holds run1_model.safetensors, run2_model.safetensors: give the prefix."
    for prefix in ("../run3_", "a/b", "/tmp/"):
        with pytest.raises(ArchiveError, match="cannot begin with"):
            archive.save(fit, tmp_path, prefix=prefix)


class Mine(SCVI):
    """A class outside the catalogue."""


def test_a_model_outside_the_catalogue_is_loaded_with_its_class(tmp_path):
    data = opened()
    made = initialise(SMALL, data, kind=Mine)
    folder = archive.save(made, tmp_path)
    again = archive.load(folder, module_class=Mine)
    assert type(again.module) is Mine and agree(made, again)
    assert agree(made, archive.unpack(*archive.pack(made), module_class=Mine))
    with pytest.raises(ArchiveError, match="There is no model 'Mine'") as caught:
        archive.load(folder)
    assert "module_class" in caught.value.hint
    with pytest.raises(ArchiveError, match="There is no model 'Mine'"):
        archive.load(folder, module_class=SCVI)


def test_reading_leaves_the_callers_generators_alone(fit, tmp_path):
    archive.save(fit, tmp_path)
    before = random_state()
    archive.load(tmp_path)
    archive.unpack(*archive.pack(fit))
    assert all(np.array_equal(a, b) for a, b in zip(before, random_state()))


def test_an_untrained_model_may_be_kept(tmp_path):
    made = untrained()
    again = archive.load(archive.save(made, tmp_path))
    assert agree(made, again) and not again.trained


def test_a_loaded_model_is_trained_on(fit, data, tmp_path):
    again = archive.load(archive.save(fit, tmp_path))
    train(again, open_data(small_data(), registry=again.registry), TrainingOptions(max_epochs=2, batch_size=32))
    assert again.history.to_dict()["epoch"].tolist() == [0, 1, 2, 3, 4, 5]


def test_a_model_is_not_replaced_by_accident(fit, tmp_path):
    archive.save(fit, tmp_path)
    with pytest.raises(ArchiveError, match="already holds a model") as caught:
        archive.save(untrained(), tmp_path)
    assert "overwrite" in caught.value.hint
    assert agree(archive.load(tmp_path), fit)
    other = untrained()
    archive.save(other, tmp_path, overwrite=True)
    assert agree(archive.load(tmp_path), other)


def test_other_files_of_the_folder_are_left_alone(fit, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    archive.save(fit, tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("crash", [OSError("no space left"), KeyboardInterrupt()])
@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_a_crash_leaves_the_old_model(fit, tmp_path, monkeypatch, crash, moment):
    archive.save(fit, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def crashing(*arguments):
        raise crash

    monkeypatch.setattr(archive.os, moment, crashing)
    with pytest.raises((ArchiveError, KeyboardInterrupt)) as caught:
        archive.save(untrained(), tmp_path, overwrite=True)
    if isinstance(crash, OSError):
        assert "could not be written" in caught.value.problem and "no space left" in caught.value.problem
    monkeypatch.undo()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before      # and no leftovers
    assert agree(archive.load(tmp_path), fit)


def test_a_crash_between_the_two_files_leaves_a_whole_model(fit, tmp_path, monkeypatch):
    archive.save(fit, tmp_path)
    other, replace, calls = untrained(), os.replace, []

    def second_fails(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise OSError("gone")
        replace(*arguments)

    monkeypatch.setattr(archive.os, "replace", second_fails)
    with pytest.raises(ArchiveError):
        archive.save(other, tmp_path, overwrite=True)
    monkeypatch.undo()
    assert agree(archive.load(tmp_path), other)        # weights and their description are one file


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_colleagues_may_read_what_the_umask_allows(fit, tmp_path):
    archive.save(fit, tmp_path)
    (tmp_path / "plain").write_text("")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert len(modes) == 1


def damaged(fit, tmp_path, change):
    folder = archive.save(fit, tmp_path)
    path = folder / "model.safetensors"
    path.write_bytes(change(path.read_bytes()))
    return folder


DAMAGE = {
    "truncated": lambda b: b[:len(b) // 2], "one byte short": lambda b: b[:-1], "empty": lambda b: b"",
    "not even a header": lambda b: b"\x01\x02", "a text": lambda b: b"hello, I am a text file\n" * 20,
    "a pickle": lambda b: pickle.dumps({"weights": list(range(1000))}),
    "a header of noise": lambda b: b[:8] + b"\xff" * 40 + b[48:],
    "something behind": lambda b: b + b"more",
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_weights(fit, tmp_path, name):
    folder = damaged(fit, tmp_path, DAMAGE[name])
    with pytest.raises(ArchiveError, match="is damaged") as caught:
        archive.load(folder)
    assert "model.safetensors" in caught.value.problem and caught.value.hint == "Save the model anew."


def test_a_pickle_is_never_run(fit, tmp_path):
    class Harm:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "harm"),))

    for content in (pickle.dumps(Harm()), pickle.dumps(Harm(), protocol=0), saved_by_torch(Harm())):
        folder = damaged(fit, tmp_path / str(len(content)), lambda b, content=content: content)
        with pytest.raises(ArchiveError):
            archive.load(folder)
        with pytest.raises(ArchiveError):
            archive.unpack(archive.pack(fit)[0], content)
    assert not (tmp_path / "harm").exists()


def saved_by_torch(value):
    stream = io.BytesIO()
    torch.save(value, stream)
    return stream.getvalue()


def without(name):
    def change(facts):
        del facts[name]
    return change


def setting(**values):
    return lambda facts: facts.update(values)


DOCUMENTS = {  # what is done to the description, what the message says
    "of a newer latome": (setting(format=99, latome="9.9"), "newer latome .9.9"),
    "of another kind of model": (setting(kind="other"), "There is no model 'other'"),
    "with an impossible setting": (lambda f: f["settings"].update(n_latent=-1), "`n_latent` cannot be -1"),
    "with an unknown setting": (lambda f: f["settings"].update(n_latents=1), "no setting 'n_latents'"),
    "of another width": (lambda f: f["settings"].update(n_latent=5), "do not fit"),
    "of other genes": (lambda f: f["registry"]["genes"].pop(), "do not fit"),
    "with a text for a format": (setting(format="one"), "newer latome"),
    "with a list for settings": (setting(settings=[1]), "do not fit"),
    "with a list for a history": (setting(history=[1]), "do not fit"),
    "with a history of unequal columns": (setting(history={"epoch": [0.0, 1.0], "elbo": [3.0]}), "do not fit"),
    "with texts in a history": (setting(history={"elbo": ["x"]}), "do not fit"),
    **{f"without {name}": (without(name), "do not fit") for name in ("settings", "registry", "history", "seed", "kind",
                                                                     "training")},
    "without a format": (without("format"), "not the description of a latome model"),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_descriptions_that_cannot_be_used(fit, name):
    change, message = DOCUMENTS[name]
    document, weights = archive.pack(fit)
    facts = json.loads(document)
    change(facts)
    with pytest.raises(ArchiveError, match=message) as caught:
        archive.unpack(json.dumps(facts), weights)
    assert caught.value.hint


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", '"model"', '{"genes": []}'])
def test_json_of_another_kind(fit, text):
    with pytest.raises(ArchiveError, match="not the description of a latome model"):
        archive.unpack(text, archive.pack(fit)[1])


def test_weights_of_another_model(fit):
    with pytest.raises(ArchiveError, match="do not fit"):
        archive.unpack(archive.pack(fit)[0], archive.pack(untrained())[1])


def test_tensors_of_another_program(tmp_path):
    save_file({"weight": torch.ones(2)}, tmp_path / "model.safetensors")
    with pytest.raises(ArchiveError, match="not written by latome"):
        archive.load(tmp_path)


def test_where_there_is_nothing(fit, tmp_path):
    with pytest.raises(ArchiveError, match="no folder .*absent"):
        archive.load(tmp_path / "absent")
    with pytest.raises(ArchiveError, match="holds no model.safetensors"):
        archive.load(tmp_path)
    file = tmp_path / "file"
    file.write_text("text")
    with pytest.raises(ArchiveError, match="holds no model.safetensors"):
        archive.load(file)
    with pytest.raises(ArchiveError, match="is a file"):
        archive.save(fit, file)
    with pytest.raises(ArchiveError, match="could not be written"):
        archive.save(fit, file / "below")
