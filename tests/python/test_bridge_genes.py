"""What R asks about the genes of a model: loadings and zero inflation."""

import json

import numpy as np
import pytest
from examples import opened, small_data, trained, untrained

from latome import bridge
from latome.analysis.loadings import loadings
from latome.analysis.zero_inflation import zero_inflation
from latome.io import archive
from latome.modules.autozi import AutoziSettings
from latome.modules.linear_scvi import LdvaeSettings

SMALL = {"n_hidden": 12, "n_latent": 3}
COLUMNS = {"batch": "batch", "labels": "cell_type", "categorical": [], "continuous": []}
OPTIONS = {"max_epochs": 1, "batch_size": 32, "device": "cpu"}


def test_loadings():
    fitted = trained(opened(), LdvaeSettings(**SMALL))
    found = bridge.loadings(*archive.pack(fitted))
    assert found["ok"] and found["value"].flags.f_contiguous and found["value"].dtype == np.float64
    np.testing.assert_allclose(found["value"], loadings(fitted.module))
    other = bridge.loadings(*archive.pack(untrained()))
    assert not other["ok"] and other["kind"] == "QueryError" and "scVI has no linear decoder" in other["problem"]


@pytest.mark.parametrize("by", ["gene", "gene-batch"])
def test_zero_inflation(by):
    fitted = trained(opened(), AutoziSettings(**SMALL, zero_inflation=by))
    table, found = zero_inflation(fitted.module, fitted.registry), bridge.zero_inflation(*archive.pack(fitted))
    assert found["ok"] and list(found["table"]) == list(table)
    for name in table:
        np.testing.assert_array_equal(found["table"][name], table[name])
    assert found["table"]["is_zero_inflated"].dtype == bool
    assert not bridge.zero_inflation(*archive.pack(untrained()))["ok"]


def test_a_null_is_a_choice(tmp_path):
    settings = SMALL | {"alpha_prior": None, "beta_prior": 0.7}
    trainer = bridge.start(small_data(), "autozi", settings, COLUMNS, None, OPTIONS, 0)["trainer"]
    while bridge.advance(trainer, 1.0)["state"] == "running":
        pass
    document = json.loads(bridge.finish(trainer)["document"])
    assert document["settings"]["alpha_prior"] is None and document["settings"]["beta_prior"] == 0.7
    wrote = bridge.write_job(small_data(), str(tmp_path / "job"), "autozi", settings, COLUMNS, OPTIONS, 0)
    assert json.loads((tmp_path / "job" / "job.json").read_text())["settings"]["alpha_prior"] is None, wrote
