"""What R calls of models that tell labels: scANVI from scratch or from scVI, CellAssign, Solo."""

import numpy as np
import pytest
from examples import SMALL, opened, small_data, trained

from latome import bridge
from latome.analysis.labels import label_probabilities
from latome.compose.solo import doublet_scores
from latome.data.registry import open_data
from latome.io import archive

COLUMNS = {"batch": "batch", "labels": "cell_type"}
OPTIONS = {"max_epochs": 2, "batch_size": 32, "threads": 1, "device": "cpu"}
WIDTHS = {"n_hidden": 12, "n_latent": 3}


def driven(started, finish=bridge.finish):
    assert started["ok"], started
    while bridge.advance(started["trainer"], 1.0)["state"] == "running":
        pass
    done = finish(started["trainer"])
    assert done["ok"], done
    return done


def test_labels_come_back_and_can_be_asked_again():
    adata = small_data()
    done = driven(bridge.start(adata, "scanvi", WIDTHS, COLUMNS, None, OPTIONS, 0))
    assert done["latent"].shape == (adata.n_obs, 3) and done["summary"]["parent"] is None
    found = bridge.label_probabilities(done["document"], done["weights"], adata, {"batch_size": None})["probabilities"]
    fit = archive.unpack(done["document"], bytes(done["weights"]))
    wanted = label_probabilities(fit.module, open_data(adata, registry=fit.registry))
    assert found.flags.f_contiguous and found.dtype == np.float64
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert "accuracy_train" in done["history"]


def test_a_value_can_stand_for_no_label():
    adata = small_data()
    adata.obs["cell_type"] = np.resize(["b", "unknown", "a"], adata.n_obs)
    done = driven(bridge.start(adata, "scanvi", WIDTHS, COLUMNS | {"unlabeled": "unknown"}, None, OPTIONS, 0))
    assert done["summary"]["label_levels"] == ["a", "b"]


def test_a_parent_gives_its_weights_and_settings():
    adata, scvi = small_data(), trained(opened(), SMALL)
    document, weights = archive.pack(scvi)
    parent = {"document": document, "weights": weights}
    columns = {"labels": "cell_type"}                  # the rest is the parent's
    done = driven(bridge.start(adata, "scanvi", {}, columns, None, OPTIONS | {"lr": 1e-12}, 0, parent=parent))
    assert done["summary"]["parent"] == "scvi" and done["summary"]["columns"]["batch"] == "batch"
    assert done["summary"]["settings"]["n_hidden"] == SMALL.n_hidden
    fit = archive.unpack(done["document"], bytes(done["weights"]))
    kept, now = dict(scvi.module.named_parameters()), dict(fit.module.named_parameters())
    for name in kept:
        np.testing.assert_allclose(now[name].detach(), kept[name].detach(), atol=1e-6)
    refused = bridge.start(adata, "scanvi", {"n_latent": 7}, columns, None, OPTIONS, 0, parent=parent)
    assert not refused["ok"] and refused["field"] == "n_latent"


def test_markers_cross_as_a_matrix():
    adata = small_data()
    genes, types = list(adata.var_names[:6]), ["a", "b", "none"]
    matrix = np.zeros((6, 3))
    matrix[:3, 0] = matrix[3:, 1] = 1
    done = driven(bridge.start_markers(adata, genes, types, matrix.ravel(), {}, {"batch": "batch"}, OPTIONS, 0))
    assert done["latent"] is None and done["summary"]["label_levels"] == types and done["summary"]["genes"] == genes
    found = bridge.label_probabilities(done["document"], done["weights"], adata)["probabilities"]
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-6)
    refused = bridge.start_markers(adata, ["nobody"], ["a", "b"], np.eye(1, 2).ravel(), {}, {}, OPTIONS, 0)
    assert not refused["ok"] and refused["field"] == "markers"


@pytest.mark.parametrize("ratio", [2, 0.5])
def test_doublets_of_some_rows(ratio):
    data = opened()
    adata, rows = small_data(), np.arange(40, dtype=np.float64)                  # as R sends them
    document, weights = archive.pack(trained(data, SMALL))
    work = bridge.open_doublets(adata, document, weights)["work"]
    started = bridge.start_doublets(work, rows, ratio, {"n_hidden": 8}, OPTIONS, 0)
    assert started["n_cells"] == 40 and started["n_simulated"] == pytest.approx(40 * ratio, abs=2)
    trainer = started["trainer"]
    done = driven(started, bridge.finish_doublets)
    scores = doublet_scores(trainer.fit, trainer.data)
    np.testing.assert_allclose(done["observed"], scores["doublet"][:40], atol=1e-7)
    np.testing.assert_allclose(done["simulated"], scores["doublet"][40:], atol=1e-7)
    assert not bridge.start_doublets(work, rows, 0.001, {}, OPTIONS, 0)["ok"]
