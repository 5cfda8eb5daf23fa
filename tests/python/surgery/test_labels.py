"""A reference that learnt labels gives them to new cells; what it knows of labels stays."""

import numpy as np
import pytest
from examples import options
from queries import new_cells, reference, with_registry

from latome.analysis.labels import label_probabilities
from latome.data.registry import Columns
from latome.data.simulate import simulate
from latome.fit import train
from latome.modules.scanvi import ScanviSettings
from latome.surgery import learns, map_query

COLUMNS = Columns(batch="batch", labels="cell_type", categorical=("kit",), unlabeled="unknown")
SETTINGS = ScanviSettings(n_hidden=16, n_latent=4, encode_covariates=True, use_layer_norm="both",
                          use_batch_norm="none")


def study():
    """(cells of the reference, new ones of two other batches) of the same three types."""
    adata = simulate(600, 50, 3, 4, depth=400, categorical={"kit": 2}, seed=1)
    adata.obs["cell_type"] = adata.obs["cell_type"].astype(str)
    old = adata.obs["batch"].isin(["batch_1", "batch_2"]).to_numpy()
    return adata[old].copy(), adata[~old].copy()


@pytest.fixture(scope="module")
def made():
    """(reference with labels, its data)."""
    adata, _ = study()
    adata.obs.loc[adata.obs_names[:40], "cell_type"] = "unknown"
    return reference(SETTINGS, COLUMNS, adata, max_epochs=40, n_epochs_kl_warmup=20)


@pytest.mark.parametrize("labels", ["all", "some", "none", "no column"])
def test_new_cells_are_labelled_and_the_classifier_stays(made, labels):
    fit, data = made
    before = label_probabilities(fit.module, data)
    classifier = {name: value.clone() for name, value in fit.module.classifier.state_dict().items()}
    _, query = study()
    truth = query.obs["cell_type"].to_numpy()
    few = np.where(np.arange(len(truth)) < 20, truth, "unknown")
    query.obs["cell_type"] = {"all": truth, "some": few}.get(labels, "unknown")
    if labels == "no column":
        del query.obs["cell_type"]
    mapped, opened = map_query(fit, query)
    assert learns(mapped) and (opened.codes["labels"] >= 0).sum() == {"all": len(truth), "some": 20}.get(labels, 0)
    train(mapped, opened, options(max_epochs=20, weight_decay=0.1))
    found = label_probabilities(mapped.module, opened)
    names = np.array(mapped.registry.categories["labels"])
    assert (names[found.argmax(1)] == truth).mean() > 0.9
    np.testing.assert_array_equal(label_probabilities(mapped.module, with_registry(data, mapped)), before)
    for name, value in mapped.module.classifier.state_dict().items():
        np.testing.assert_array_equal(value, classifier[name])


def test_the_adversary_of_new_cells_leaves_the_reference(made):
    fit, data = reference(ScanviSettings(n_hidden=12, n_latent=3, adversarial=True, encode_covariates=True), COLUMNS)
    before = label_probabilities(fit.module, data)
    mapped, opened = map_query(fit, new_cells())
    train(mapped, opened, options(weight_decay=0.1))
    np.testing.assert_array_equal(label_probabilities(mapped.module, with_registry(data, mapped)), before)
