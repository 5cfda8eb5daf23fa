"""What R calls to map new cells: the overlap of genes, a trainer where training can move them, else the answer."""

import dataclasses

import numpy as np
import pytest
from examples import SMALL, opened, small_data, trained

from latome.analysis.latent import latent
from latome.bridge import advance, finish, gene_overlap, start_mapping
from latome.io import archive

OPTIONS = {"max_epochs": 2, "batch_size": 32, "weight_decay": 0.0, "threads": 1, "device": "cpu"}


def new_cells():
    adata = small_data(seed=2)
    adata.obs["batch"] = [f"new {batch}" for batch in adata.obs["batch"].astype(str)]
    return adata


def packed(**settings):
    data = opened(categorical=("kit",))
    fit = trained(data, dataclasses.replace(SMALL, **settings))
    return fit, data, archive.pack(fit)


def test_the_overlap_of_genes_is_a_share_or_an_error():
    assert gene_overlap(["a", "b", "c"], ["c", "a", "x", "y"], 0.5) == {"ok": True, "share": 0.5, "warnings": []}
    refused = gene_overlap("a", ["c", "a", "x", "y"], 0.5)
    assert not refused["ok"] and refused["kind"] == "QueryError" and "1 of the model's 4" in refused["problem"]


def test_a_mapping_that_learns_is_driven_like_any_training():
    fit, data, model = packed(encode_covariates=True)
    started = start_mapping(new_cells(), *model, {"batch": "batch"}, OPTIONS, 7)
    assert started["ok"] and started["learns"] and started["n_batch"] == 4
    assert started["new"] == {"batch": ["new batch_1", "new batch_2"]}
    while advance(started["trainer"], 0.05)["state"] == "running":
        pass
    done = finish(started["trainer"])
    assert done["latent"].shape == (90, 3) and done["summary"]["seed"] == 7
    again = archive.unpack(done["document"], bytes(done["weights"]))
    np.testing.assert_array_equal(latent(again.module, dataclasses.replace(data, registry=again.registry)),
                                  latent(fit.module, data))


def test_a_mapping_that_cannot_learn_is_answered_at_once():
    fit, _, model = packed()
    done = start_mapping(new_cells(), *model, {}, OPTIONS)
    assert done["ok"] and not done["learns"] and "trainer" not in done
    assert done["summary"]["epochs"] == 0 and done["summary"]["seed"] == fit.seed
    assert done["latent"].shape == (90, 3) and np.isfinite(done["latent"]).all()
    assert done["summary"]["batch_levels"][2:] == ["new batch_1", "new batch_2"]


@pytest.mark.parametrize(("columns", "field"), [({"batch": "donor"}, "batch"), ({"categorical": ["kit", "age"]},
                                                                                "categorical")])
def test_errors_are_values(columns, field):
    assert start_mapping(new_cells(), *packed()[2], columns, OPTIONS)["field"] == field
