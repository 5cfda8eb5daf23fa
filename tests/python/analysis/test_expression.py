"""Normalised expression: fractions that sum to one, decoded under the batch asked for, in as little memory as asked."""

import tracemalloc

import h5py
import numpy as np
import pytest
import scipy.sparse as sp
from examples import opened, options, small_data, trained
from questions import certain, close, reference, spied

from latome.analysis import draws, results
from latome.analysis.expression import expression_blocks, normalized_expression, sparse_expression, write_expression
from latome.analysis.latent import latent
from latome.backend import torch
from latome.data import minibatches
from latome.data.registry import open_data
from latome.data.simulate import simulate
from latome.errors import LatomeError, QueryError, SettingError
from latome.fit import fit as fit_model
from latome.modules.scvi import ScviSettings

CERTAIN = ScviSettings(12, 3)


@pytest.fixture(scope="module")
def data():
    return opened(categorical=("kit",))


@pytest.fixture(scope="module")
def fit(data):
    return trained(data)


def decoded(fit, data, batch=None):
    """Fractions of the posterior mean, under one batch for all or each cell's own."""
    categories = data.categories.copy()
    if batch is not None:
        categories[:, 0] = batch
    with torch.no_grad():
        z = torch.tensor(latent(fit.module, data))
        return fit.module.decoder(z, torch.tensor(categories), None)["logits"].value().softmax(1).numpy()


def ask(fit, data, **more):
    return normalized_expression(fit.module, data, **{"draw": "mean", **more})


def drawn(fit, data, seed=0, **more):
    torch.manual_seed(seed)
    return normalized_expression(fit.module, data, **more)


# -- what it is --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("case", ["scvi_zinb", "scvi_covariates", "scvi_embedding", "scvi_size_factor", "scvi_normal",
                                  "scvi_minified"])
def test_it_is_what_scvi_tools_says(case):
    fit, data, expected = reference(case)
    close(ask(fit, data), expected["px_scale"])
    close(ask(fit, data, library_size="latent"), expected["px_rate"])
    close(ask(fit, data, library_size=250), 250 * expected["px_scale"])
    some = [3, 0, 11]
    genes = [data.registry.genes[i] for i in some]
    close(ask(fit, data, genes=genes, indices=[7, 2, 30]), expected["px_scale"][[7, 2, 30]][:, some])
    if case == "scvi_minified":
        assert not data.has_counts
    if case != "scvi_size_factor":
        np.testing.assert_allclose(ask(fit, data).sum(1), 1, rtol=1e-5)


@pytest.mark.parametrize("case", ["scvi_zinb", "scvi_covariates"])
def test_other_batches_are_what_scvi_tools_says(case):
    fit, data, expected = reference(case)
    close(ask(fit, data, library_size=1e4), expected["normalized_expression"])
    each = [expected[f"normalized_expression_batch_{name}"] for name in ("b0", "b1")]
    for name, one in zip(("b0", "b1"), each, strict=True):
        close(ask(fit, data, transform_batch=name), one)
    close(ask(fit, data, transform_batch=["b0", "b1"]), (each[0] + each[1]) / 2)


def test_it_finds_the_truth():
    """Trained on noisy counts, it lies closer to the simulated means than the counts and than the gene's average."""
    adata = simulate(500, 50, 3, 2, seed=3, depth=400, marker_effect=2, differential=0.5, with_mean=True)
    data = opened(adata)
    found = ask(fit_model(ScviSettings(32, 4), data, options(max_epochs=20)), data, library_size="latent")
    average = np.asarray(adata.X.sum(1)) * np.asarray(adata.X.mean(0)) / adata.X.sum(1).mean()

    def error(values):
        return np.mean((np.log1p(values) - np.log1p(adata.layers["mean"])) ** 2)

    assert error(found) < 0.25 * error(adata.X.toarray())
    assert error(found) < 0.3 * error(average)


def test_fractions_of_each_cells_own_batch(fit, data):
    found = ask(fit, data)
    assert found.shape == (90, 30) and found.dtype == np.float32
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(found, decoded(fit, data), rtol=1e-4, atol=1e-7)


def test_another_batch(fit, data):
    names = data.registry.batch_categories
    each = [decoded(fit, data, code) for code in range(2)]
    for code, name in enumerate(names):
        np.testing.assert_allclose(ask(fit, data, transform_batch=name), each[code], rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(ask(fit, data, transform_batch=names), (each[0] + each[1]) / 2, rtol=1e-4, atol=1e-7)
    assert np.abs(each[0] - each[1]).max() > 1e-4


def test_library_sizes(fit, data):
    np.testing.assert_allclose(ask(fit, data, library_size=1e4), 1e4 * ask(fit, data), rtol=1e-5)
    expected = ask(fit, data) * data.source.totals()[:, None]
    np.testing.assert_allclose(ask(fit, data, library_size="latent"), expected, rtol=1e-4)


def test_genes_are_picked_from_fractions_of_all(fit, data):
    genes = [data.registry.genes[i] for i in (20, 3, 4)]
    whole = ask(fit, data)
    np.testing.assert_allclose(ask(fit, data, genes=genes), whole[:, [20, 3, 4]], rtol=1e-5)
    np.testing.assert_allclose(ask(fit, data, genes=genes[0]), whole[:, [20]], rtol=1e-5)
    assert ask(fit, data, genes=genes).sum(1).max() < 0.9


def test_minibatches_do_not_matter(fit, data):
    np.testing.assert_allclose(ask(fit, data, batch_size=7), ask(fit, data), rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(ask(fit, data, indices=[4, 80]), ask(fit, data)[[4, 80]], rtol=1e-4, atol=1e-7)


def test_the_module_is_left_as_it_was(fit, data):
    for mode in (True, False):
        fit.module.train(mode)
        ask(fit, data)
        assert all(part.training is mode for part in fit.module.modules())


# -- samples -----------------------------------------------------------------------------------------------------------

def test_draws_differ_from_means(fit, data):
    found = drawn(fit, data)
    assert np.abs(found - ask(fit, data)).max() > 1e-4
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-5)
    np.testing.assert_array_equal(found, drawn(fit, data))
    assert np.abs(found - drawn(fit, data, 1)).max() > 1e-4


@pytest.mark.parametrize("library_size", [1.0, 1e4, "latent"])
@pytest.mark.parametrize("elements", [1 << 22, 2000])
def test_the_mean_of_samples_kept_apart(fit, data, library_size, elements, monkeypatch):
    monkeypatch.setattr(draws, "ELEMENTS", elements)
    given = {"n_samples": 12, "library_size": library_size, "transform_batch": data.registry.batch_categories,
             "batch_size": 40, "genes": data.registry.genes[3:10]}
    apart = drawn(fit, data, return_mean=False, **given)
    assert apart.shape == (12, 90, 7) and apart.dtype == np.float32
    np.testing.assert_allclose(drawn(fit, data, **given), apart.mean(0), rtol=1e-5)
    assert (apart.std(0) > 0).all()
    alone = drawn(fit, data, return_mean=False, **{**given, "n_samples": 1})
    assert alone.shape == (90, 7)


def test_the_mean_of_many_draws_is_the_integral():
    """With one latent, E[rho(z)] is an integral that Gauss-Hermite quadrature takes."""
    fit, data = certain(ScviSettings(12, 1), 0.7, 5)
    node, weight = np.polynomial.hermite_e.hermegauss(60)
    mean, variance = (torch.tensor(moment) for moment in data.stored["z"])
    with torch.no_grad():
        z = mean + variance.sqrt() * torch.tensor(node, dtype=torch.float32)[:, None, None]
        rho = fit.module.decoder(z, torch.tensor(data.categories), None)["logits"].value().softmax(-1).numpy()
    expected = np.tensordot(weight / weight.sum(), rho, 1)
    apart = drawn(fit, data, n_samples=4000, return_mean=False)
    error = apart.std(0, dtype="f8") / np.sqrt(4000)
    assert (np.abs(apart.mean(0, dtype="f8") - expected) < 5 * error + 1e-6).all()
    assert np.abs(expected - rho[29:31].mean(0)).max() > 5 * error.max()                  # not the value at the mean


def test_without_variance_all_samples_are_the_same():
    fit, data = certain(CERTAIN)
    apart = drawn(fit, data, n_samples=5, return_mean=False)
    np.testing.assert_allclose(apart, np.broadcast_to(ask(fit, data), apart.shape), rtol=1e-4)


@pytest.mark.parametrize("n_draws", [3, 20, 21, 400])
def test_draws_from_all_cells_together(n_draws):
    fit, data = certain(CERTAIN)
    for given in ({}, {"transform_batch": data.registry.batch_categories, "library_size": "latent"}):
        cells = ask(fit, data, **given)
        found = drawn(fit, data, n_samples_overall=n_draws, batch_size=8, **given)
        assert found.shape == (n_draws, 30) and found.dtype == np.float32
        distance = np.abs(np.log(found[:, None] / cells)).max(2)        # (draws, cells)
        assert (distance.min(1) < 1e-4).all()
        times = np.bincount(distance.argmin(1), minlength=20)
        assert ((times - n_draws / 20) ** 2).sum() / (n_draws / 20) < 60                  # chi-square of 19
        assert n_draws < 20 or times.max() > n_draws / 20               # with replacement


def test_a_pool_of_draws_holds_some_of_each_cell(monkeypatch):
    """Of 20 cells and 50 draws the pool holds 3 draws a cell, so rows occur twice; only what is needed is made."""
    fit, data = certain(CERTAIN, 0.5)
    found = drawn(fit, data, n_samples_overall=50)
    rows, times = np.unique(found, axis=0, return_counts=True)
    assert 26 <= len(rows) <= 41 and times.max() > 1                    # 34 are expected of 60, 50 were there no pool
    encoded, posterior = [], fit.module.posterior
    monkeypatch.setattr(fit.module, "posterior", lambda cells: encoded.append(len(cells["index"])) or posterior(cells))
    drawn(fit, data, n_samples_overall=3, batch_size=5)
    assert sum(encoded) <= 3


# -- memory ------------------------------------------------------------------------------------------------------------

def test_no_block_is_larger_than_allowed(fit, data, monkeypatch):
    monkeypatch.setattr(draws, "ELEMENTS", 2500)
    shapes = spied(monkeypatch, fit.module)
    drawn(fit, data, n_samples=50, batch_size=16)
    assert max(np.prod(shape) for shape in shapes) <= 2500
    assert sum(shape[0] * shape[1] for shape in shapes) == 50 * 90 and len(shapes) == 5 * 10 + 7
    shapes.clear()
    drawn(fit, data, n_samples_overall=70, batch_size=16)
    assert max(np.prod(shape) for shape in shapes) <= 16 * 30


def test_memory_does_not_grow_with_the_cells(fit, monkeypatch):
    monkeypatch.setattr(minibatches, "GATHERED", 2500)                  # counts read together: of some hundred cells
    peaks = {}
    for n_cells in (500, 4000):
        data = open_data(small_data(n_cells), registry=fit.registry)
        tracemalloc.start()
        for _ in expression_blocks(fit.module, data, batch_size=100):
            pass
        peaks["blocks", n_cells] = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        found = normalized_expression(fit.module, data, batch_size=100)
        peaks["result", n_cells] = tracemalloc.get_traced_memory()[1] - found.nbytes
        tracemalloc.stop()
        del found
    for kind in ("blocks", "result"):                                   # an allowance for rows and columns of each cell
        assert peaks[kind, 4000] < peaks[kind, 500] + 100 * 4000        # a copy of the result would be 120 a cell more


def test_a_result_too_large_is_refused_before_any_work(fit, data, monkeypatch):
    monkeypatch.setattr(results, "LARGEST_RESULT", 90 * 30 * 4 - 1)
    shapes = spied(monkeypatch, fit.module)
    for given in ({}, {"n_samples": 2, "return_mean": False}, {"n_samples_overall": 90},
                  {"n_samples": 30, "return_mean": False, "genes": data.registry.genes[:1], "library_size": 3}):
        if "genes" in given:
            assert normalized_expression(fit.module, data, **{**given, "n_samples": 1}).shape == (90, 1)
            assert shapes
            continue
        with pytest.raises(QueryError, match="would take .* GB") as caught:
            normalized_expression(fit.module, data, **given)
        assert not shapes and all(word in caught.value.hint for word in ("genes", "indices"))
    with pytest.raises(QueryError) as caught:
        normalized_expression(fit.module, data)
    assert all(way in caught.value.hint for way in ("write_expression", "sparse_expression", "expression_blocks"))
    assert "90 cells x 30 genes" in caught.value.problem


# -- blocks, files, sparse matrices ------------------------------------------------------------------------------------

@pytest.mark.parametrize("given", [{}, {"n_samples": 3, "batch_size": 7, "indices": [5, 3, 88, 3]},
                                   {"n_samples_overall": 33, "batch_size": 10}])
def test_blocks_are_the_rows_in_order(fit, data, given):
    whole = drawn(fit, data, **given)
    torch.manual_seed(0)
    end = 0
    for start, stop, block in expression_blocks(fit.module, data, **given):
        assert start == end and block.dtype == np.float32 and block.shape == (stop - start, 30)
        np.testing.assert_array_equal(block, whole[start:stop])
        end = stop
    assert end == len(whole)


def test_a_file_holds_the_same(fit, data, tmp_path):
    path = tmp_path / "expression.h5"
    genes = data.registry.genes[4:9]
    given = {"genes": genes, "library_size": 1e4, "indices": np.arange(90) % 3 == 0, "batch_size": 7}
    whole = drawn(fit, data, **given)
    torch.manual_seed(0)
    assert write_expression(fit.module, data, path, **given) == path
    with h5py.File(path) as file:
        array = file["expression"]
        assert array.dtype == np.float32 and array.chunks == (30, 5)
        np.testing.assert_array_equal(array[:], whole)
        assert file["genes"].asstr()[:].tolist() == list(genes)
        assert file["cells"].asstr()[:].tolist() == data.cells[::3]
    assert [entry.name for entry in tmp_path.iterdir()] == ["expression.h5"]
    with pytest.raises(QueryError, match="already"):
        write_expression(fit.module, data, path)
    torch.manual_seed(0)
    write_expression(fit.module, data, path, "draws", overwrite=True, n_samples_overall=12)
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["draws"][:], drawn(fit, data, n_samples_overall=12))
        assert set(file) == {"draws", "genes"}


def test_work_that_ends_early_leaves_no_file(fit, data, tmp_path):
    def interrupt(done, total):
        if done > 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_expression(fit.module, data, tmp_path / "e.h5", batch_size=10, progress=interrupt)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "e.h5").write_text("kept")
    with pytest.raises(KeyboardInterrupt):
        write_expression(fit.module, data, tmp_path / "e.h5", overwrite=True, batch_size=10, progress=interrupt)
    assert (tmp_path / "e.h5").read_text() == "kept" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(("path", "dataset", "problem"), [
    ("no/where.h5", "expression", "no folder"), (".", "expression", "is a folder"),
    ("e.h5", "genes", "cannot be called"), ("e.h5", "", "cannot be called"),
])
def test_files_that_cannot_be(fit, data, tmp_path, path, dataset, problem):
    with pytest.raises(QueryError, match=problem):
        write_expression(fit.module, data, tmp_path / path, dataset)
    assert list(tmp_path.iterdir()) == []


def test_small_values_can_be_left_out(fit, data):
    whole = drawn(fit, data, library_size=1e4, n_samples=2, batch_size=13)
    smallest = float(np.sort(whole, axis=None)[1350])                   # a value that occurs is not below itself
    torch.manual_seed(0)
    found = sparse_expression(fit.module, data, smallest=smallest, library_size=1e4, n_samples=2, batch_size=13)
    assert sp.issparse(found) and found.format == "csr" and found.dtype == np.float32 and found.has_canonical_format
    np.testing.assert_array_equal(found.toarray(), np.where(whole < smallest, 0, whole))
    assert found.nnz == (whole >= smallest).sum()
    left_out = 1e4 - np.asarray(found.sum(1)).ravel()
    assert (left_out < smallest * 30).all() and (left_out > 0).all()
    nothing = sparse_expression(fit.module, data, smallest=2)
    assert nothing.nnz == 0 and nothing.shape == (90, 30)


def test_a_sparse_matrix_that_grows_too_large(fit, data, monkeypatch):
    monkeypatch.setattr(results, "LARGEST_RESULT", 90 * 30 * 4)
    assert sparse_expression(fit.module, data, smallest=0.04).nnz > 0
    with pytest.raises(QueryError, match="grows beyond") as caught:
        sparse_expression(fit.module, data, smallest=1e-9)
    assert "smallest" in caught.value.hint


def test_progress(fit, data):
    for given, total in (({}, 90), ({"n_samples": 4, "return_mean": False}, 90), ({"n_samples_overall": 25}, 25)):
        seen = []
        drawn(fit, data, batch_size=10, progress=lambda *step, seen=seen: seen.append(step), **given)
        assert seen == [(min(done, total), total) for done in range(10, total + 10, 10)]


# -- questions that make no sense --------------------------------------------------------------------------------------

@pytest.mark.parametrize(("given", "field", "problem"), [
    ({"transform_batch": "lab_9"}, "transform_batch", "no batch 'lab_9'"),
    ({"transform_batch": []}, "transform_batch", "names no batch"),
    ({"genes": ["nothing"]}, "genes", "not trained on"), ({"genes": []}, "genes", "empty"),
    ({"library_size": "latnet"}, "library_size", "latnet"), ({"library_size": -1}, "library_size", "cannot be -1"),
    ({"library_size": 0}, "library_size", "cannot be 0"), ({"library_size": float("nan")}, "library_size", "a number"),
    ({"library_size": None}, "library_size", "a number"), ({"library_size": True}, "library_size", "a number"),
    ({"n_samples": 0}, "n_samples", "cannot be 0"), ({"n_samples": 1.5}, "n_samples", "whole number"),
    ({"n_samples_overall": 0}, "n_samples_overall", "cannot be 0"),
    ({"weights": "importanc"}, "weights", "importanc"), ({"weights": "importance"}, "weights", "all cells together"),
    ({"return_mean": 1}, "return_mean", "TRUE or FALSE"), ({"draw": "median"}, "draw", "median"),
    ({"draw": "mean", "n_samples": 2}, "draw", "no samples"),
    ({"indices": [90]}, "indices", "outside 0 to 89"), ({"indices": [-1]}, "indices", "outside"),
    ({"indices": []}, "indices", "No cells"), ({"batch_size": 0}, "batch_size", "cannot be 0"),
    ({"importance": {"max_cell": 3}}, "max_cell", "no setting"),
    ({"importance": {"max_cells": 0}}, "max_cells", "cannot be 0"),
    ({"weights": "importance", "n_samples_overall": 5, "transform_batch": ["0", "1"]}, "transform_batch", "several"),
])
def test_refusals(fit, data, tmp_path, monkeypatch, given, field, problem):
    if given.get("transform_batch") == ["0", "1"]:
        given = {**given, "transform_batch": data.registry.batch_categories}
    monkeypatch.setattr(fit.module, "posterior", lambda cells: pytest.fail("work was done"))
    for verb in (lambda: normalized_expression(fit.module, data, **given),
                 lambda: expression_blocks(fit.module, data, **given),
                 lambda: write_expression(fit.module, data, tmp_path / "e.h5", **given),
                 lambda: sparse_expression(fit.module, data, smallest=0.1, **given)):
        with pytest.raises(LatomeError, match=problem) as caught:
            verb()
        assert caught.value.field == field
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_batch_is_answered_with_those_there_are(fit, data):
    with pytest.raises(QueryError, match="no batch 'lab_9'") as caught:
        ask(fit, data, transform_batch="lab_9")
    assert all(f"'{name}'" in caught.value.hint for name in data.registry.batch_categories)


@pytest.mark.parametrize("smallest", [0, -1, float("nan"), "small", None])
def test_nothing_can_be_smaller(fit, data, smallest):
    with pytest.raises(SettingError, match="smallest"):
        sparse_expression(fit.module, data, smallest=smallest)


def test_samples_kept_apart_are_no_rows(fit, data):
    with pytest.raises(SettingError, match="kept apart"):
        expression_blocks(fit.module, data, n_samples=2, return_mean=False)
