"""Models written for scvi-tools: our reader gets them back bit for bit, and scvi-tools gives the same numbers."""

import os
import pickletools
import subprocess
import zipfile
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from examples import opened, same_history, same_weights, small_data, trained, untrained

from latome.analysis.latent import latent_moments
from latome.analysis.likelihood import elbo_terms
from latome.backend import torch
from latome.data.fields import Columns
from latome.data.minibatches import Minibatches
from latome.data.registry import open_data
from latome.data.sources import read_h5ad
from latome.errors import ArchiveError
from latome.io import archive, scvi_tools, torch_archive
from latome.io.readers import read_model
from latome.io.scvi_options import settings_of
from latome.io.scvi_tools_writer import write_scvi_tools
from latome.modules.scvi import ScviSettings
from latome.training.split import recovered_split

ROOT = Path(__file__).resolve().parents[3]
FIXTURES = ROOT / "tests" / "python" / "fixtures"
PEER = os.environ.get("LATOME_PEER_PYTHON")

COVARIATES = {"labels": "cell_type", "categorical": ("kit", "lane"), "continuous": ("age",)}
#: {name: (settings, columns)}
MODELS = {
    **{f"{likelihood} by {dispersion}": ({"gene_likelihood": likelihood, "dispersion": dispersion}, COVARIATES)
       for likelihood in ("zinb", "nb", "poisson", "normal")
       for dispersion in ("gene", "gene-batch", "gene-label", "gene-cell")},
    "latent library": ({"use_observed_lib_size": False}, {}),
    "every covariate": ({"use_observed_lib_size": False, "encode_covariates": True, "n_layers": 2,
                         "use_layer_norm": "both", "use_batch_norm": "none"}, COVARIATES),
    "shallow": ({"encode_covariates": True, "n_layers": 3, "deeply_inject_covariates": False,
                 "use_layer_norm": "decoder", "use_batch_norm": "encoder"}, COVARIATES),
    "vectors": ({"batch_representation": "embedding", "embedding_dim": 4, "n_layers": 2, "encode_covariates": True},
                COVARIATES),
    "size factors": ({"use_observed_lib_size": False, "var_activation": "softplus"}, {"size_factor": "size"}),
    "shares": ({"latent_distribution": "ln", "log_variational": False}, {}),
    "one batch": ({}, {"batch": None}),
    "numbered batches": ({}, {"batch": "lane"}),
}


def some_data():
    """Small data with a covariate of whole numbers and size factors."""
    adata = small_data(60, 15)
    adata.obs["lane"], adata.obs["size"] = np.arange(60) % 3 + 1, np.linspace(2.0, 20.0, 60)
    adata.obs["note"] = "free text"
    return adata


def model(name):
    """(fit, dataset, AnnData) of one row of the table."""
    settings, columns = MODELS[name]
    adata = some_data()
    data = open_data(adata, Columns(**{"batch": "batch", **columns}))
    settings = ScviSettings(n_hidden=6, n_latent=3, continuous_in="first", **settings)
    return trained(data, settings, seed=4, max_epochs=2, check_val_every_n_epoch=1), data, adata


# our own reader --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", MODELS)
def test_what_is_written_reads_back_bit_for_bit(tmp_path, name):
    fit, data, adata = model(name)
    folder = write_scvi_tools(fit, tmp_path / "model", adata)
    for again in (scvi_tools.read(folder), read_model(folder)):
        assert same_weights(fit, again) and same_history(fit, again)
        assert again.settings == fit.settings and again.registry == fit.registry and again.trained
        rows, same = recovered_split(fit.training, fit.seed), recovered_split(again.training, 0)
        assert all(np.array_equal(a, b) for a, b in zip(rows, same, strict=True))
        reopened = open_data(read_h5ad(folder / "adata.h5ad"), registry=again.registry)
        for found, expected in zip(latent_moments(again.module, reopened), latent_moments(fit.module, data)):
            np.testing.assert_array_equal(found, expected)


def test_an_untrained_model_is_written_as_such(tmp_path):
    again = scvi_tools.read(write_scvi_tools(untrained(), tmp_path))
    assert not again.trained and len(again.history) == 0 and recovered_split(again.training, 0) is None


@pytest.mark.parametrize("case", ["scvi_zinb", "scvi_covariates", "scvi_normal", "scvi_embedding", "scvi_size_factor",
                                  "scvi_minified"])
def test_a_model_of_theirs_is_written_as_they_wrote_it(tmp_path, case):
    """Each tensor in its place; what the settings and the data need is the same."""
    folder = FIXTURES / case / "model"
    theirs = torch_archive.read(folder / "model.pt")
    write_scvi_tools(scvi_tools.read(folder), tmp_path, read_h5ad(folder / "adata.h5ad"))
    ours = torch_archive.read(tmp_path / "model.pt")
    used, tensors = theirs["model_state_dict"], ours["model_state_dict"]
    assert list(theirs["var_names"]) == list(ours["var_names"]) and ours["var_names"].dtype == object
    assert set(used) - {"pyro_param_store"} == set(tensors)
    for name, value in tensors.items():
        assert value.dtype == used[name].dtype and value.shape == used[name].shape, name
        if name.startswith(("z_encoder", "decoder.px_decoder", "decoder.px_scale", "_embeddings")):
            assert torch.equal(value, used[name]), name
    same_registry(theirs["attr_dict"]["registry_"], ours["attr_dict"]["registry_"])
    assert settings_of(ScviSettings, ours["attr_dict"]["init_params_"]) == scvi_tools.read(folder).settings


def same_registry(theirs, ours):
    """Equal, but for the run's own number, and for how the registered columns are called where they are derived."""
    if isinstance(theirs, dict):
        assert set(theirs) - {"_scvi_uuid", "setup_method_name"} <= set(ours)
        for key in set(theirs) - {"_scvi_uuid", "setup_method_name", "scvi_version"}:
            same_registry(theirs[key], ours[key])
    elif isinstance(theirs, np.ndarray):
        np.testing.assert_array_equal(theirs, ours)
        assert theirs.dtype == ours.dtype
    else:
        assert theirs == ours


def test_the_file_holds_data_and_nothing_that_runs(tmp_path):
    """Every name in the pickle is one that torch, numpy and pandas need for a tensor, an array, a table."""
    fit, _, adata = model("every covariate")
    write_scvi_tools(fit, tmp_path, adata)
    with zipfile.ZipFile(tmp_path / "model.pt") as stored:
        pickled = stored.read(next(name for name in stored.namelist() if name.endswith("data.pkl")))
    named = {argument.split(" ")[0].split(".")[0] for opcode, argument, _ in pickletools.genops(pickled)
             if opcode.name == "GLOBAL"}
    assert named <= {"torch", "numpy", "pandas", "collections", "_codecs", "__builtin__", "builtins"}
    whole = torch.load(tmp_path / "model.pt", weights_only=False)
    kinds = set()

    def visit(value):
        kinds.add(type(value))
        for part in (value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()):
            visit(part)

    visit(whole)
    assert kinds <= {dict, list, str, int, float, bool, type(None), np.ndarray, torch.Tensor, pd.DataFrame}


def test_the_users_data_are_left_alone(tmp_path):
    fit, _, adata = model("every covariate")
    adata.obs["note"] = adata.obs["note"].astype(object)
    before, uns = adata.obs.copy(), dict(adata.uns)
    write_scvi_tools(fit, tmp_path, adata)
    pd.testing.assert_frame_equal(adata.obs, before)
    assert dict(adata.uns) == uns and adata.obs["note"].dtype == object
    view = adata[:40]
    write_scvi_tools(fit, tmp_path / "view", view)
    assert view.is_view and read_h5ad(tmp_path / "view" / "adata.h5ad").n_obs == 40


def test_categories_keep_the_type_they_have_in_the_data(tmp_path):
    fit, _, adata = model("every covariate")

    def lanes(folder):
        registry = torch_archive.read(folder / "model.pt")["attr_dict"]["registry_"]
        return registry["field_registries"]["extra_categorical_covs"]["state_registry"]["mappings"]["lane"]

    assert lanes(write_scvi_tools(fit, tmp_path / "a", adata)).tolist() == [1, 2, 3]
    assert lanes(write_scvi_tools(fit, tmp_path / "b")).tolist() == ["1", "2", "3"]


# refusals --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("settings", "columns"), [
    ({"n_layers": 2}, {"continuous": ("age",)}), ({"n_layers": 2, "batch_representation": "embedding"}, {})])
def test_covariates_of_every_layer_have_no_counterpart(tmp_path, settings, columns):
    fit = trained(opened(some_data(), **columns), ScviSettings(6, 3, continuous_in="every", **settings), max_epochs=1)
    with pytest.raises(ArchiveError, match="in scvi-tools they enter the first alone") as caught:
        write_scvi_tools(fit, tmp_path)
    assert "'first'" in caught.value.hint and not list(tmp_path.iterdir())


def test_with_one_layer_every_is_the_first(tmp_path):
    data = opened(some_data(), continuous=("age",))
    fit = trained(data, ScviSettings(6, 3, continuous_in="every"), max_epochs=1)
    again = scvi_tools.read(write_scvi_tools(fit, tmp_path))
    assert again.settings.continuous_in == "first"
    for name, values in elbo_terms(again.module, data, draw="mean").items():
        np.testing.assert_array_equal(values, elbo_terms(fit.module, data, draw="mean")[name])


def test_where_it_cannot_be_written(tmp_path):
    fit, _, adata = model("one batch")
    write_scvi_tools(fit, tmp_path, prefix="run1_")
    assert [path.name for path in tmp_path.iterdir()] == ["run1_model.pt"]
    with pytest.raises(ArchiveError, match="already holds a model"):
        write_scvi_tools(fit, tmp_path, prefix="run1_")
    write_scvi_tools(fit, tmp_path, adata, prefix="run1_", overwrite=True)
    assert same_weights(scvi_tools.read(tmp_path, prefix="run1_"), fit)
    write_scvi_tools(fit, tmp_path)                                  # another prefix, another model
    with pytest.raises(ArchiveError, match="cannot begin with"):
        write_scvi_tools(fit, tmp_path, prefix="other/")
    file = tmp_path / "file"
    file.write_text("text")
    with pytest.raises(ArchiveError, match="is a file"):
        write_scvi_tools(fit, file)
    with pytest.raises(ArchiveError, match="could not be written"):
        write_scvi_tools(fit, file / "below")


def test_a_crash_leaves_the_old_model(tmp_path, monkeypatch):
    fit, _, adata = model("one batch")
    write_scvi_tools(fit, tmp_path, adata)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for module, name in ((archive.os, "replace"), (anndata.AnnData, "write_h5ad")):
        with monkeypatch.context() as patched:
            patched.setattr(module, name, failing)
            with pytest.raises(ArchiveError, match="no space left"):
                write_scvi_tools(fit, tmp_path, adata, overwrite=True)
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def failing(*arguments, **options):
    raise OSError("no space left")


def test_a_model_of_another_kind(tmp_path):
    fit, _, _ = model("one batch")
    fit.kind = "other"
    with pytest.raises(ArchiveError, match="'other' cannot be written"):
        write_scvi_tools(fit, tmp_path)


# scvi-tools itself -----------------------------------------------------------------------------------------
ASK = """
import sys, warnings
warnings.simplefilter("ignore")
import numpy as np, scvi
import record_parity
for folder in sys.argv[1:]:
    model = scvi.model.SCVI.load(folder, accelerator="cpu")
    found = record_parity.numbers(model, None)
    assert model.is_trained and len(model.history["elbo_train"]) == 2
    np.savez(folder + "/found.npz", **{name: np.asarray(value) for name, value in found.items()})
    model.train(max_epochs=1, accelerator="cpu", logger=False, enable_progress_bar=False)
"""


@pytest.mark.skipif(not PEER, reason="set LATOME_PEER_PYTHON to a Python that has scvi-tools")
def test_scvi_tools_gives_the_same_numbers(tmp_path):
    expected = {}
    for i, name in enumerate(MODELS):
        fit, data, adata = model(name)
        write_scvi_tools(fit, tmp_path / str(i), adata)
        expected[i] = numbers(fit, data)
    folders = [str(tmp_path / str(i)) for i in expected]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tools"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([PEER, "-c", ASK, *folders], env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    for i, name in enumerate(MODELS):
        with np.load(tmp_path / str(i) / "found.npz") as found:
            for quantity, values in expected[i].items():
                np.testing.assert_allclose(found[quantity], values, rtol=1e-4, atol=1e-5 * np.abs(values).max(),
                                           err_msg=f"{name}: {quantity}")


def numbers(fit, data):
    """{quantity: values} at the posterior means, all cells as one minibatch."""
    cells = next(iter(Minibatches(data, np.arange(data.n_cells), data.n_cells)))
    with torch.no_grad():
        posterior = fit.module.posterior(cells)
        counts = fit.module.generative(fit.module.draw(posterior, "mean"), cells).likelihood["x"]
        loss = fit.module.loss(fit.module.terms(cells, "mean"), 0.25, data.n_cells)
    return {"qz_mean": posterior["z"].mean.numpy(), "qz_var": posterior["z"].variance.numpy(),
            "px_scale": counts.rho.numpy(), "px_rate": counts.rate.numpy(), "loss_kl_weight_0.25": loss.numpy()}
