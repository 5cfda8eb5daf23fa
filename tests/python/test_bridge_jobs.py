"""What R calls for jobs: written, run, read; errors as values."""

import json

import numpy as np
from examples import small_data

from latome import bridge
from latome.jobs import Job, verbs

COLUMNS = {"batch": "batch", "labels": None, "categorical": [], "continuous": ["age"], "size_factor": None}
OPTIONS = {"max_epochs": 2.0, "batch_size": 32.0, "device": "cpu"}     # as R sends numbers


def write(folder, **more):
    """A job as R writes it."""
    given = {"kind": "scvi", "settings": {"n_latent": 3.0, "n_hidden": 12.0}, "columns": COLUMNS, "options": OPTIONS,
             "seed": 4.0, "groups": "cell_type", "note": {"name": "cloud", "layer": None}, **more}
    return bridge.write_job(small_data(), str(folder), **given)


def test_a_round_trip(tmp_path):
    wrote = write(tmp_path / "job")
    assert wrote["ok"] and (wrote["verb"], wrote["n_cells"], wrote["n_genes"]) == ("train", 90, 30)
    job = Job.open(wrote["folder"])
    assert job.groups == ["cell_type"] and job.seed == 4 and job.note == {"name": "cloud"}
    early = bridge.read_job(wrote["folder"])
    assert not early["ok"] and early["kind"] == "ArchiveError" and "it has not begun" in early["problem"]
    verbs.train(job)
    verbs.compare(job, n_samples_overall=100)
    found = bridge.read_job(wrote["folder"])
    assert found["ok"] and found["cells"] == list(small_data().obs_names) and found["note"]["name"] == "cloud"
    np.testing.assert_array_equal(found["latent"], np.load(job.folder / "latent.npy"))
    assert found["latent"].flags.f_contiguous and isinstance(found["weights"], bytearray)
    assert json.loads(found["document"])["seed"] == 4 and found["summary"]["epochs"] == 2
    table = found["table"]
    assert table["gene"][0].startswith("gene_") and table["is_de"].dtype == bool and table["prob_de"].dtype == float
    assert bridge.latent(found["document"], found["weights"], small_data())["ok"]

    mapped = bridge.write_job(small_data(20, seed=3), str(tmp_path / "map"), "scvi", {}, None, {}, 4,
                              document=found["document"], weights=found["weights"])
    assert mapped["ok"] and mapped["verb"] == "map"


def test_errors_are_values(tmp_path):
    bad = {"n_latent": {"settings": {"n_latent": 0}}, "batch": {"columns": {**COLUMNS, "batch": "bach"}},
           "max_epochs": {"options": {"max_epochs": 0}}}
    for field, more in bad.items():
        found = write(tmp_path / "job", **more)
        assert not found["ok"] and found["field"] == field
    assert not list(tmp_path.iterdir())
    assert "holds no job" in bridge.read_job(str(tmp_path))["problem"]
