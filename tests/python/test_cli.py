"""The command line: train, latent, and exit statuses."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import anndata
import numpy as np
import pytest
from examples import SMALL, opened, small_data, trained, untrained

import latome
from latome.analysis.latent import latent
from latome.cli import main
from latome.data.registry import open_data
from latome.io import archive

QUICK = ["--max-epochs", "4", "--batch-size", "32", "--n-epochs-kl-warmup", "5", "--lr", "0.005", "--device", "cpu",
         "--n-hidden", "12", "--n-latent", "3"]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "cells.h5ad"
    small_data().write_h5ad(path)
    return str(path)


def test_train_then_latent(file, tmp_path, capsys):
    folder = str(tmp_path / "model")
    assert main(["train", file, folder, "--batch", "batch", *QUICK]) == 0
    said = capsys.readouterr()
    assert "scVI: 90 cells x 30 genes, 4 epochs (finished)" in said.out and said.err == ""
    fit, reference = archive.load(folder), trained(opened(), SMALL)
    z = latent(fit.module, open_data(small_data(), registry=fit.registry))
    np.testing.assert_array_equal(z, latent(reference.module, opened()))
    for suffix in (".npy", ".csv", ".h5ad"):
        output = tmp_path / f"z{suffix}"
        assert main(["latent", folder, file, str(output)]) == 0
        assert "90 cells x 3 dimensions" in capsys.readouterr().out
    np.testing.assert_array_equal(np.load(tmp_path / "z.npy"), z)
    lines = (tmp_path / "z.csv").read_text().splitlines()
    assert lines[0] == "cell,scvi_1,scvi_2,scvi_3" and len(lines) == 91
    assert lines[1].split(",")[0] == small_data().obs_names[0]
    np.testing.assert_allclose([[float(v) for v in line.split(",")[1:]] for line in lines[1:]], z, rtol=1e-6)
    np.testing.assert_array_equal(anndata.read_h5ad(tmp_path / "z.h5ad").obsm["X_scvi"], z)


def test_every_role_and_setting_reaches_the_model(file, tmp_path):
    folder = str(tmp_path / "model")
    status = main(["train", file, folder, "--batch", "batch", "--labels", "cell_type", "--categorical", "kit",
                   "--continuous", "age", "--seed", "7", "--gene-likelihood", "nb", "--no-use-observed-lib-size",
                   "--encode-covariates", "--dispersion", "gene-batch", "--early-stopping", *QUICK])
    assert status == 0
    document = json.loads((tmp_path / "model" / "model.json").read_text())
    columns, settings = document["registry"]["columns"], document["settings"]
    assert (columns["batch"], columns["labels"]) == ("batch", "cell_type")
    assert columns["categorical"] == ["kit"] and columns["continuous"] == ["age"] and document["seed"] == 7
    assert settings["gene_likelihood"] == "nb" and settings["dispersion"] == "gene-batch"
    assert settings["use_observed_lib_size"] is False and settings["encode_covariates"] is True
    assert "elbo_validation" in document["history"]


def test_training_goes_on_from_a_checkpoint(file, tmp_path, monkeypatch):
    def arguments(name):
        return ["train", file, str(tmp_path / name), "--batch", "batch", *QUICK]

    resumed = [*arguments("resumed"), "--checkpoint", str(tmp_path / "state"), "--checkpoint-every", "1"]
    save = archive.save

    def killed(*given, **more):
        raise SystemExit(143)

    monkeypatch.setattr(archive, "save", killed)
    with pytest.raises(SystemExit):
        main([*resumed, "--max-epochs", "2"])
    monkeypatch.setattr(archive, "save", save)
    assert main(resumed) == 0 and main(arguments("whole")) == 0
    one, other = archive.load(tmp_path / "resumed"), archive.load(tmp_path / "whole")
    assert len(one.history) == 4 and (tmp_path / "state" / "checkpoint.safetensors").exists()
    for a, b in zip(one.module.state_dict().values(), other.module.state_dict().values()):
        assert np.array_equal(a, b)


ERRORS = {  # arguments (F the file, M a folder, T the temporary one), what is said
    "no such file": (["train", "T/absent.h5ad", "M"], "There is no file .*absent.h5ad"),
    "no h5ad file": (["train", "T/text.h5ad", "M"], "text.h5ad cannot be read"),
    "no such column": (["train", "F", "M", "--batch", "bach"], "no column 'bach'.*\n.*Did you mean 'batch'"),
    "no such layer": (["train", "F", "M", "--layer", "raw"], "no layer 'raw'"),
    "impossible setting": (["train", "F", "M", "--n-latent", "0"], "`n_latent` cannot be 0"),
    "impossible option": (["train", "F", "M", "--train-size", "1.5"], "`train_size` cannot be 1.5"),
    "impossible seed": (["train", "F", "M", "--seed", "-1"], "`seed` cannot be -1"),
    "no such device": (["train", "F", "M", "--device", "warp"], "'warp'"),
    "no such model": (["latent", "T/absent", "F", "T/z.npy"], "no folder .*absent"),
    "an output of no known kind": (["latent", "M", "F", "T/z.txt"], "of no kind that can be written.*\n.*csv"),
    "a folder that is a file": (["train", "F", "T/text.h5ad", "--max-epochs", "1", "--device", "cpu"], "is a file"),
    "an output in no folder": (["latent", "T/model", "F", "T/absent/z.npy"], "could not be written"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_are_told_and_the_status_is_2(file, tmp_path, capsys, name):
    arguments, said = ERRORS[name]
    (tmp_path / "text.h5ad").write_text("hello")
    archive.save(trained(opened(), SMALL, max_epochs=1), tmp_path / "model")
    places = {"F": file, "M": str(tmp_path / "M")}
    arguments = [places.get(a, a.replace("T/", f"{tmp_path}/")) for a in arguments]
    assert main(arguments) == 2
    found = capsys.readouterr()
    assert found.out == "" and found.err.startswith("latome: ") and re.search(said, found.err)
    assert "Traceback" not in found.err and not (tmp_path / "M").exists()


def test_a_model_is_not_replaced_by_accident(file, tmp_path, capsys):
    arguments = ["train", file, str(tmp_path / "m"), *QUICK]
    assert main(arguments) == 0
    before = (tmp_path / "m" / "model.safetensors").read_bytes()
    assert main([*arguments, "--seed", "1"]) == 2
    assert "already holds a model" in capsys.readouterr().err
    assert (tmp_path / "m" / "model.safetensors").read_bytes() == before
    assert main([*arguments, "--seed", "1", "--overwrite"]) == 0
    assert (tmp_path / "m" / "model.safetensors").read_bytes() != before


def test_doubts_go_to_stderr(tmp_path, capsys):
    adata = small_data()
    adata.obs["age"] = 1.0
    adata.write_h5ad(tmp_path / "cells.h5ad")
    assert main(["train", str(tmp_path / "cells.h5ad"), str(tmp_path / "m"), "--continuous", "age", *QUICK]) == 0
    assert "warning: Continuous covariate 'age' is the same in every cell" in capsys.readouterr().err


def test_names_with_commas_stay_one_field(tmp_path):
    adata = small_data()
    adata.obs_names = [f"cell,{i}" for i in range(90)]
    adata.write_h5ad(tmp_path / "cells.h5ad")
    archive.save(trained(opened(), SMALL, max_epochs=1), tmp_path / "m")
    assert main(["latent", str(tmp_path / "m"), str(tmp_path / "cells.h5ad"), str(tmp_path / "z.csv")]) == 0
    with open(tmp_path / "z.csv", newline="") as stream:
        rows = list(csv.reader(stream))
    assert {len(row) for row in rows} == {4} and rows[1][0] == "cell,0"


def test_the_module_runs_as_a_program():
    root = Path(latome.__file__).resolve().parents[1]
    program = [sys.executable, "-m", "latome.cli"]
    found = subprocess.run([*program, "--version"], capture_output=True, text=True, cwd=root)
    assert (found.returncode, found.stdout.strip()) == (0, f"latome {latome.__version__}")
    assert subprocess.run([*program, "fly"], capture_output=True, cwd=root).returncode == 2


def test_the_warm_up_over_steps_can_be_asked_for(file, tmp_path):
    folder = str(tmp_path / "model")
    assert main(["train", file, folder, *QUICK, "--n-epochs-kl-warmup", "None", "--n-steps-kl-warmup", "2"]) == 0
    assert archive.load(folder).history.to_dict()["kl_weight"][-1] == 1.0


def test_an_untrained_model_is_doubted(file, tmp_path, capsys):
    archive.save(untrained(), tmp_path / "model")
    assert main(["latent", str(tmp_path / "model"), file, str(tmp_path / "z.npy")]) == 0
    assert "warning: the model has not been trained" in capsys.readouterr().err
