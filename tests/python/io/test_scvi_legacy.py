"""Models of scvi-tools before 0.15, in three files: read as data, like the later ones, and refused by name."""

import io
import pickle
import posix
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from latome.backend import torch
from latome.data.fields import Columns
from latome.data.registry import ONE_BATCH
from latome.data.sources import read_h5ad
from latome.errors import ArchiveError, LatomeError
from latome.io import scvi_legacy, scvi_tools, torch_archive
from latome.io.readers import read_model
from latome.modules.scvi import ScviSettings
from latome.training.split import recovered_split

MODEL = Path(__file__).resolve().parents[1] / "fixtures" / "scvi_legacy" / "model"


def stored():
    """What attr.pkl of the committed model holds."""
    return pickle.loads((MODEL / "attr.pkl").read_bytes())


def copied(folder, edit=None, without=(), **files):
    """The model in a folder of its own, after `edit(attributes)`, without some files, and with others' bytes."""
    shutil.copytree(MODEL, folder, dirs_exist_ok=True)
    if edit is not None:
        attributes = stored()
        edit(attributes)
        (folder / "attr.pkl").write_bytes(pickle.dumps(attributes))
    for name in without:
        (folder / name).unlink()
    for name, content in files.items():
        (folder / {"attr": "attr.pkl", "genes": "var_names.csv", "weights": "model_params.pt",
                   "data": "adata.h5ad"}[name]).write_bytes(content)
    return folder


# what must read --------------------------------------------------------------------------------------------
def test_settings_registry_and_history_are_those_of_the_files():
    fit = read_model(MODEL)
    assert fit.settings == ScviSettings(
        n_hidden=8, n_latent=3, n_layers=2, gene_likelihood="nb", dispersion="gene-batch", encode_covariates=True,
        use_observed_lib_size=False, use_layer_norm="encoder", continuous_in="first")
    assert fit.registry.columns == Columns(batch="batch", labels="ct", categorical=("one", "donor"),
                                           continuous=("age",))
    assert fit.registry.categories == {"batch": ["b0", "b1", "b2"], "labels": ["B", "M", "NK", "T"], "one": ["only"],
                                       "donor": ["d1", "d2", "d3"]}
    assert fit.registry.genes == tuple(f"G{i}" for i in range(20)) and fit.registry.n_cells == 60
    attributes = stored()
    found = fit.history.to_dict()
    np.testing.assert_array_equal(found["epoch"], [0, 1, 2])
    np.testing.assert_allclose(found["elbo_train"], attributes["history_"]["elbo_train"]["elbo_train"].astype(float))
    assert fit.trained and fit.training["source"] == "scvi-tools 0.13.0"
    np.testing.assert_array_equal(recovered_split(fit.training, 0).train, attributes["train_indices_"])


def test_the_weights_are_those_of_the_file():
    fit = scvi_tools.read(MODEL)
    theirs = torch.load(MODEL / "model_params.pt", weights_only=True)
    state = fit.module.state_dict()
    assert torch.equal(state["log_theta"], theirs["px_r"].t())
    assert torch.equal(state["decoder.logits.weight"], theirs["decoder.px_scale_decoder.0.weight"])
    first = theirs["decoder.px_decoder.fc_layers.Layer 0.0.weight"]                 # [z, age | batch, donor]
    tables = [state[f"decoder.hidden.linears.0.tables.{j}"].t() for j in (0, 1)]
    parts = [state["decoder.hidden.linears.0.weight"], state["decoder.hidden.linears.0.continuous"], *tables]
    assert torch.equal(torch.cat(parts, 1), first)


def test_the_prior_of_the_library_comes_from_the_data():
    """As scvi-tools itself had stored it, a value a cell, in the data."""
    fit, obs = scvi_tools.read(MODEL), read_h5ad(MODEL / "adata.h5ad").obs
    for code in range(3):
        cells = obs[obs["_scvi_batch"] == code]
        assert float(fit.module.library_mean[code]) == pytest.approx(cells["_scvi_local_l_mean"].iloc[0], rel=1e-6)
        assert float(fit.module.library_variance[code]) == pytest.approx(cells["_scvi_local_l_var"].iloc[0], rel=1e-5)


def test_a_prior_in_the_file_is_taken_from_there(tmp_path):
    """Since 0.14; no data are needed then."""
    theirs = torch.load(MODEL / "model_params.pt", weights_only=True)
    theirs |= {"library_log_means": torch.tensor([[1.0, 2, 3]]), "library_log_vars": torch.tensor([[4.0, 5, 6]])}
    copied(tmp_path, without=["adata.h5ad"])
    torch.save(theirs, tmp_path / "model_params.pt")
    module = scvi_tools.read(tmp_path).module
    assert module.library_mean.tolist() == [1, 2, 3] and module.library_variance.tolist() == [4, 5, 6]


def test_without_the_data_the_prior_is_missing_and_that_is_said(tmp_path):
    with pytest.raises(scvi_tools.UnsupportedError, match="no adata.h5ad beside it") as caught:
        scvi_tools.read(copied(tmp_path / "none", without=["adata.h5ad"]))
    assert "save_anndata" in caught.value.hint
    with pytest.raises(ArchiveError, match="does not give it"):
        scvi_tools.read(copied(tmp_path / "damaged", data=b"\x89HDF\r\n\x1a\n and then nothing"))
    other = read_h5ad(MODEL / "adata.h5ad")[:, :5].copy()
    folder = copied(tmp_path / "other")
    other.write_h5ad(folder / "adata.h5ad")
    with pytest.raises(ArchiveError, match="15 of 20 genes are not in the data"):
        scvi_tools.read(folder)


def observed(attributes):
    """Arguments of a model whose library size is observed, by default."""
    del attributes["init_params_"]["kwargs"]["model_kwargs"]["use_observed_lib_size"]


def test_the_library_is_observed_by_default_since_0_8(tmp_path):
    fit = scvi_tools.read(copied(tmp_path, observed, without=["adata.h5ad"]))
    assert fit.settings.use_observed_lib_size and fit.module.library_encoder is None

    def before(attributes):
        observed(attributes)
        attributes["scvi_setup_dict_"]["scvi_version"] = "0.7.1"
        arguments = attributes["init_params_"]                       # flat then, with an option of its own
        attributes["init_params_"] = {**arguments["non_kwargs"], "use_cuda": True,
                                      "model_kwargs": arguments["kwargs"]["model_kwargs"]}
    fit = scvi_tools.read(copied(tmp_path, before, data=(MODEL / "adata.h5ad").read_bytes()))
    assert not fit.settings.use_observed_lib_size and fit.settings.n_layers == 2 and fit.settings.encode_covariates


def test_a_layer_and_a_model_without_columns(tmp_path):
    def edit(attributes):
        observed(attributes)
        setup = attributes["scvi_setup_dict_"]
        setup["data_registry"]["X"] = {"attr_name": "layers", "attr_key": "counts"}
        for role in ("batch", "labels"):
            setup["categorical_mappings"][f"_scvi_{role}"] = {"original_key": f"_scvi_{role}", "mapping": np.array([0])}
        del setup["extra_categoricals"], setup["extra_continuous_keys"], setup["summary_stats"]
        attributes["init_params_"]["kwargs"]["model_kwargs"]["encode_covariates"] = False
        attributes["init_params_"]["non_kwargs"].update(n_layers=1, gene_likelihood="poisson")
        attributes.update(is_trained_=False, history_=None)
    tensors = {name: value for name, value in torch.load(MODEL / "model_params.pt", weights_only=True).items()
               if "Layer 1" not in name}
    narrow = "{}.fc_layers.Layer 0.0.weight".format
    for network, width in (("z_encoder.encoder", 20), ("l_encoder.encoder", 20), ("decoder.px_decoder", 3)):
        tensors[narrow(network)] = tensors[narrow(network)][:, :width].clone()
    folder = copied(tmp_path, edit)
    torch.save(tensors, folder / "model_params.pt")
    fit = scvi_tools.read(folder)
    assert fit.registry.columns == Columns(layer="counts") and fit.registry.n_cells == 0 and not fit.trained
    assert fit.registry.categories == {"batch": list(ONE_BATCH)}


def test_names_of_genes_in_every_spelling(tmp_path):
    names = [f"G{i}" for i in range(19)]
    for content, last in [("\n".join([*names, "β-actin"]).encode(), "β-actin"),
                          ("\r\n".join([*names, "a,b c"]).encode() + b"\r\n", "a,b c"),
                          ("\n".join([*names, "caf\xe9\n"]).encode("latin-1"), "café"),
                          ("\n".join([*names, "x\u2028y\x0bz\n"]).encode(), "x\u2028y\x0bz")]:
        assert scvi_legacy.read(copied(tmp_path, genes=content))["var_names"] == [*names, last]


def test_a_prefix_and_a_folder_that_holds_both_layouts(tmp_path):
    for path in MODEL.iterdir():
        shutil.copy(path, tmp_path / f"run1_{path.name}")
    assert read_model(tmp_path, prefix="run1_").settings.n_layers == 2
    with pytest.raises(ArchiveError, match="holds no"):
        read_model(tmp_path)
    shutil.copy(MODEL.parents[1] / "scvi_zinb" / "model" / "model.pt", tmp_path / "run1_model.pt")
    assert read_model(tmp_path, prefix="run1_").settings.n_layers == 1               # the later layout counts


def test_pickles_of_every_protocol_read(tmp_path):
    for protocol in range(2, 6):
        content = pickle.dumps(stored(), protocol)
        assert scvi_tools.read(copied(tmp_path, attr=content)).registry.columns.batch == "batch"


# what must be refused --------------------------------------------------------------------------------------
class Reduced:
    """An object whose pickle asks for `function(*arguments)`."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


def with_inside(value):
    """The bytes of attr.pkl with one more attribute."""
    return pickle.dumps({**stored(), "extra_": value})


HOSTILE = {
    "builtins.eval": lambda: with_inside(Reduced(eval, "1 + 1")),
    "builtins.exec": lambda: with_inside(Reduced(exec, "import os")),
    "builtins.getattr": lambda: with_inside(Reduced(getattr, {}, "clear")),
    "builtins.__import__": lambda: with_inside(Reduced(__import__, "this")),
    "torch.storage._load_from_bytes": lambda: b"\x80\x02ctorch.storage\n_load_from_bytes\nU\x02N.\x85R.",
    "torch._utils._rebuild_tensor_v2": lambda: with_inside(torch.ones(2)),
    "_pickle.loads": lambda: with_inside(Reduced(pickle.loads, b"N.")),
    "scvi.data._anndata.AnnDataManager": lambda: b"\x80\x02cscvi.data._anndata\nAnnDataManager\n)\x81.",
    "numpy.load": lambda: with_inside(Reduced(np.load, "x.npy", None, True)),
    "pathlib.PosixPath": lambda: with_inside(Path("/etc/passwd")),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_global_off_the_list_is_refused_by_name(tmp_path, name):
    with pytest.raises(ArchiveError, match=name.replace(".", r"\.")) as caught:
        scvi_tools.read(copied(tmp_path, attr=HOSTILE[name]()))
    assert "attr.pkl" in caught.value.problem and "Nothing was run" in caught.value.hint


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_nothing_is_run_and_nothing_imported(tmp_path, protocol, monkeypatch):
    canary = tmp_path / "canary"
    (tmp_path / "trap_of_a_module.py").write_text(f"open({str(canary)!r}, 'w')\ndef touch(): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    by_import = b"\x80\x02ctrap_of_a_module\ntouch\n)R."
    for content in (pickle.dumps(Reduced(posix.system, f"touch {canary}"), protocol), by_import):
        for file in ("attr", "weights"):
            with pytest.raises(ArchiveError):
                scvi_tools.read(copied(tmp_path / "model", **{file: content}))
    assert not canary.exists() and "trap_of_a_module" not in sys.modules


def archived(content):
    """The bytes of a file of torch around a pickle that is not torch's."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as target:
        target.writestr("archive/data.pkl", content)
    return stream.getvalue()


DAMAGED = {  # what the file holds instead: (file, content, what is said)
    "no attributes": ("attr", b"", "attr.pkl` was refused.*damaged"),
    "attributes cut short": ("attr", (MODEL / "attr.pkl").read_bytes()[:1500], "attr.pkl` was refused"),
    "a text for attributes": ("attr", b"hello, I am a text\n", "attr.pkl` was refused"),
    "a list of attributes": ("attr", pickle.dumps([1, 2]), "attr.pkl holds a list"),
    "a reference to elsewhere": ("attr", b"\x80\x02X\x01\x00\x00\x00aQ.", "data outside itself"),
    "the instruction INST": ("attr", b"(X\x01\x00\x00\x00aios\nsystem\n.", "INST"),
    "the instruction EXT1": ("attr", b"\x80\x02\x82\x01.", "EXT1"),
    "attributes that name nothing": ("attr", pickle.dumps({}), "does not have the parts.*scvi_setup_dict_"),
    "no weights": ("weights", b"", "model_params.pt` is not a file that torch wrote: it is empty"),
    "weights cut short": ("weights", (MODEL / "model_params.pt").read_bytes()[:9000], "model_params.pt` is damaged"),
    "weights that call": ("weights", archived(pickle.dumps(Reduced(posix.system, "true"))), "posix.system"),
    "weights that are a list": ("weights", archived(b"\x80\x02]."), "not those of SCVI"),
    "too few genes": ("genes", b"G0\nG1\n", r"call for \(2, 3\)"),
    "no genes": ("genes", b"", "it names no genes"),
    "genes that are bytes": ("genes", bytes(range(128, 256)), r"call for \(1, 3\)"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_refused(tmp_path, name):
    file, content, message = DAMAGED[name]
    with pytest.raises(ArchiveError, match=message) as caught:
        scvi_tools.read(copied(tmp_path, **{file: content}))
    assert caught.value.hint


def test_the_layout_of_torch_before_1_6_is_named(tmp_path):
    folder = copied(tmp_path)
    torch.save({"px_r": torch.ones(2)}, folder / "model_params.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(ArchiveError, match="before version 1.6"):
        scvi_tools.read(folder)


@pytest.mark.parametrize("name", scvi_legacy.FILES)
def test_a_missing_file_is_named(tmp_path, name):
    with pytest.raises(ArchiveError, match=f"holds no {name}"):
        scvi_tools.read(copied(tmp_path, without=[name]))


CHANGED = {  # what is done to the attributes: what is said
    "does not have the parts.*data_registry": lambda a: a["scvi_setup_dict_"].pop("data_registry"),
    "does not have the parts.*_scvi_batch": lambda a: a["scvi_setup_dict_"]["categorical_mappings"].pop("_scvi_batch"),
    "does not have the parts.*init_params_": lambda a: a.pop("init_params_"),
    "does not have the parts.*scvi_version": lambda a: a["scvi_setup_dict_"].pop("scvi_version"),
    "does not have the parts.*invalid literal": lambda a: a["scvi_setup_dict_"].update(scvi_version="new"),
    "does not have the parts.*'donor'": lambda a: a["scvi_setup_dict_"]["extra_categoricals"]["mappings"].pop("donor"),
    "does not have the parts.*": lambda a: a.update(scvi_setup_dict_=[1]),
    r"'px_r' has the shape \(20, 3\).*\(20, 2\)":
        lambda a: a["scvi_setup_dict_"]["categorical_mappings"]["_scvi_batch"].update(mapping=np.array(["b0", "b1"])),
    "n_wings = 3": lambda a: a["init_params_"]["non_kwargs"].update(n_wings=3),
}


@pytest.mark.parametrize("message", CHANGED)
def test_attributes_that_do_not_fit_are_refused(tmp_path, message):
    with pytest.raises(ArchiveError, match=message) as caught:
        scvi_tools.read(copied(tmp_path, CHANGED[message]))
    assert caught.value.hint


@pytest.mark.parametrize(("name", "kind"), [
    ("encoder_z2_z1.encoder.weight", "SCANVI"), ("decoder.factor_regressor.weight", "LinearSCVI"),
    ("background_pro_alpha", "TOTALVI"), ("alpha_posterior_logit", "AUTOZI"), ("region_factors", "PEAKVI"),
])
def test_other_classes_are_known_by_their_tensors(tmp_path, name, kind):
    folder = copied(tmp_path)
    tensors = torch_archive.read(folder / "model_params.pt")
    torch.save({**tensors, name: torch.ones(2)}, folder / "model_params.pt")
    assert scvi_legacy.read(folder)["attr_dict"]["registry_"]["model_name"] == kind
    if kind not in scvi_tools.KINDS:
        with pytest.raises(scvi_tools.UnsupportedError, match=f"class {kind}"):
            scvi_tools.read(folder)
    torch.save({"somebody.elses.weight": torch.ones(2)}, folder / "model_params.pt")
    with pytest.raises(scvi_tools.UnsupportedError, match="not those of SCVI"):
        scvi_tools.read(folder)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")            # of pickletools, on damaged text
def test_any_damage_of_the_attributes_gives_an_error_of_ours_or_a_model(tmp_path):
    whole, random, refused = (MODEL / "attr.pkl").read_bytes(), np.random.default_rng(0), 0
    folder = copied(tmp_path)
    for trial in range(400):
        raw = bytearray(whole)
        if trial < 50:
            raw = raw[:int(random.integers(0, len(raw)))]
        for _ in range(3 * (trial >= 50)):
            raw[int(random.integers(0, len(raw)))] = int(random.integers(0, 256))
        (folder / "attr.pkl").write_bytes(bytes(raw))
        try:
            scvi_tools.read(folder)
        except LatomeError:
            refused += 1
    assert refused >= 100

