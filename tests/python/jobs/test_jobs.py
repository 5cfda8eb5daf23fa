"""Jobs: written, run by the command line, stopped and taken up, and read."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from examples import SMALL, opened, options, same_history, same_weights, small_data

import latome
from latome import cli
from latome.analysis.differential import comparisons_of, differential_expression
from latome.analysis.latent import latent
from latome.data.registry import Columns, open_data
from latome.data.store import open_store
from latome.errors import ArchiveError, FieldError, LatomeError, QueryError, SettingError, TrainingError
from latome.fit import fit as fitted
from latome.jobs import verbs, write_job
from latome.training.ranks import Ranks
from latome.training.session import RandomStream

ROOT = Path(latome.__file__).resolve().parents[1]
PATIENCE = 240


def written(folder, *, adata=None, groups=("cell_type",), seed=0, columns=None, **more):
    """A job of small data."""
    return write_job(small_data() if adata is None else adata, folder, "scvi", SMALL, columns or Columns(batch="batch"),
                     options(**more), groups=groups, seed=seed)


def in_process(job, **more):
    """The fit that the job's training should give: trained here, on the job's cells."""
    return fitted(SMALL, open_data(job.cells(), Columns(batch="batch")), options(**more), seed=job.seed)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A job that was run on one process."""
    job = written(tmp_path_factory.mktemp("jobs") / "done", seed=3)
    assert cli.main(["train", str(job.folder)]) == 0
    return job


def test_a_job_gives_what_training_gives(done):
    fit, names, z = done.results()
    assert names == list(small_data().obs_names)
    assert same_weights(fit, in_process(done)) and same_history(fit, in_process(done))
    np.testing.assert_array_equal(z, latent(fit.module, opened()))
    assert z.dtype == np.float32 and done.state()["state"] == "done" and done.state()["epoch"] == 4
    assert {path.name for path in done.folder.iterdir()} >= {"job.json", "cells", "model", "latent.npy", "log.txt",
                                                             "state.json"}
    assert not (done.folder / "checkpoint").exists() and not list(done.folder.glob(".*"))
    assert "train: done  epoch 4" in (done.folder / "log.txt").read_text()


def test_the_request_says_it_all(done):
    request = json.loads((done.folder / "job.json").read_text())
    assert (request["verb"], request["kind"], request["seed"], request["latome"]) == \
        ("train", "scvi", 3, latome.__version__)
    assert request["settings"] == SMALL.to_json() and request["columns"]["batch"] == "batch"
    assert request["training"]["max_epochs"] == 4 and (request["n_cells"], request["n_genes"]) == (90, 30)
    assert list(open_store(done.folder / "cells").obs) == ["batch", "cell_type"]


def test_a_job_that_is_done_is_not_repeated(done, capsys):
    before = (done.folder / "model" / "model.safetensors").stat().st_mtime_ns
    assert cli.main(["train", str(done.folder)]) == 0
    assert "it is done (epoch 4 of 4)" in capsys.readouterr().out
    assert (done.folder / "model" / "model.safetensors").stat().st_mtime_ns == before


def test_differential_expression(done):
    assert cli.main(["de", str(done.folder), "--delta", "0.5", "--n-samples-overall", "400"]) == 0
    table = pd.read_csv(done.folder / "de.csv")
    data = open_data(done.cells(), registry=done.fit().registry)
    with RandomStream(3).active():
        expected = differential_expression(done.fit().module, data, comparisons_of(done.cells().obs, "cell_type"),
                                           delta=0.5, n_samples_overall=400)
    pd.testing.assert_frame_equal(table, expected, check_dtype=False, rtol=1e-6)
    assert cli.main(["de", str(done.folder), "--group1", "type_1", "--group2", "type_2", "--mode", "vanilla"]) == 0
    assert set(pd.read_csv(done.folder / "de.csv")["comparison"]) == {"type_1 vs type_2"}


class Ending:
    """In place of the progress line: a SIGTERM at a step."""

    step = 5

    def __call__(self, now):
        if now.step == self.step:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("step", [1, 5, 6, 11])        # of 12: within an epoch, and at the end of one
def test_a_job_that_is_stopped_goes_on(tmp_path, monkeypatch, step, capsys):
    job = written(tmp_path / "job", early_stopping=True, early_stopping_patience=3, keep_best=True)
    handler = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patched:
        patched.setattr(verbs, "SECONDS", 0.0)
        patched.setattr(Ending, "step", step)
        patched.setattr(cli, "ProgressLine", Ending)
        assert cli.main(["train", str(job.folder)]) == cli.STOPPED == 75
    assert signal.getsignal(signal.SIGTERM) is handler
    assert "it was stopped, and goes on when it is started again" in capsys.readouterr().out
    assert job.state()["state"] == "stopped" and not (job.folder / "model").exists()
    with pytest.raises(ArchiveError, match="is not done: it was stopped"):
        job.results()
    assert cli.main(["train", str(job.folder), "--threads", "1"]) == 0
    whole = in_process(job, early_stopping=True, early_stopping_patience=3, keep_best=True)
    assert same_weights(job.fit(), whole) and same_history(job.fit(), whole)


def test_a_ctrl_c_leaves_a_job_that_goes_on(tmp_path, monkeypatch):
    job = written(tmp_path / "job")

    def interrupted(now):
        if now.step == 7:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(verbs, "SECONDS", 0.0)
        with pytest.raises(KeyboardInterrupt):
            verbs.train(job, show=interrupted, checkpoint_every=1)
    assert job.state()["state"] == "stopped" and (job.folder / "checkpoint").exists()
    assert verbs.train(job) == "done" and same_weights(job.fit(), in_process(job))


def torchrun(n, *arguments, wait=True):
    """[process] of n ranks of the command line, with torchrun's environment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1",
              "MASTER_PORT": str(port), "WORLD_SIZE": str(n)}
    return [subprocess.Popen([sys.executable, "-m", "latome", *map(str, arguments)], text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(n)]


def ended(processes):
    """[(status, stdout, stderr)] of them, once they have ended."""
    try:
        said = [process.communicate(timeout=PATIENCE) for process in processes]
        return [(process.returncode, *texts) for process, texts in zip(processes, said, strict=True)]
    finally:
        for process in processes:
            process.kill()


def test_two_processes_stop_together_and_go_on_together(tmp_path):
    """A SIGTERM to one of two; then both again, against two that were not disturbed."""
    job, whole = (written(tmp_path / name, max_epochs=80) for name in ("stopped", "whole"))
    processes = torchrun(2, "train", job.folder, "--checkpoint-every", 1000)
    while not job.state() and all(process.poll() is None for process in processes):
        time.sleep(0.01)
    processes[1].send_signal(signal.SIGTERM)
    found = ended(processes)
    assert [status for status, *_ in found] == [75, 75], found
    assert job.state()["state"] == "stopped" and job.state()["ranks"] == 2
    for one in (job, whole):
        (status, said, _), (other, silent, _) = ended(torchrun(2, "train", one.folder))
        assert (status, other) == (0, 0) and "it is done (epoch 80 of 80)" in said and silent == ""
    assert same_weights(job.fit(), whole.fit()) and same_history(job.fit(), whole.fit())
    np.testing.assert_array_equal(job.results()[2], whole.results()[2])
    assert job.fit().training["ranks"] == 2


@pytest.mark.parametrize("size", [2, 3, 5])
def test_ranges_of_cells_come_back_in_their_order(done, monkeypatch, size):
    """Each rank in its turn, in one process: what they write is joined in the order of the cells."""
    expected = np.load(done.folder / "latent.npy")
    (done.folder / "latent.npy").unlink()
    monkeypatch.setattr(verbs, "cells_at_once", lambda data: 13)
    for rank in reversed(range(size)):                 # the first, which joins, comes last
        ranks = Ranks(rank, size)
        monkeypatch.setattr(ranks, "wait", lambda: None)
        assert verbs.locate(done, ranks) == "done"
    np.testing.assert_allclose(np.load(done.folder / "latent.npy"), expected, rtol=1e-5, atol=1e-6)
    assert not list(done.folder.glob(".*"))


def test_comparisons_are_shared_and_joined(done, monkeypatch):
    for rank in (1, 0):
        ranks = Ranks(rank, 2)
        monkeypatch.setattr(ranks, "wait", lambda: None)
        verbs.compare(done, ranks, "cell_type", n_samples_overall=400)
    table = pd.read_csv(done.folder / "de.csv")
    assert list(dict.fromkeys(table["comparison"])) == ["type_1 vs Rest", "type_2 vs Rest"] and len(table) == 60


def test_new_cells_are_mapped(done, tmp_path, capsys):
    new = small_data(40, seed=9)
    job = write_job(new, tmp_path / "new", model=done.fit())
    assert job.verb == "map" and cli.main(["map", str(job.folder)]) == 0
    assert "latent of 40 cells" in capsys.readouterr().out
    fit, names, z = job.results()
    expected = latent(done.fit().module, open_data(new, registry=done.fit().registry))
    np.testing.assert_allclose(z, expected, rtol=1e-5, atol=1e-6)
    assert names == list(new.obs_names) and same_weights(fit, done.fit())
    new.write_h5ad(tmp_path / "new.h5ad")              # without a job, from a file
    assert cli.main(["map", str(done.folder / "model"), str(tmp_path / "new.h5ad"), str(tmp_path / "z.npy")]) == 0
    np.testing.assert_allclose(np.load(tmp_path / "z.npy"), expected, rtol=1e-5, atol=1e-6)


def test_an_unknown_category_is_refused_before_anything_is_written(done, tmp_path):
    new = small_data(40, seed=9)
    new.obs["batch"] = ["elsewhere"] * 40
    with pytest.raises(LatomeError, match="elsewhere"):
        write_job(new, tmp_path / "new", model=done.fit())
    assert not list(tmp_path.iterdir())


REFUSED = {  # what is given, the error, what is said
    "no such column": ({"columns": Columns(batch="bach")}, FieldError, "no column 'bach'"),
    "no such group": ({"groups": ["typo"]}, FieldError, "no column 'typo'"),
    "an impossible seed": ({"seed": -1}, SettingError, "seed"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_request_leaves_nothing(name, tmp_path):
    given, kind, said = REFUSED[name]
    with pytest.raises(kind, match=said):
        written(tmp_path / "job", **given)
    assert not list(tmp_path.iterdir())


def test_bad_settings_and_counts_leave_nothing(tmp_path):
    for settings, more in (({"n_latent": 0}, {}), ({}, {"max_epochs": 0})):
        with pytest.raises(SettingError):
            write_job(small_data(), tmp_path / "job", "scvi", settings, options=more)
    fractions = small_data()
    fractions.X = fractions.X * 0.5
    with pytest.raises(FieldError):
        write_job(fractions, tmp_path / "job")
    assert not list(tmp_path.iterdir())
    assert write_job(fractions, tmp_path / "job", allow_noninteger=True).data().n_cells == 90


def test_a_folder_that_exists_is_left_alone(done, tmp_path):
    (tmp_path / "job").mkdir()
    with pytest.raises(ArchiveError, match="exists already"):
        written(tmp_path / "job")
    assert not list((tmp_path / "job").iterdir())


def test_chosen_genes_and_layers(tmp_path):
    adata = small_data()
    adata.layers["raw"] = adata.X.copy()
    adata.X = adata.X * 0.1
    genes = list(adata.var_names[[4, 1, 7, *range(10, 30)]])
    job = write_job(adata, tmp_path / "job", columns=Columns(layer="raw"), genes=genes)
    data = job.data()
    assert list(data.registry.genes) == genes
    np.testing.assert_array_equal(data.source.take(np.arange(90)).toarray(), adata[:, genes].layers["raw"].toarray())


def changed(job, **entries):
    request = json.loads((job / "job.json").read_text())
    (job / "job.json").write_text(json.dumps({**request, **entries}))


DAMAGE = {  # what is done to the folder, what is said
    "not JSON": (lambda job: (job / "job.json").write_text("{"), "job.json is damaged"),
    "a list": (lambda job: (job / "job.json").write_text("[]"), "job.json is damaged"),
    "an unknown entry": (lambda job: changed(job, colour="red"), "job.json is damaged.*colour"),
    "an unknown verb": (lambda job: changed(job, verb="fly"), "no verb 'fly'"),
    "an unknown model": (lambda job: changed(job, kind="scvvi"), "scvvi"),
    "an impossible setting": (lambda job: changed(job, settings={"n_latent": 0}), "`n_latent` cannot be 0"),
    "an unknown option": (lambda job: changed(job, training={"epochs": 3}), "no setting 'epochs'"),
    "a newer format": (lambda job: changed(job, format=99), "newer latome"),
    "no request": (lambda job: (job / "job.json").unlink(), "holds no job"),
    "no cells": (lambda job: (job / "cells" / "store.json").unlink(), "cells"),
    "a damaged state": (lambda job: (job / "state.json").write_text("{"), "state.json is damaged"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_job_is_told(name, tmp_path, capsys):
    job = written(tmp_path / "job")
    damage, said = DAMAGE[name]
    damage(job.folder)
    assert cli.main(["train", str(job.folder)]) == 2
    found = capsys.readouterr()
    assert found.out == "" and pd.Series([found.err]).str.contains(said, regex=True).all(), found.err


TOLD = {  # arguments (J a job that is done, N one that is not, M a mapping), what is said
    "settings are fixed": (["train", "N", "--n-latent", "3"], "`n_latent` of a job is fixed"),
    "options are fixed": (["train", "N", "--max-epochs", "3"], "`max_epochs` of a job is fixed"),
    "no model yet": (["latent", "N"], "has no model yet: it has not begun"),
    "no model to compare by": (["de", "N"], "has no model yet"),
    "a mapping is not trained": (["train", "M"], "cells to be mapped"),
    "a training maps nothing": (["map", "J"], "trains a model on its own cells"),
    "one file is missing": (["latent", "J", "cells.h5ad"], "One file is missing"),
    "no such group": (["de", "J", "--group1", "type_9"], "no group 'type_9'"),
    "no such column": (["de", "J", "--group-by", "kit"], "no column 'kit'"),
    "no such mode": (["de", "J", "--mode", "odd"], "odd"),
    "a file without a folder": (["train", "cells.h5ad"], "Where shall the model go"),
    "no such device": (["train", "N", "--device", "warp"], "'warp'"),
}


@pytest.mark.parametrize("name", TOLD)
def test_what_cannot_be_asked_of_a_job(name, done, tmp_path, capsys):
    arguments, said = TOLD[name]
    folders = {"J": done.folder, "N": written(tmp_path / "N").folder}
    if "M" in arguments:
        folders["M"] = write_job(small_data(40, seed=9), tmp_path / "M", model=done.fit()).folder
    assert cli.main([str(folders.get(a, a)) for a in arguments]) == 2
    found = capsys.readouterr()
    assert found.out == "" and said in found.err


def test_groups_must_be_named_where_there_are_several(tmp_path):
    job = written(tmp_path / "job", groups=["cell_type", "kit"], max_epochs=1)
    verbs.train(job)
    with pytest.raises(QueryError, match="No column of groups is named"):
        verbs.compare(job)
    assert job.state("de")["state"] == "failed" and job.state()["state"] == "done"


def test_a_failure_is_noted(tmp_path):
    job = written(tmp_path / "job", lr=1e6, max_epochs=30)
    with pytest.raises(TrainingError):
        verbs.train(job)
    assert job.state()["state"] == "failed" and "infinite or NaN" in job.how_far()


def test_results_that_do_not_fit_are_refused(tmp_path):
    job = written(tmp_path / "job", max_epochs=1)
    verbs.train(job)
    np.save(job.folder / "latent.npy", np.zeros((3, 2), np.float32))
    with pytest.raises(ArchiveError, match="of 3 cells, the job of 90"):
        job.results()
    (job.folder / "latent.npy").write_bytes(b"no array")
    with pytest.raises(ArchiveError, match="cannot be read"):
        job.results()
    assert verbs.locate(job) == "done" and len(job.results()[2]) == 90


def test_several_processes_train_a_job_only(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert cli.main(["train", "cells.h5ad", str(tmp_path / "m")]) == 2
    assert "Several processes train a job only" in capsys.readouterr().err
