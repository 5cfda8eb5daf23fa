"""The parity tool passes on the committed cases, and fails as soon as a number is wrong or a case cannot be read."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from latome.data.sources import read_h5ad

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "tests" / "python" / "fixtures"
sys.path.insert(0, str(ROOT / "tools"))

import parity  # noqa: E402
import record_parity  # noqa: E402
from parity_cases.compare import FAIL, NO_REFERENCE, NOT_YET, PASS, Tolerance, compare  # noqa: E402


def rows(folder):
    return {row.array: row for case in parity.check(folder) for row in case}


def copy(tmp_path, case, arrays=None, keep=None, **described):
    """The case in a folder of its own, with some expected arrays and entries of case.json replaced."""
    folder = tmp_path / case
    shutil.copytree(FIXTURES / case, folder)
    with np.load(folder / "expected.npz") as stored:
        expected = {name: stored[name] for name in stored.files}
    expected |= {name: change(expected.get(name)) for name, change in (arrays or {}).items()}
    np.savez(folder / "expected.npz", **expected)
    document = json.loads((folder / "case.json").read_text()) | described
    document["arrays"] = {name: text for name, text in document["arrays"].items() if keep is None or name in keep}
    document["arrays"] |= {name: {} for name in arrays or {}}
    (folder / "case.json").write_text(json.dumps(document))
    return folder


@pytest.mark.parametrize(("case", "n"), [
    ("scvi_zinb", 19), ("scvi_covariates", 22), ("scvi_normal", 9), ("scvi_embedding", 13), ("scvi_size_factor", 10),
    ("scvi_minified", 6), ("scvi_legacy", 7), ("scvi_query", 44), ("scanvi_from_scvi", 31), ("train_steps_scvi", 92),
    ("solo", 6), ("cellassign", 8), ("cellassign_covariates", 2)])
def test_committed_cases_pass(case, n):
    found = rows(FIXTURES / case)
    assert len(found) == n
    assert {row.verdict for row in found.values()} == {PASS}, [row for row in found.values() if row.verdict != PASS]


def test_the_grids_pass(tmp_path):
    for suffix in ("json", "npz"):
        shutil.copy(FIXTURES / f"distributions.{suffix}", tmp_path)
    found = rows(tmp_path)
    assert {"nb_log_prob", "zinb_log_prob (kernel)", "poisson_log_prob", "nb_tc_log_prob", "zinb_mean",
            "de_vanilla__bayes_factor", "de_change_delta0.5_pseudo1e-5__lfc_confidence_interval_0.95_min",
            "de_change_delta0.25_pseudo1e-3_two__proba_de"} <= set(found)
    assert {row.verdict for row in found.values()} == {PASS}
    with np.load(tmp_path / "distributions.npz") as stored:
        changed = {name: stored[name] for name in stored.files}
    changed["zinb_log_prob"] = changed["zinb_log_prob"] * (1 + 3e-6)
    changed["de_vanilla__proba_m1"] = changed["de_vanilla__proba_m1"] + 0.002           # one of 500 samples
    np.savez(tmp_path / "distributions.npz", **changed)
    found = rows(tmp_path)
    assert {name for name, row in found.items() if row.verdict == FAIL} == {
        "zinb_log_prob", "zinb_log_prob (kernel)", "de_vanilla__proba_m1"}


def test_the_command_prints_a_table_and_tells_by_its_status(tmp_path):
    command = [sys.executable, str(ROOT / "tools" / "parity.py")]
    good = subprocess.run([*command, str(FIXTURES / "scvi_covariates")], capture_output=True, text=True)
    assert good.returncode == 0, good.stdout + good.stderr
    assert "qz_mean" in good.stdout and "22 pass, 0 fail, 0 not yet" in good.stdout
    bad = copy(tmp_path, "scvi_covariates", {"px_scale": lambda values: values * 1.01})
    wrong = subprocess.run([*command, str(bad.parent)], capture_output=True, text=True)
    assert wrong.returncode == 1
    line = next(line for line in wrong.stdout.splitlines() if " px_scale " in line)
    assert "fail" in line and "beyond the tolerance" in line and "21 pass, 1 fail" in wrong.stdout


PERTURBED = {
    "qz_mean": lambda v: v + 1e-3, "qz_var": lambda v: v * 1.001, "px_rate": lambda v: v[:, ::-1],
    "reconstruction_loss": lambda v: v * 1.001, "loss_kl_weight_0.25": lambda v: v * 1.001, "kl_z": lambda v: -v,
    "elbo_at_mean": lambda v: -v, "grad_px_r": lambda v: v * 1.001, "grad_decoder_first_weight": lambda v: v[:, ::-1],
    "normalized_expression_batch_b1": lambda v: v[::-1], "px_r": lambda v: v[:1],
}


@pytest.mark.parametrize("name", PERTURBED)
def test_a_wrong_number_fails(tmp_path, name, capsys):
    folder = copy(tmp_path, "scvi_zinb", {name: PERTURBED[name]}, keep=[name])
    assert parity.main([str(folder)]) == 1
    assert f"{name} " in capsys.readouterr().out


@pytest.mark.parametrize(("case", "name"), [
    ("scvi_normal", "px_sd"), ("scvi_normal", "kl_z"), ("scvi_embedding", "batch_representation"),
    ("scvi_size_factor", "px_scale"), ("scvi_minified", "qz_var"), ("scvi_legacy", "ql_mean")])
def test_a_wrong_number_of_an_option_fails(tmp_path, case, name):
    assert rows(copy(tmp_path, case, {name: lambda v: v * 1.001}, keep=[name]))[name].verdict == FAIL


def test_numbers_of_minified_data(tmp_path):
    """The stored library sizes, and that decoding needs nothing else: expression is the same as before."""
    case = FIXTURES / "scvi_minified"
    with np.load(case / "expected.npz") as stored:
        rho = stored["px_scale"]
    totals = read_h5ad(case / "model" / "adata.h5ad").obs["observed_lib_size"].to_numpy()
    expected = {"observed_lib_size": totals[:, None], "full_model_normalized_expression": rho}
    folder = copy(tmp_path, "scvi_minified", {name: lambda _, v=v: v for name, v in expected.items()}, keep=[])
    assert {row.verdict for row in rows(folder).values()} == {PASS}


def test_the_recorder_says_what_it_needs(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("LATOME_PEER_PYTHON", raising=False)
    monkeypatch.setattr(record_parity.importlib.util, "find_spec", lambda name: None)
    for arguments, message in [(["no_such_case"], "no case no_such_case"), ([], "LATOME_PEER_PYTHON")]:
        with pytest.raises(SystemExit) as caught:
            record_parity.main([str(tmp_path), *arguments])
        assert caught.value.code == 2 and message in capsys.readouterr().err


@pytest.mark.skipif("LATOME_PEER_PYTHON" not in os.environ, reason="set LATOME_PEER_PYTHON to one with scvi-tools")
def test_cases_recorded_now_pass(tmp_path):
    names = [name for name in (*record_parity.CASES, *record_parity.MARKER_CASES) if name != "scvi_legacy"]
    record = [sys.executable, str(ROOT / "tools" / "record_parity.py"), str(tmp_path), *names]
    done = subprocess.run(record, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    found = [row for case in parity.check(tmp_path) for row in case]
    assert len(found) > 45 and {row.verdict for row in found} == {PASS}, [row for row in found if row.verdict != PASS]


def test_a_wrong_step_fails(tmp_path):
    weight = "after3.decoder.px_scale_decoder.0.weight"
    folder = copy(tmp_path, "train_steps_scvi", {
        weight: lambda v: v * 1.001, "grad1.px_r": lambda v: v * 1.001,
        "after1.z_encoder.encoder.fc_layers.Layer 0.1.num_batches_tracked": lambda v: v + 1})
    failed = {name for name, row in rows(folder).items() if row.verdict == FAIL}
    assert failed == {weight, "grad1.px_r", "after1.z_encoder.encoder.fc_layers.Layer 0.1.num_batches_tracked"}


def test_a_step_that_repeats_the_checkpoint_is_no_reference(tmp_path, capsys):
    from latome.io import torch_archive
    start = torch_archive.read(FIXTURES / "train_steps_scvi" / "model" / "model.pt")["model_state_dict"]["px_r"]
    folder = copy(tmp_path, "train_steps_scvi", {"after3.px_r": lambda _: start.numpy()}, keep=["loss"])
    assert rows(folder)["after3.px_r"].verdict == NO_REFERENCE
    assert parity.main([str(folder)]) == 0
    assert "1 pass, 0 fail, 0 not yet, 1 no reference" in capsys.readouterr().out


def test_what_is_not_there_yet_is_listed_and_does_not_fail(tmp_path, capsys):
    zeros = {name: lambda _: np.zeros(2) for name in ("topics", "px_dropout_logits")}
    folder = copy(tmp_path, "scvi_covariates", zeros, keep=["qz_mean"])
    found = rows(folder)
    assert [found[name].verdict for name in ("qz_mean", "topics", "px_dropout_logits")] == [PASS, NOT_YET, NOT_YET]
    document = json.loads((folder / "case.json").read_text())
    document["models"]["model"]["class"] = "TOTALVI"
    (folder / "case.json").write_text(json.dumps(document))
    capsys.readouterr()
    assert parity.main([str(folder)]) == 0
    assert "class TOTALVI" in capsys.readouterr().out


def test_cases_that_cannot_be_read_fail(tmp_path, capsys):
    assert parity.main([str(tmp_path)]) == 2                         # nothing to compare
    cases = {
        "missing array": lambda folder: (folder / "expected.npz").unlink(),
        "broken arrays": lambda folder: (folder / "expected.npz").write_bytes(b"PK\x03\x04"),
        "broken data": lambda folder: (folder / "model" / "adata.h5ad").write_bytes(b"text"),
        "broken json": lambda folder: (folder / "case.json").write_text("{"),
        "broken checkpoint": lambda folder: (folder / "model" / "model.pt").write_bytes(b"PK"),
        "missing checkpoint": lambda folder: (folder / "model" / "model.pt").unlink(),
        "other data": lambda folder: shutil.copy(FIXTURES / "scvi_zinb" / "model" / "adata.h5ad",
                                                 folder / "model" / "adata.h5ad"),
    }
    for name, damage in cases.items():
        folder = copy(tmp_path / name, "scvi_covariates", keep=["qz_mean"])
        damage(folder)
        assert parity.main([str(folder)]) == 1, name
        assert "fail" in capsys.readouterr().out
    folder = copy(tmp_path / "unnamed", "scvi_covariates", keep=["qz_mean"])
    document = json.loads((folder / "case.json").read_text())
    document["arrays"]["qz_var_of_another"] = document["arrays"]["qz_mean"]
    (folder / "case.json").write_text(json.dumps(document))
    assert rows(folder)["qz_var_of_another"].verdict == FAIL           # named, but not stored


def test_grids_that_cannot_be_read_fail(tmp_path):
    shutil.copy(FIXTURES / "distributions.json", tmp_path)
    assert parity.main([str(tmp_path)]) == 1
    (tmp_path / "distributions.npz").write_bytes(b"PK\x03\x04")
    assert parity.main([str(tmp_path)]) == 1


def test_a_query_case_uses_the_right_model_and_data(tmp_path):
    """The reference's arrays with the reference's model, the query's with the trained one, shifts between the two."""
    zinb, folder = FIXTURES / "scvi_zinb", tmp_path / "query"
    for name in ("model", "model_ref", "model_init"):
        shutil.copytree(zinb / "model", folder / name)
    (folder / "model_init" / "adata.h5ad").unlink()
    with np.load(zinb / "expected.npz") as stored:
        z, grad = stored["qz_mean"], stored["grad_decoder_first_weight"].copy()
    grad[:, :6] = 0                                                  # six latents, then three batches
    expected = {"query_qz_mean": z, "query_init_qz_mean": z, "ref_before_qz_mean": z, "ref_after_qz_mean": z,
                "ref_latent_shift_max": np.float64(0), "query_masked_grad_decoder_first_weight": grad}
    np.savez(folder / "expected.npz", **expected)
    models = {name: {"class": "SCVI", "folder": name} for name in ("model", "model_ref", "model_init")}
    models["model_init"]["adata_from"] = "model/adata.h5ad"
    (folder / "case.json").write_text(json.dumps({
        "case": "query", "kind": "scvi_query", "models": models, "arrays": dict.fromkeys(expected, {}),
        "tolerance": {"rtol": 1e-4, "atol_times_max_abs": 1e-5}}))
    assert {row.verdict for row in rows(folder).values()} == {PASS}
    (folder / "model_ref" / "model.pt").unlink()
    failed = {name for name, row in rows(folder).items() if row.verdict == FAIL}
    assert failed == {"ref_before_qz_mean", "ref_latent_shift_max"}


@pytest.mark.parametrize(("found", "expected", "tolerance", "verdict"), [
    ([1.0, 2.0], [1.0, 2.0], Tolerance(0), PASS),
    ([1.00009], [1.0], Tolerance(1e-4), PASS),
    ([1.00011], [1.0], Tolerance(1e-4), FAIL),
    ([0.0009, 100.0], [0.0, 100.0], Tolerance(1e-4, share=1e-5), PASS),
    ([0.0011, 100.0], [0.0, 100.0], Tolerance(1e-4, share=1e-5), FAIL),
    ([0.005, 100.0], [0.0, 100.0], Tolerance(1e-4, by_norm=True), PASS),
    ([0.05, 100.0], [0.0, 100.0], Tolerance(1e-4, by_norm=True), FAIL),
    ([np.inf], [np.inf], Tolerance(0), PASS),
    ([np.nan], [1.0], Tolerance(1.0, by_norm=True, noise=9.0), FAIL),
    ([1e-6, 2e-6], [-1e-6, 0.0], Tolerance(0, noise=1e-5), PASS),
    ([1e-6, 2e-5], [-1e-6, 0.0], Tolerance(0, noise=1e-5), FAIL),
    ([1e-7], [0.0], Tolerance(0, share=1e-5, scale=1.0), PASS),
    ([3, 4], [3, 5], Tolerance(1.0), FAIL),                          # whole numbers must be equal
    (["a", "b"], ["a", "b"], Tolerance(0), PASS),
    (["a", "b"], ["b", "a"], Tolerance(0), FAIL),
    ([[1.0, 2.0]], [1.0, 2.0], Tolerance(1.0), FAIL),                # a shape of its own
])
def test_the_rule_of_agreement(found, expected, tolerance, verdict):
    assert compare("case", "array", np.array(found), np.array(expected), tolerance).verdict == verdict
