"""Solo from scVI: what is simulated, what is encoded, and doublets that were planted."""

import numpy as np
import pytest
from anndata import AnnData
from examples import opened, options, small_data, trained
from scipy import stats

from latome.analysis.latent import latent_moments
from latome.compose.solo import (
    doublet_scores,
    drawn_pairs,
    features_as_anndata,
    open_features,
    simulated,
)
from latome.data.registry import Columns, open_data
from latome.data.simulate import simulate
from latome.data.sources import read_h5ad
from latome.errors import FieldError, QueryError, SettingError
from latome.fit import fit as fitted
from latome.fit import train
from latome.io.archive import load, save
from latome.modules.scvi import ScviSettings
from latome.modules.solo import LABELS
from latome.training.options import TrainingOptions

SHORT = TrainingOptions(max_epochs=3, batch_size=64, threads=1)


def features(dataset):
    return dataset.source.take(np.arange(dataset.n_cells)).toarray()


def scvi_with(data, **settings):
    return trained(data, ScviSettings(n_hidden=12, n_latent=3, **settings))


def test_pairs_are_drawn_within_batches():
    batch = np.repeat([0, 1, 2], [40, 10, 3])
    pairs = drawn_pairs(batch, 2, seed=4)
    assert (batch[pairs[:, 0]] == batch[pairs[:, 1]]).all()
    assert np.bincount(batch[pairs[:, 0]]).tolist() == [80, 20, 6]
    np.testing.assert_array_equal(pairs, drawn_pairs(batch, 2, seed=4))
    assert not np.array_equal(pairs, drawn_pairs(batch, 2, seed=5))
    assert len(drawn_pairs(batch, 0.5, 0)) == 26
    with pytest.raises(QueryError, match="no doublet"):
        drawn_pairs(batch, 0.01, 0)


@pytest.mark.parametrize("settings", [
    {}, {"use_observed_lib_size": False, "encode_covariates": True}, {"batch_representation": "embedding"}])
def test_features_are_those_of_the_sums(settings):
    adata = small_data()
    data = opened(adata, categorical=("kit",), continuous=("age",))
    parent = scvi_with(data, **settings)
    solo, made = simulated(parent, data, seed=7)
    pairs = drawn_pairs(data.codes["batch"], 2, 7)
    assert made.n_cells == 90 + 180 and made.cells[:90] == list(adata.obs_names)
    first, second = pairs.T                            # by hand: the sums as an AnnData of their own
    ages = adata.obs["age"].to_numpy()
    obs = adata.obs.iloc[first].assign(age=(ages[first] + ages[second]) / 2).set_axis([f"d{i}" for i in range(180)])
    doublets = AnnData(adata.X[first] + adata.X[second], obs=obs, var=adata.var)
    for part, rows in ((data, slice(0, 90)), (open_data(doublets, registry=data.registry), slice(90, None))):
        found = features(made)[rows]
        np.testing.assert_allclose(found[:, :-1], latent_moments(parent.module, part)[0], rtol=1e-5, atol=1e-6)
        library = np.log(part.totals) if parent.module.library_encoder is None else \
            latent_moments(parent.module, part, name="library")[0][:, 0]
        np.testing.assert_allclose(found[:, -1], library, rtol=1e-5)
    np.testing.assert_array_equal(made.codes["batch"], np.append(data.codes["batch"], data.codes["batch"][first]))
    assert np.bincount(made.codes["labels"]).tolist() == [180, 90] and LABELS == ("doublet", "singlet")
    assert doublet_scores(train(solo, made, SHORT), made).notna().all(axis=None)


def test_a_parent_with_size_factors():
    adata = small_data()
    adata.obs["size"] = np.linspace(0.5, 2, 90)
    data = open_data(adata, Columns(batch="batch", size_factor="size"))
    _, made = simulated(scvi_with(data), data)
    np.testing.assert_allclose(features(made)[:90, -1], np.log(data.totals), rtol=1e-6)


def test_some_cells_alone():
    data = opened()
    rows = data.codes["batch"] == 1
    _, made = simulated(trained(data), data, rows=rows, doublet_ratio=1)
    assert made.n_cells == 2 * rows.sum() and (made.codes["batch"] == 1).all()
    assert made.cells[:rows.sum()] == [name for name, here in zip(data.cells, rows, strict=True) if here]


def test_planted_doublets_are_found():
    adata = simulate(900, 200, n_types=3, n_batches=2, seed=3, depth=800, doublets=0.1, marker_effect=2.5)
    data = open_data(adata, Columns(batch="batch"))
    parent = fitted(ScviSettings(n_hidden=32, n_latent=5), data,
                    options(max_epochs=30, batch_size=128, n_epochs_kl_warmup=15))
    solo, made = simulated(parent, data)
    table = doublet_scores(train(solo, made, TrainingOptions(max_epochs=60, threads=1)), made)
    assert list(table.columns) == ["doublet", "singlet", "simulated"]
    np.testing.assert_allclose(table["doublet"] + table["singlet"], 1, rtol=1e-5)
    assert table["simulated"].sum() == 1800 and not table["simulated"][:900].any()
    scores = table.loc[adata.obs_names, "doublet"].to_numpy()
    obs = adata.obs.astype({"cell_type": str, "partner_type": str})
    mixed = (obs["doublet"] & (obs["cell_type"] != obs["partner_type"])).to_numpy()    # of one type they look single
    single = ~obs["doublet"].to_numpy()
    area = stats.mannwhitneyu(scores[mixed], scores[single]).statistic / (mixed.sum() * single.sum())
    assert area > 0.95


def test_saved_and_read_again(tmp_path):
    data = opened()
    solo, made = simulated(trained(data), data)
    before = doublet_scores(train(solo, made, SHORT), made)
    again = load(save(solo, tmp_path / "solo"))
    read = open_features(features_as_anndata(made), again.registry)
    assert read.registry == made.registry
    assert doublet_scores(again, read).equals(before)
    with pytest.raises(FieldError, match="3 features"):
        open_features(features_as_anndata(made)[:, :3], again.registry)


def test_counts_in_a_file(tmp_path):
    adata = small_data()
    adata.write_h5ad(tmp_path / "counts.h5ad")
    parent = trained(opened(adata))
    on_disk = open_data(read_h5ad(tmp_path / "counts.h5ad", backed="r"), registry=parent.registry)
    _, made = simulated(parent, on_disk, seed=3)
    np.testing.assert_array_equal(features(made), features(simulated(parent, opened(adata), seed=3)[1]))


def test_what_is_refused():
    data = opened()
    parent = trained(data)
    with pytest.raises(QueryError, match="cannot be made from Solo"):
        simulated(simulated(parent, data)[0], data)
    with pytest.raises(QueryError, match="not opened against"):
        simulated(parent, opened(small_data()[:, :20].copy()))
    with pytest.raises(SettingError, match="doublet_ratio"):
        simulated(parent, data, doublet_ratio=0)
    with pytest.raises(SettingError, match="n_hiden"):
        simulated(parent, data, settings={"n_hiden": 3})
    with pytest.raises(QueryError, match="No cells"):
        simulated(parent, data, rows=np.zeros(90, dtype=bool))


def test_the_defaults_of_training_are_the_models():
    data = opened()
    solo, made = simulated(trained(data), data)
    solo.module.recipe = {**solo.module.recipe, "max_epochs": 2}
    recipe = train(solo, made).training["options"]
    assert (recipe["early_stopping"], recipe["early_stopping_patience"], recipe["lr"]) == (True, 30, 1e-3)
