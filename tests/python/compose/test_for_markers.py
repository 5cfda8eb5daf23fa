"""CellAssign from a table of markers: size factors over all genes, genes that are missing, saving."""

import numpy as np
import pandas as pd
import pytest
from examples import small_data

from latome.analysis.labels import label_probabilities
from latome.compose.cellassign import for_markers
from latome.data.registry import Columns, open_data
from latome.errors import FieldError, SettingError
from latome.fit import train
from latome.io.archive import load, save
from latome.training.options import TrainingOptions

FEW = TrainingOptions(max_epochs=2, batch_size=32, threads=1)


def table_of(adata):
    genes = adata.var_names[:6]
    return pd.DataFrame({"one": [1, 1, 1, 0, 0, 0], "two": [0, 0, 1, 1, 1, 0]}, index=genes)


def test_size_factors_are_of_all_genes():
    adata = small_data()
    fit, data = for_markers(adata, table_of(adata))
    total = np.asarray(adata.X.sum(1)).ravel()
    np.testing.assert_allclose(data.size_factor, total / total.mean(), rtol=1e-6)
    assert data.n_genes == 6 and fit.registry.size_scale == pytest.approx(total.mean())
    part = open_data(adata[:10], registry=fit.registry)                 # the scale is that of the cells of training
    np.testing.assert_allclose(part.size_factor, data.size_factor[:10], rtol=1e-6)
    adata.obs["size"] = 1.0
    assert (for_markers(adata, table_of(adata), Columns(size_factor="size"))[1].size_factor == 1).all()


def test_a_saved_model_answers_the_same(tmp_path):
    adata = small_data()
    fit, data = for_markers(adata, table_of(adata), Columns(batch="batch", continuous=("age",)))
    before = label_probabilities(train(fit, data, FEW).module, data)
    again = load(save(fit, tmp_path / "model"))
    assert again.registry == fit.registry
    mixed = adata[:, np.random.default_rng(0).permutation(adata.n_vars)]               # genes are found by name
    np.testing.assert_array_equal(label_probabilities(again.module, open_data(mixed, registry=again.registry)), before)


def test_missing_markers_are_told_and_a_type_without_any_is_refused():
    adata = small_data()
    table = table_of(adata).rename(index={adata.var_names[0]: "unheard of"})
    _, data = for_markers(adata, table)
    assert any("1 of 6 marker genes are not in the data: 'unheard of'" in text for text in data.warnings)
    with pytest.raises(FieldError, match="None of the 3 markers of 'two'"):
        for_markers(adata[:, [0, 1]], table_of(adata))


def test_a_cell_without_counts_of_markers_is_kept():
    adata = small_data()
    counts = adata.X.tolil()
    counts[0, :6] = 0
    adata.X = counts.tocsr()
    fit, data = for_markers(adata, table_of(adata))
    assert any("1 cells have no counts of any marker" in text for text in data.warnings)
    train(fit, data, FEW)
    assert np.isfinite(label_probabilities(fit.module, data)).all()


def test_settings_are_checked():
    adata = small_data()
    with pytest.raises(SettingError, match="min_delta"):
        for_markers(adata, table_of(adata), settings={"min_delta": 0})
    with pytest.raises(SettingError, match="no setting"):
        for_markers(adata, table_of(adata), settings={"mini_delta": 1})
    with pytest.raises(SettingError, match="settings"):
        for_markers(adata, table_of(adata), settings="default")


def test_the_defaults_of_training_are_the_models():
    adata = small_data()
    fit, data = for_markers(adata, table_of(adata))
    recipe = train(fit, data).training["options"]
    assert {name: recipe[name] for name in fit.module.recipe} == fit.module.recipe
    assert recipe["batch_size"] == 1024 and recipe["lr"] == 1e-2
