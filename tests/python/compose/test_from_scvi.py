"""A scANVI that begins with a trained scVI: whose weights it has, what it refuses, and for how long it trains."""

from dataclasses import replace

import numpy as np
import pytest
from examples import options, same_weights, small_data, trained

from latome.backend import torch
from latome.compose.scanvi import from_scvi, open_labelled
from latome.data.registry import Columns, open_data
from latome.errors import FieldError, QueryError, SettingError
from latome.fit import start, train
from latome.io.archive import load, save
from latome.modules.scvi import ScviSettings
from latome.training.options import TrainingOptions, refining_epochs

SETTINGS = {"n_hidden": 12, "n_latent": 3}
RICH = {"gene_likelihood": "nb", "n_layers": 2, "encode_covariates": True, "use_observed_lib_size": False,
        "dispersion": "gene-batch", "batch_representation": "embedding"}


def cells(share=0.5, **simulation):
    adata = small_data(**simulation)
    keep = np.random.default_rng(0).random(adata.n_obs) < share
    adata.obs["known"] = adata.obs["cell_type"].astype(object).where(keep, "none")
    return adata


def parent_of(adata, columns=None, **settings):
    data = open_data(adata, columns or Columns(batch="batch", categorical=("kit",), continuous=("age",)))
    return trained(data, ScviSettings(**SETTINGS, **settings))


@pytest.mark.parametrize("settings", [{}, RICH], ids=["plain", "rich"])
def test_all_weights_of_the_parent_are_there(settings):
    adata = cells()
    parent = parent_of(adata, **settings)
    before = {name: value.clone() for name, value in parent.module.state_dict().items()}
    data = open_labelled(parent, adata, "known", "none")
    child = from_scvi(parent, data, settings={"linear_classifier": True})
    found = child.module.state_dict()
    assert before.keys() < found.keys()
    assert all(torch.equal(found[name], value) for name, value in before.items())
    assert child.kind == "scanvi" and not child.trained and child.module.classifier.hidden is None
    assert child.registry.categories["labels"] == ["type_1", "type_2"]
    assert {name: getattr(child.settings, name) for name in settings} == settings
    train(child, data, options(max_epochs=1))
    assert all(torch.equal(parent.module.state_dict()[name], value) for name, value in before.items())


def test_the_seed_draws_the_other_weights():
    adata = cells()
    parent = parent_of(adata)
    data = open_labelled(parent, adata, "known", "none")
    one, other, third = (from_scvi(parent, data, seed=seed) for seed in (1, 1, 2))
    assert same_weights(one, other) and not same_weights(one, third)


def test_a_parent_with_labels_of_its_own():
    """A parent may have taken "none" for a label; the child does not."""
    adata = cells()
    parent = parent_of(adata, Columns(batch="batch", labels="known"))
    assert parent.registry.n_labels == 3
    child = from_scvi(parent, open_labelled(parent, adata, "known", "none"))
    assert child.registry.n_labels == 2 and child.module.classifier.logits.out_features == 2


def test_cells_of_one_batch_are_opened_with_the_batches_of_the_parent():
    adata = cells()
    parent = parent_of(adata)
    some = adata[adata.obs["batch"] == "batch_2"].copy()
    data = open_labelled(parent, some, "known", "none")
    assert data.registry.batch_categories == ["batch_1", "batch_2"] and set(data.codes["batch"]) == {1}
    from_scvi(parent, data)
    alone = open_data(some, replace(parent.registry.columns, labels="known", unlabeled="none"))
    with pytest.raises(QueryError, match="batches of the data"):
        from_scvi(parent, alone)


def test_other_genes_and_covariates_are_refused():
    adata = cells()
    parent = parent_of(adata)
    columns = replace(parent.registry.columns, labels="known", unlabeled="none")
    with pytest.raises(QueryError, match="genes of the data"):
        from_scvi(parent, open_data(adata[:, :20].copy(), columns))
    with pytest.raises(QueryError, match="covariates of the data"):
        from_scvi(parent, open_data(adata, replace(columns, continuous=())))
    with pytest.raises(FieldError, match="no column 'nothing'"):
        open_labelled(parent, adata, "nothing")


def test_settings_that_are_the_parents():
    adata = cells()
    parent = parent_of(adata)
    data = open_labelled(parent, adata, "known", "none")
    from_scvi(parent, data, settings={"n_latent": 3})
    with pytest.raises(SettingError, match="n_latent` is 3 in the scVI model") as caught:
        from_scvi(parent, data, settings={"n_latent": 4})
    assert "linear_classifier" in caught.value.hint and "n_layers" not in caught.value.hint
    with pytest.raises(SettingError, match="no setting 'linear'"):
        from_scvi(parent, data, settings={"linear": True})
    with pytest.raises(SettingError, match="begins with a scVI model, not with a scanvi"):
        from_scvi(from_scvi(parent, data), data)
    with pytest.raises(SettingError, match="latent_distribution = 'ln'"):
        from_scvi(parent_of(adata, latent_distribution="ln"), data)


def test_a_dispersion_by_label_needs_the_same_labels():
    adata = cells(1.0)
    parent = parent_of(adata, Columns(batch="batch", labels="cell_type"), dispersion="gene-label")
    child = from_scvi(parent, open_labelled(parent, adata, "cell_type"))
    assert torch.equal(child.module.log_theta, parent.module.log_theta)
    adata.obs["other"] = adata.obs["cell_type"].astype(str) + "x"
    with pytest.raises(FieldError, match="dispersion by label, of other labels"):
        from_scvi(parent, open_labelled(parent, adata, "other"))


@pytest.mark.parametrize(("n", "epochs"), [(100, 10), (20_000, 10), (400_000, 7), (10**7, 2)])
def test_epochs_by_default(n, epochs):
    """A third of max(1, min(400, 20000 / n 400)), from 2 to 10."""
    assert refining_epochs(n) == epochs


def test_it_trains_for_a_few_epochs_also_after_it_was_saved(tmp_path):
    adata = cells()
    parent = parent_of(adata)
    data = open_labelled(parent, adata, "known", "none")
    child = from_scvi(parent, data)
    assert start(child, data).n_epochs == 10
    assert start(child, data, TrainingOptions(batch_size=64)).n_epochs == 10
    assert start(child, data, TrainingOptions(max_epochs=3)).n_epochs == 3
    assert start(child, data, TrainingOptions(max_steps=5)).n_steps == 5
    again = load(save(train(child, data, options(max_epochs=2)), tmp_path / "model"))
    assert again.training["parent"] == "scvi" and same_weights(again, child)
    assert start(again, data).n_epochs == 2 + 10
    assert start(parent, open_data(adata, registry=parent.registry)).n_epochs == 4 + 400
