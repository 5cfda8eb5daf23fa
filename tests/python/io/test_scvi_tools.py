"""Checkpoints of scvi-tools become fits: settings, registry, weights and history, each checked against the file."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from latome.analysis.latent import latent
from latome.backend import torch
from latome.data.fields import Columns
from latome.data.registry import Registry, open_data
from latome.data.sources import read_h5ad
from latome.errors import ArchiveError, SettingError
from latome.fit import train
from latome.io import names, scvi_tools, torch_archive
from latome.io.names import parts
from latome.io.scvi_registry import registry_of
from latome.modules.scvi import SCVI, ScviSettings
from latome.nn.covariates import CovariateLinear
from latome.training.options import TrainingOptions
from latome.training.split import PARTS, recovered_split

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
CASES = ["scvi_zinb", "scvi_covariates", "scvi_normal", "scvi_embedding", "scvi_size_factor", "scvi_minified",
         "train_steps_scvi"]
SMALL = {"n_hidden": 8, "n_latent": 3, "continuous_in": "first"}


def shared(*parts):
    """A path beside the repository, where more data may be; skips the test where they are not."""
    root = Path(os.environ.get("LATOME_DATA", FIXTURES.parents[2].parent / "shared" / "data")).parent
    path = root.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"{path} is not here; set LATOME_DATA to the folder of data")
    return path


def content(case):
    return torch_archive.read(FIXTURES / case / "model" / "model.pt")


def test_settings_and_registry_are_those_of_the_file():
    fit = scvi_tools.read(FIXTURES / "scvi_covariates" / "model")
    assert fit.kind == "scvi" and not fit.module.training
    assert fit.settings == ScviSettings(
        n_hidden=8, n_latent=3, n_layers=2, gene_likelihood="nb", dispersion="gene-batch", encode_covariates=True,
        use_observed_lib_size=False, use_layer_norm="encoder", continuous_in="first")
    assert fit.registry.columns == Columns(batch="batch", labels="ct", categorical=("one", "donor", "site"),
                                           continuous=("age", "mito"))
    assert fit.registry.categories == {"batch": ["b0", "b1", "b2"], "labels": ["B", "M", "NK", "T"], "one": ["only"],
                                       "donor": ["d1", "d2", "d3"], "site": ["s1", "s2"]}
    assert fit.registry.genes == tuple(f"G{i}" for i in range(20)) and fit.registry.n_cells == 60


@pytest.mark.parametrize(("case", "settings"), [
    ("scvi_normal", {"gene_likelihood": "normal", "dispersion": "gene-batch", "latent_distribution": "ln",
                     "log_variational": False}),
    ("scvi_embedding", {"n_layers": 2, "gene_likelihood": "nb", "dispersion": "gene-cell", "encode_covariates": True,
                        "batch_representation": "embedding", "embedding_dim": 4, "use_observed_lib_size": False}),
    ("scvi_size_factor", {"dispersion": "gene-label", "var_activation": "softplus"}),
    ("scvi_minified", {}),
])
def test_the_options_are_those_of_the_file(case, settings):
    fit = scvi_tools.read(FIXTURES / case / "model")
    assert fit.settings == ScviSettings(**SMALL, **settings)
    assert fit.registry.columns.size_factor == ("size_factor" if case == "scvi_size_factor" else None)


def test_minified_data_open_with_their_model():
    folder = FIXTURES / "scvi_minified" / "model"
    data = open_data(read_h5ad(folder / "adata.h5ad"), registry=scvi_tools.read(folder).registry)
    assert not data.has_counts and data.stored["z"][0].shape == (60, 3) and (data.totals > 0).all()


def test_the_rows_of_the_training_are_kept():
    fit, stored = scvi_tools.read(FIXTURES / "scvi_zinb" / "model"), content("scvi_zinb")["attr_dict"]
    for part, rows in zip(PARTS, recovered_split(fit.training, fit.seed), strict=True):
        np.testing.assert_array_equal(rows, stored[f"{part}_indices_"])


def test_history_is_one_table_by_epoch():
    fit = scvi_tools.read(FIXTURES / "scvi_zinb" / "model")
    stored = content("scvi_zinb")["attr_dict"]
    found = fit.history.to_dict()
    np.testing.assert_array_equal(found["epoch"], [0, 1, 2, 3])
    for name in ("elbo_train", "reconstruction_loss_train", "kl_local_train"):
        np.testing.assert_allclose(found[name], stored["history_"][name].columns[name].astype(float))
    assert fit.trained
    assert fit.training["n_train"] == len(stored["train_indices_"]) == 198
    assert fit.training["source"] == "scvi-tools 1.4.2"


@pytest.mark.parametrize("case", CASES)
def test_the_names_map_both_ways(case):
    """Their tensors, to ours, and back: every value in its place, and nothing in the file unaccounted for."""
    theirs = {name: value for name, value in content(case)["model_state_dict"].items() if name != "pyro_param_store"}
    fit = scvi_tools.read(FIXTURES / case / "model")
    entries = names.entries_of("SCVI", fit.module)
    ours = names.from_peer(entries, theirs)
    assert set(ours) == set(fit.module.state_dict())
    back = names.to_peer(entries, ours)
    for name, value in back.items():
        assert value.dtype == theirs[name].dtype and torch.equal(value, theirs[name]), name
    spare = names.spare_shapes("SCVI", fit.module)
    assert not set(spare) & set(back) and set(spare) | set(back) == set(theirs)
    assert all(shape is None or tuple(theirs[name].shape) == shape for name, shape in spare.items())


@pytest.mark.parametrize("settings", [
    ScviSettings(n_hidden=5, n_latent=2, gene_likelihood="poisson"),
    ScviSettings(n_hidden=5, n_latent=2, dispersion="gene-label", n_layers=3, deeply_inject_covariates=False),
    ScviSettings(n_hidden=5, n_latent=2, dispersion="gene-cell", encode_covariates=True, use_batch_norm="none"),
    ScviSettings(n_hidden=5, n_latent=2, dispersion="gene-batch", use_observed_lib_size=False,
                 use_batch_norm="encoder"),
    ScviSettings(n_hidden=5, n_latent=2, batch_representation="embedding", embedding_dim=3, encode_covariates=True),
    ScviSettings(n_hidden=5, n_latent=2, gene_likelihood="normal", latent_distribution="ln"),
])
def test_the_names_map_both_ways_for_every_setting(settings):
    columns = Columns(batch="b", labels="l", categorical=("c", "d"), continuous=("age",))
    categories = {"b": [], "batch": ["1", "2", "3"], "labels": ["x", "y"], "c": ["only"], "d": ["p", "q", "r", "s"]}
    module = SCVI(settings, Registry(("g1", "g2", "g3", "g4"), columns, categories))
    entries = names.entries_of("SCVI", module)
    state = module.state_dict()
    there = names.to_peer(entries, state)
    assert {entry.peer: entry.shape for entry in entries} == {name: tuple(value.shape) for name, value in there.items()}
    back = names.from_peer(entries, there)
    assert set(back) == set(state) and all(torch.equal(back[name], value) for name, value in state.items())


def test_tables_are_one_hot_columns():
    """The joined weight, as a linear layer over [x, continuous, one-hot blocks], gives what our layer gives."""
    layer = CovariateLinear(4, 3, (2, 1, 3), 2)
    holder = torch.nn.Module()
    holder.hidden = torch.nn.Module()
    holder.hidden.linears, holder.hidden.batch_norms = torch.nn.ModuleList([layer]), torch.nn.ModuleList()
    weight, bias = parts.hidden_entries(holder, "hidden", "peer")
    joined = names.to_peer([weight, bias], holder.state_dict())
    assert weight.peer == "peer.fc_layers.Layer 0.0.weight" and joined[weight.peer].shape == (3, 4 + 2 + 2 + 3)
    x, continuous = torch.randn(5, 4), torch.randn(5, 2)
    codes = torch.tensor([[0, 0, 2], [1, 0, 1], [0, 0, 0], [1, 0, 2], [1, 0, 0]])
    one_hot = [torch.nn.functional.one_hot(codes[:, j], n).float() for j, n in ((0, 2), (2, 3))]
    wide = torch.cat([x, continuous, *one_hot], dim=1)
    expected = torch.nn.functional.linear(wide, joined[weight.peer], joined[bias.peer])
    torch.testing.assert_close(layer(x, codes, continuous), expected)


def test_an_imported_model_trains_on():
    folder = FIXTURES / "scvi_zinb" / "model"
    fit = scvi_tools.read(folder)
    data = open_data(read_h5ad(folder / "adata.h5ad"), registry=fit.registry)
    before = latent(fit.module, data)
    train(fit, data, TrainingOptions(max_epochs=2, device="cpu"))
    assert list(fit.history.to_dict()["epoch"]) == [0, 1, 2, 3, 4, 5]
    assert not np.allclose(latent(fit.module, data), before)


def test_reading_leaves_the_random_numbers_alone():
    state = torch.get_rng_state()
    scvi_tools.read(FIXTURES / "scvi_zinb" / "model")
    assert torch.equal(torch.get_rng_state(), state)


# changed checkpoints ---------------------------------------------------------------------------------------
def changed(folder, edit, case="scvi_covariates"):
    """A folder with the case's checkpoint after `edit(attributes, tensors, whole)`."""
    whole = content(case)
    whole["attr_dict"]["history_"] = {"elbo_train": pd.DataFrame({"elbo_train": [2.0, 1.0]},
                                                                 index=pd.Index([0, 1], name="epoch"))}
    edit(whole["attr_dict"], whole["model_state_dict"], whole)
    torch.save(whole, folder / "model.pt")
    return folder


def fields(attributes):
    return attributes["registry_"]["field_registries"]


def options(attributes, **values):
    attributes["init_params_"]["non_kwargs"].update(values)


UNSUPPORTED = {
    "class TOTALVI": lambda a, t, w: a["registry_"].update(model_name="TOTALVI"),
    "var_activation = torch.nn.modules.activation.Sigmoid":
        lambda a, t, w: options(a, var_activation=torch.nn.Sigmoid),
    "extra_encoder_kwargs = {'activation_fn': torch.nn.modules.activation.ELU}":
        lambda a, t, w: options(a, extra_encoder_kwargs={"activation_fn": torch.nn.ELU, "use_activation": True}),
    "extra_decoder_kwargs = {'bias': False}": lambda a, t, w: options(a, extra_decoder_kwargs={"bias": False}),
    "batch_embedding_kwargs = {'max_norm': 1.0}":
        lambda a, t, w: options(a, batch_embedding_kwargs={"embedding_dim": 4, "max_norm": 1.0}),
    "continuous_in = 'every'": lambda a, t, w: options(a, continuous_in="every"),       # ours alone
    "n_wings = 3": lambda a, t, w: options(a, n_wings=3),
    "covariate called 'labels'": lambda a, t, w: (
        fields(a)["extra_categorical_covs"]["state_registry"].update(
            field_keys=["labels"], mappings={"labels": np.array(["p", "q"])})),
}
DAMAGED = {
    r"no tensor 'decoder.px_scale_decoder.0.bias'": lambda a, t, w: t.pop("decoder.px_scale_decoder.0.bias"),
    r"such as 'classifier.weight'": lambda a, t, w: t.update({"classifier.weight": torch.ones(2)}),
    r"'px_r' has the shape \(20, 2\).*\(20, 3\)": lambda a, t, w: t.update(px_r=t["px_r"][:, :2].clone()),
    r"shape \(8, 3\).*\(8, 13\)":
        lambda a, t, w: t.update({"decoder.px_decoder.fc_layers.Layer 0.0.weight": torch.ones(8, 3)}),
    r"missing or infinite": lambda a, t, w: t["px_r"].fill_(float("nan")),
    r"does not have the parts.*attr_dict": lambda a, t, w: w.pop("attr_dict"),
    r"does not have the parts.*var_names": lambda a, t, w: w.pop("var_names"),
    r"does not have the parts.*registry_": lambda a, t, w: a.pop("registry_"),
    r"does not have the parts": lambda a, t, w: a.update(registry_="gone"),
}


def test_the_changed_checkpoints_start_from_one_that_reads(tmp_path):
    fit = scvi_tools.read(changed(tmp_path, lambda a, t, w: None))
    np.testing.assert_array_equal(fit.history.to_dict()["elbo_train"], [2.0, 1.0])


@pytest.mark.parametrize("what", UNSUPPORTED)
def test_what_latome_does_not_have_is_said_by_name(tmp_path, what):
    with pytest.raises(scvi_tools.UnsupportedError, match=what) as caught:
        scvi_tools.read(changed(tmp_path, UNSUPPORTED[what]))
    assert caught.value.hint


@pytest.mark.parametrize("message", DAMAGED)
def test_a_damaged_checkpoint_is_refused(tmp_path, message):
    with pytest.raises(ArchiveError, match=message) as caught:
        scvi_tools.read(changed(tmp_path, DAMAGED[message]))
    assert caught.value.hint and not isinstance(caught.value, scvi_tools.UnsupportedError)


WITHOUT_EFFECT = {
    "var_activation": None, "use_size_factor_key": False, "use_cuda": True, "batch_embedding_kwargs": {},
    "extra_encoder_kwargs": {"activation_fn": torch.nn.ReLU, "bias": True, "var_eps": 1e-4}, "extra_decoder_kwargs": {},
}


@pytest.mark.parametrize("name", WITHOUT_EFFECT)
def test_arguments_at_their_usual_value_change_nothing(tmp_path, name):
    fit = scvi_tools.read(changed(tmp_path, lambda a, t, w: options(a, **{name: WITHOUT_EFFECT[name]})))
    assert fit.settings == scvi_tools.read(FIXTURES / "scvi_covariates" / "model").settings


@pytest.mark.parametrize("softplus", [torch.nn.functional.softplus, torch.nn.Softplus()])
def test_softplus_is_known_as_a_function_and_as_a_layer(tmp_path, softplus):
    fit = scvi_tools.read(changed(tmp_path, lambda a, t, w: options(a, var_activation=softplus)))
    assert fit.settings.var_activation == "softplus"


def test_a_softplus_of_another_shape_is_refused(tmp_path):
    with pytest.raises(ArchiveError, match="slope or threshold of its own"):
        scvi_tools.read(changed(tmp_path, lambda a, t, w: options(a, var_activation=torch.nn.Softplus(beta=2))))


def test_impossible_settings_name_the_setting(tmp_path):
    with pytest.raises(SettingError, match="dispersion"):
        scvi_tools.read(changed(tmp_path, lambda a, t, w: options(a, dispersion="gene-moon")))


def bottomless():
    """A list of 10 lists of 10 lists ...: 25 small objects, which written out would fill any memory."""
    value = ["x"] * 10
    for _ in range(25):
        value = [value] * 10
    return value


IMMEASURABLE = {
    "a width": lambda a, t, w: options(a, n_hidden=10**9),
    "a depth": lambda a, t, w: options(a, n_layers=10**9),
    "a width beyond whole numbers": lambda a, t, w: options(a, n_latent=10**30),
    "a vector": lambda a, t, w: options(a, batch_representation="embedding",
                                        batch_embedding_kwargs={"embedding_dim": 10**12}),
    "a setting": lambda a, t, w: options(a, dispersion=bottomless()),
    "an unknown argument": lambda a, t, w: options(a, wings=bottomless()),
    "an argument of a network": lambda a, t, w: options(a, extra_encoder_kwargs={"bias": {"a": bottomless()}}),
    "genes": lambda a, t, w: w.update(var_names=bottomless()),
    "categories": lambda a, t, w: fields(a)["batch"]["state_registry"].update(categorical_mapping=bottomless()),
    "names of covariates": lambda a, t, w: fields(a)["extra_continuous_covs"]["state_registry"].update(
        columns=bottomless()),
    "a layer": lambda a, t, w: a["registry_"]["setup_args"].update(layer=bottomless()),
    "a class": lambda a, t, w: a["registry_"].update(model_name=bottomless()),
}


@pytest.mark.parametrize("name", IMMEASURABLE)
def test_what_is_beyond_measure_is_refused_at_once(tmp_path, name):
    """Nothing is made, counted or written out before it is known to be no larger than the file."""
    with pytest.raises(ArchiveError) as caught:
        scvi_tools.read(changed(tmp_path, IMMEASURABLE[name]))
    assert len(str(caught.value)) < 1000


def test_facts_of_the_training_that_cannot_be_are_left_out(tmp_path):
    def edit(attributes, tensors, whole):
        attributes["train_indices_"] = bottomless()
        attributes["registry_"]["scvi_version"] = bottomless()
    fit = scvi_tools.read(changed(tmp_path, edit))
    assert fit.training == {"epochs": 2, "stopped": "finished", "source": "scvi-tools"}


@pytest.mark.parametrize("rewrite", [
    lambda p: {**p["non_kwargs"], **p["kwargs"]["kwargs"]},                                  # flat
    lambda p: {"non_kwargs": p["non_kwargs"], "kwargs": {"model_kwargs": p["kwargs"]["kwargs"]}},
    lambda p: {"non_kwargs": {**p["non_kwargs"], **p["kwargs"]["kwargs"]}, "kwargs": {}},
])
def test_arguments_read_in_every_nesting(tmp_path, rewrite):
    read = scvi_tools.read(changed(tmp_path, lambda a, t, w: a.update(init_params_=rewrite(a["init_params_"]))))
    assert read.settings == scvi_tools.read(FIXTURES / "scvi_covariates" / "model").settings


def test_categories_that_are_numbers_become_text(tmp_path):
    def edit(attributes, tensors, whole):
        fields(attributes)["batch"]["state_registry"]["categorical_mapping"] = np.array([0, 2, 4])
        mappings = fields(attributes)["extra_categorical_covs"]["state_registry"]["mappings"]
        mappings["donor"], mappings["site"] = np.array([1.0, 2.5, 3.0]), np.array([False, True])
    categories = scvi_tools.read(changed(tmp_path, edit)).registry.categories
    assert categories["batch"] == ["0", "2", "4"] and categories["donor"] == ["1", "2.5", "3"]
    assert categories["site"] == ["False", "True"]


def test_folders_that_hold_no_model(tmp_path):
    with pytest.raises(ArchiveError, match="holds no model.pt"):
        scvi_tools.read(tmp_path)
    (tmp_path / "model.pt").write_text("a text")
    with pytest.raises(ArchiveError, match="not a file that torch wrote"):
        scvi_tools.read(tmp_path)
    torch.save([1, 2], tmp_path / "model.pt")
    with pytest.raises(ArchiveError, match="does not have the parts"):
        scvi_tools.read(tmp_path)


def test_a_prefix_and_a_path_to_the_file(tmp_path):
    raw = (FIXTURES / "scvi_zinb" / "model" / "model.pt").read_bytes()
    (tmp_path / "run1_model.pt").write_bytes(raw)
    assert scvi_tools.read(tmp_path, prefix="run1_").settings.n_latent == 6
    assert scvi_tools.read(tmp_path / "run1_model.pt").settings.n_latent == 6
    with pytest.raises(ArchiveError, match="holds no run2_model.pt"):
        scvi_tools.read(tmp_path, prefix="run2_")


# more, where it is at hand ---------------------------------------------------------------------------------
def test_a_checkpoint_of_version_0_15_reads():
    fit = scvi_tools.read(shared("data", "checkpoints", "v0.15.5_scvi"))
    assert fit.settings == ScviSettings(continuous_in="first")
    assert fit.registry.n_genes == 100 and fit.registry.category_sizes == (2,)
    assert fit.registry.categories["labels"] == ["label_0", "label_1", "label_2"]
    assert fit.training["source"] == "scvi-tools 0.15.5" and fit.training["n_train"] == 360
    assert fit.trained                                               # although the file holds no history


def test_a_checkpoint_of_totalvi_is_not_supported_yet():
    with pytest.raises(scvi_tools.UnsupportedError, match="class TOTALVI, which is not supported yet") as caught:
        scvi_tools.read(shared("data", "checkpoints", "v1.3.2_totalvi"))
    assert caught.value.hint.startswith("Supported: SCVI, ")


def test_every_checkpoint_at_hand_reads_or_is_not_supported():
    found = sorted(shared("fixtures", "scvi-tools").glob("*/model*/model.pt"))
    assert found
    for path in found:
        stored = torch_archive.read(path)
        assert stored["model_state_dict"] and stored["attr_dict"]
        try:
            fit = scvi_tools.read(path.parent)
        except scvi_tools.UnsupportedError:
            continue
        assert fit.registry.n_genes == len(stored["var_names"])


# SCANVI ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("mapping", "labels"), [
    (["B", "Mono", "T", "?"], ["B", "Mono", "T"]), (["?", "B", "Mono", "T"], ["T", "B", "Mono"]),
    (["B", "?", "T"], ["B", "T"]), (["B", "T"], ["B", "T"])])
@pytest.mark.parametrize("place", ["set-up", "model"])
def test_the_category_without_label_changes_places_with_the_last(mapping, labels, place):
    """Whether the file has done so already or not: these are the classifier's columns."""
    setup = {"labels_key": "label"} | ({"unlabeled_category": "?"} if place == "set-up" else {})
    theirs = {"setup_args": setup, "field_registries": {"labels": {"state_registry": {"categorical_mapping": mapping}}}}
    found = registry_of(theirs, ["g"], unlabeled="?" if place == "model" else None)
    assert found.categories["labels"] == labels and found.columns.unlabeled == "?"


def test_the_history_of_a_classifier_has_our_names():
    history = scvi_tools.read(FIXTURES / "scanvi_from_scvi" / "model").history.to_dict()
    assert {"accuracy_train", "f1_score_train", "calibration_error_train", "classification_loss_train"} <= set(history)
