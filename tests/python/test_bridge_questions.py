"""Questions over the border: what R is told is what the engine says, seeded, in R's layout; and errors are values."""

import signal
import threading
import time

import h5py
import numpy as np
import pytest
import scipy.sparse as sp
from examples import opened, options, random_state, small_data

from latome import bridge
from latome.analysis import criticism, predictive
from latome.analysis.density import aggregated_posterior, differential_abundance
from latome.analysis.differential import comparisons_of, differential_expression
from latome.analysis.expression import normalized_expression
from latome.analysis.latent import latent_moments
from latome.analysis.likelihood import elbo, elbo_terms, marginal_likelihood, reconstruction_error
from latome.backend import torch
from latome.bridge.steps import Steps
from latome.fit import fit
from latome.io import archive
from latome.modules.scvi import ScviSettings
from latome.training.session import RandomStream

GENES = ["gene_7", "gene_2", "gene_11"]


def trained(**settings):
    return fit(ScviSettings(n_hidden=12, n_latent=3, **settings), opened(), options(), seed=0)


def packed(trained_fit):
    document, weights = archive.pack(trained_fit)
    return {"document": document, "weights": bytearray(weights)}


@pytest.fixture(scope="module")
def model():
    return trained()


@pytest.fixture(scope="module")
def data():
    return small_data()


@pytest.fixture(autouse=True)
def silent_and_seedless(capfd):
    """Nothing is printed, and the caller's own random numbers stay."""
    before = random_state()
    yield
    assert capfd.readouterr() == ("", "")
    assert all(np.array_equal(a, b) for a, b in zip(before, random_state(), strict=True))


def ask(verb, model, data, seed=0, **options):
    answer = getattr(bridge, verb)(**packed(model), data=data, options=options, seed=seed)
    assert answer["ok"], answer
    return answer


def engine(verb, model, seed=0, **options):
    """What the engine says, with random numbers that begin at the same seed."""
    with RandomStream(seed).active():
        return verb(model.module, opened(), **options)


NUMBERS = {  # verb of the bridge: (options, what the engine says)
    "elbo": ({}, lambda m: engine(elbo, m)),
    "reconstruction_error": ({}, lambda m: engine(reconstruction_error, m)["reconstruction_loss"]),
}


@pytest.mark.parametrize("verb", NUMBERS)
def test_likelihoods_are_the_engines_and_their_mean_is_that_of_the_cells(model, data, verb):
    asked, expected = NUMBERS[verb]
    found = ask(verb, model, data, **asked)["value"]
    assert isinstance(found, float) and found == pytest.approx(expected(model), rel=1e-6)
    cells = ask(verb, model, data, return_mean=False, **asked)["value"]
    assert cells.shape == (90,) and cells.dtype == np.float64 and cells.mean() == pytest.approx(found, rel=1e-6)
    assert ask(verb, model, data, seed=1, **asked)["value"] != found


def test_the_bound_has_its_sign(model, data):
    terms = engine(elbo_terms, model)
    found = ask("elbo", model, data, return_mean=False)["value"]
    np.testing.assert_allclose(found, -(terms["reconstruction_loss"] + terms["kl_local"]), rtol=1e-6)


def test_moments_of_the_latent(model, data):
    found = ask("latent_moments", model, data)
    for name, values in zip(("mean", "variance"), engine(latent_moments, model), strict=True):
        np.testing.assert_allclose(found[name], values, rtol=1e-6)
        assert found[name].flags.f_contiguous


def drain(work):
    blocks = []
    while "stop" in (block := bridge.next_block(work)):
        assert block["ok"], block
        blocks.append(block)
    return blocks


def test_the_marginal_likelihood_comes_in_blocks_of_cells(model, data):
    blocks = drain(ask("marginal_blocks", model, data, n_mc_samples=500)["work"])
    assert [(block["start"], block["stop"]) for block in blocks] == [(1, 64), (65, 90)]
    first = engine(marginal_likelihood, model, n_mc_samples=500, return_mean=False, indices=np.arange(64))
    np.testing.assert_allclose(blocks[0]["values"], first, rtol=1e-6)
    found = np.concatenate([block["values"] for block in blocks])
    assert found.mean() == pytest.approx(engine(marginal_likelihood, model, n_mc_samples=500), abs=0.3)


@pytest.mark.parametrize("asked", [
    {}, {"genes": GENES, "library_size": 1e4}, {"genes": "gene_3"}, {"transform_batch": ["batch_1", "batch_2"]},
    {"library_size": "latent", "n_samples": 3}], ids=str)
def test_blocks_make_up_the_expression_in_rs_layout(model, data, asked):
    work = ask("expression_blocks", model, data, batch_size=40, **asked)["work"]
    blocks = drain(work)
    assert [(block["start"], block["stop"]) for block in blocks] == [(1, 40), (41, 80), (81, 90)]
    assert all(block["values"].flags.f_contiguous for block in blocks)
    expected = engine(normalized_expression, model, batch_size=40, **asked)
    np.testing.assert_allclose(np.concatenate([block["values"].T for block in blocks]), expected, rtol=1e-6)
    assert "stop" not in bridge.next_block(work) and bridge.close(work)["ok"]


def test_sparse_blocks_leave_out_what_is_small_and_are_dgcmatrices(model, data):
    blocks = drain(ask("expression_blocks", model, data, batch_size=40, smallest=0.03)["work"])
    expected = engine(normalized_expression, model, batch_size=40)
    for block in blocks:
        csc = sp.csc_matrix((block["x"], block["i"], block["p"]), shape=(30, block["stop"] - block["start"] + 1))
        assert csc.has_sorted_indices and block["x"].dtype == np.float64 and block["i"].dtype == np.int32
        part = expected[block["start"] - 1:block["stop"]]
        np.testing.assert_allclose(csc.toarray().T, np.where(part < 0.03, 0, part), rtol=1e-6)


def test_a_file_is_there_when_all_blocks_are(model, data, tmp_path):
    path = tmp_path / "expression.h5"
    work = ask("expression_blocks", model, data, batch_size=40, genes=GENES, file=str(path))["work"]
    assert bridge.next_block(work)["stop"] == 40 and not path.exists()
    drain(work)
    with h5py.File(path) as file:
        expected = engine(normalized_expression, model, batch_size=40, genes=GENES)
        np.testing.assert_allclose(file["expression"][:], expected, rtol=1e-6)
        assert [name.decode() for name in file["genes"]] == GENES and len(file["cells"]) == 90
    assert bridge.close(work)["ok"] and path.exists()


def test_work_that_is_given_up_leaves_no_file(model, data, tmp_path):
    work = ask("expression_blocks", model, data, batch_size=40, file=str(tmp_path / "e.h5"))["work"]
    bridge.next_block(work)
    assert bridge.close(work)["ok"] and list(tmp_path.iterdir()) == []
    assert "stop" not in bridge.next_block(work)


def test_an_interrupt_within_a_block_is_a_value(model, data, monkeypatch):
    work = ask("expression_blocks", model, data, batch_size=40)["work"]
    bridge.next_block(work)

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(work, "blocks", iter(interrupted, None))
    assert bridge.next_block(work)["kind"] == "Interrupt" and bridge.close(work)["ok"]


def done(work, seconds=10.0):
    """What work comes to, and the steps that it told."""
    told = []
    while not (answer := bridge.proceed(work, seconds))["finished"]:
        assert answer["ok"], answer
        told.append((answer["done"], answer["total"]))
    assert bridge.close(work)["ok"]
    return answer, told


def test_samples_that_are_kept_apart(model, data):
    asked = {"n_samples": 3, "return_mean": False, "genes": GENES}
    found = done(ask("normalized_expression", model, data, **asked)["work"])[0]["values"]
    expected = engine(normalized_expression, model, n_samples=3, return_mean=False, genes=GENES)
    assert found.shape == (3, 90, 3) and found.flags.f_contiguous                      # genes x cells x samples
    np.testing.assert_allclose(found, expected.transpose(2, 1, 0), rtol=1e-6)
    overall = done(ask("normalized_expression", model, data, n_samples_overall=7)["work"])[0]["values"]
    np.testing.assert_allclose(overall, engine(normalized_expression, model, n_samples_overall=7).T, rtol=1e-6)


def test_counts_drawn_from_the_model(model, data):
    found = ask("posterior_samples", model, data, n_samples=2, genes=GENES, transform_batch="batch_2")["samples"]
    with RandomStream(0).active():
        for one in found:
            expected = predictive.posterior_predictive(model.module, opened(), genes=GENES, transform_batch="batch_2")
            drawn = sp.csc_matrix((one["x"], one["i"], one["p"]), shape=(3, 90))
            assert (drawn.T != expected).nnz == 0 and drawn.has_sorted_indices and one["x"].dtype == np.float64


def test_what_else_a_model_predicts(model, data):
    found = ask("likelihood_parameters", model, data, genes=GENES)["parameters"]
    expected = engine(predictive.likelihood_parameters, model, genes=GENES)
    assert found.keys() == expected.keys() and {"mean", "dispersions", "dropout"} == set(found)
    for name, values in expected.items():
        assert found[name].shape == (3, 90) and found[name].flags.f_contiguous
        np.testing.assert_allclose(found[name], values.T, rtol=1e-6)
    kept = ask("likelihood_parameters", model, data, n_samples=2)["parameters"]
    assert all(values.shape == (30, 90, 2) for values in kept.values())
    sizes = ask("latent_library_size", model, data)["value"]
    np.testing.assert_allclose(sizes, np.asarray(small_data().X.sum(1)).ravel())
    found = ask("feature_correlation", model, data, genes=GENES, n_samples=2)["value"]
    np.testing.assert_allclose(found, engine(predictive.feature_correlation, model, genes=GENES, n_samples=2))


def test_densities(model, data):
    mean = engine(latent_moments, model)[0]
    mixture = engine(aggregated_posterior, model, dof=3)
    found = ask("aggregated_posterior", model, data, dof=3)["value"]
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, mixture.log_prob(torch.from_numpy(mean)), rtol=1e-5)
    points = np.asfortranarray(np.zeros((2, 3)) + [[0.0], [5.0]])
    points.flags.writeable = False                                                     # as R sends them
    found = ask("aggregated_posterior", model, data, dof=3, at=points)["value"]
    np.testing.assert_allclose(found, mixture.log_prob(torch.tensor(points, dtype=torch.float32)), rtol=1e-5)
    samples = data.obs["kit"].astype("category").cat
    found = ask("differential_abundance", model, data, codes=samples.codes.to_numpy(np.int32),
                levels=list(samples.categories))["value"]
    expected = engine(lambda module, dataset: differential_abundance(module, dataset, data.obs["kit"]), model)
    np.testing.assert_allclose(found, expected.to_numpy(), rtol=1e-6)


def test_checks_of_the_model(model, data):
    found = ask("predictive_check", model, data, metric="cv", n_samples=3)["table"]
    expected = engine(criticism.coefficient_of_variation, model, n_samples=3)
    assert list(found) == ["gene", "observed", "predicted", "sd"] and found["gene"] == list(expected.index)
    np.testing.assert_allclose(found["predicted"], expected["mean"])
    asked = {"metric": "calibration", "dim": "features", "n_samples": 3, "levels": [0.5]}
    found = ask("predictive_check", model, data, **asked)["table"]
    assert list(found) == ["cell", "level", "coverage", "error"] and len(found["cell"]) == 90


def test_differential_expression_is_a_table_in_columns(model, data):
    comparisons = comparisons_of(data.obs, groupby="cell_type")
    sent = [{"group1": one.group1, "group2": one.group2, "rows1": one.rows1.astype(np.int32),
             "rows2": one.rows2.astype(np.int32)} for one in comparisons]
    asked = {"comparisons": sent, "n_samples_overall": 200}
    answer, told = done(ask("differential_expression", model, data, **asked)["work"], seconds=0.0)
    found = answer["table"]
    assert [step for step, _ in told] == list(range(1, told[-1][1] + 1)) and len(told) > len(comparisons)
    again, told = done(ask("differential_expression", model, data, **asked)["work"])
    assert told == [] and all(list(again["table"][name]) == list(found[name]) for name in found)   # in one go
    expected = engine(lambda module, dataset: differential_expression(
        module, dataset, comparisons, n_samples_overall=200), model)
    assert list(found) == list(expected)
    for name in expected:
        assert isinstance(found[name], list if expected[name].dtype == object else np.ndarray)
        assert list(found[name]) == list(expected[name]), name


def test_work_ends_between_two_steps_and_gives_its_random_numbers_back(model, data):
    rows = {"group1": "a", "group2": "b", "rows1": np.arange(40), "rows2": np.arange(40, 90)}
    work = ask("differential_expression", model, data, comparisons=[rows], n_samples_overall=200)["work"]
    assert bridge.close(work)["ok"]                                                    # before it has begun
    work = ask("differential_expression", model, data, comparisons=[rows], n_samples_overall=200)["work"]
    assert bridge.proceed(work, 0.0)["done"] == 1
    assert bridge.close(work)["ok"] and not work.thread.is_alive()
    assert work.answer is None and isinstance(work.error, KeyboardInterrupt)


def test_ctrl_c_during_work_is_a_value_and_ends_it():
    begun = threading.Event()

    def work(progress):
        while True:
            progress(1, 2)
            begun.set()
            time.sleep(0.01)

    steps = Steps(work)
    threading.Thread(target=lambda: begun.wait() and signal.raise_signal(signal.SIGINT), daemon=True).start()
    assert bridge.proceed(steps, 60.0)["kind"] == "Interrupt"
    assert bridge.close(steps)["ok"] and not steps.thread.is_alive()


def test_what_fails_in_work_is_a_value(model, data):
    work = ask("differential_expression", model, data, comparisons=[])["work"]
    answer = bridge.proceed(work, 10.0)
    assert not answer["ok"] and answer["kind"] == "QueryError" and bridge.close(work)["ok"]
    assert bridge.proceed(Steps(lambda progress: 1 / 0), 10.0)["kind"] == "ZeroDivisionError"


def test_vectors_of_batches(data):
    embedded = trained(batch_representation="embedding", embedding_dim=4)
    found = bridge.batch_representation(**packed(embedded))
    np.testing.assert_array_equal(found["value"], embedded.module.embedding.weight.detach().numpy())
    assert found["value"].shape == (2, 4) and found["value"].flags.f_contiguous
    refused = bridge.batch_representation(**packed(trained()))
    assert refused["kind"] == "QueryError" and "embedding" in refused["hint"]


@pytest.mark.parametrize(("verb", "options", "kind"), [
    ("expression_blocks", {"genes": ["gene_1", "geneX"]}, "QueryError"),
    ("expression_blocks", {"transform_batch": "batch_9"}, "QueryError"),
    ("expression_blocks", {"library_size": -1.0}, "SettingError"),
    ("expression_blocks", {"file": "/no/such/folder/e.h5"}, "QueryError"),
    ("posterior_samples", {"transform_batch": ["batch_1", "batch_2"]}, "QueryError"),
    ("feature_correlation", {"correlation_type": "kendall"}, "SettingError"),
    ("aggregated_posterior", {"dof": -1.0}, "SettingError"),
    ("expression_blocks", {"weights": "importance"}, "SettingError"),
])
def test_errors_are_values(model, data, verb, options, kind):
    answer = getattr(bridge, verb)(**packed(model), data=data, options=options)
    assert not answer["ok"] and answer["kind"] == kind and answer["problem"] and answer["hint"]


def test_the_engines_warnings_come_as_values_and_those_of_others_do_not(model, data, monkeypatch):
    def warning(module, dataset, **more):
        np.zeros(1) / 0                                                                # numpy warns
        return elbo_terms(module, dataset)

    monkeypatch.setattr(bridge.questions, "elbo_terms", warning)
    assert ask("elbo", model, data)["warnings"] == []
    monkeypatch.setattr("latome.analysis.importance.effective_size", lambda weights: 1.0)
    work = ask("normalized_expression", model, data, n_samples_overall=5, weights="importance")["work"]
    answer, _ = done(work)
    assert len(answer["warnings"]) == 1 and "Importance weights" in answer["warnings"][0]
