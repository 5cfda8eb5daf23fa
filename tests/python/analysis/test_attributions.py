"""Integrated gradients of labels: they add up, they agree with differences of probabilities, and they find markers."""

import numpy as np
import pytest
from examples import small_data

from latome.analysis.attributions import label_attributions, ranked_genes
from latome.analysis.labels import label_probabilities
from latome.backend import torch
from latome.data.registry import Columns, open_data
from latome.data.simulate import simulate
from latome.errors import QueryError
from latome.fit import fit
from latome.modules.cellassign import CellassignSettings
from latome.modules.scanvi import ScanviSettings
from latome.training.options import TrainingOptions

COLUMNS = Columns(batch="batch", labels="cell_type")


@pytest.fixture(scope="module", params=[{}, {"encode_covariates": True, "use_layer_norm": "both",
                                              "use_batch_norm": "none", "linear_classifier": True}])
def labelled(request):
    data = open_data(small_data(), COLUMNS)
    options = TrainingOptions(max_epochs=30, batch_size=32, lr=5e-3, device="cpu")
    return fit(ScanviSettings(n_hidden=12, n_latent=3, **request.param), data, options, seed=0), data


def without_counts(data):
    """The probabilities (n, labels) of the same cells without a count."""
    emptied = small_data()
    emptied.X = emptied.X * 0
    return open_data(emptied, registry=data.registry, allow_empty=True)


def test_they_add_up_to_what_the_counts_change(labelled):
    model, data = labelled
    attributions, labels = label_attributions(model.module, data, n_steps=1000)
    full, empty = (label_probabilities(model.module, one) for one in (data, without_counts(data)))
    rows = np.arange(data.n_cells)
    np.testing.assert_array_equal(labels, full.argmax(1))
    change = full[rows, labels] - empty[rows, labels]
    np.testing.assert_allclose(np.asarray(attributions.sum(1)).ravel(), change, atol=5e-3)
    assert abs(change).max() > 0.1                     # there is something to attribute


def test_one_step_is_the_slope_at_an_eighth(labelled):
    """One point, s = 1/2, where a = 1/8 and da/ds = 3/4; against differences of the probabilities in float64."""
    model, data = labelled
    attributions, _ = label_attributions(model.module, data, label="type_1", n_steps=1)
    module, x = model.module, torch.tensor(np.asarray(small_data().X.todense(), dtype=np.float64))
    cells = {"x": x, "categories": torch.from_numpy(data.categories), "continuous": torch.from_numpy(data.continuous),
             "batch": torch.from_numpy(data.codes["batch"])}
    module.double()
    try:
        for gene in (0, 7):
            with torch.no_grad():
                step = torch.zeros_like(x)
                step[:, gene] = 1e-5
                up, down = (module.label_probabilities(cells | {"x": x / 8 + sign * step})[:, 0] for sign in (1, -1))
            expected = (3 / 4 * x[:, gene] * (up - down) / 2e-5).numpy()
            np.testing.assert_allclose(attributions[:, [gene]].toarray().ravel(), expected, rtol=1e-3, atol=1e-5)
    finally:
        module.float()


def test_they_are_as_sparse_as_the_counts_whatever_the_minibatch(labelled):
    model, data = labelled
    attributions, labels = label_attributions(model.module, data, n_steps=5)
    counts = small_data().X.tocsr()
    assert attributions.shape == counts.shape and not (attributions.toarray()[counts.toarray() == 0]).any()
    rows = np.array([30, 2, 5])
    some, called = label_attributions(model.module, data, n_steps=5, indices=rows, batch_size=3)
    np.testing.assert_allclose(some.toarray(), attributions[rows].toarray(), atol=1e-6)
    np.testing.assert_array_equal(called, labels[rows])


def test_marker_genes_come_first():
    adata = simulate(600, 60, n_types=2, n_batches=1, seed=2)
    counts, of_a = adata.X.tolil(), (adata.obs["cell_type"] == adata.obs["cell_type"].unique()[0]).to_numpy()
    counts[:, :4] = 0
    counts[np.ix_(np.flatnonzero(of_a), np.arange(4))] = 25
    adata.X = counts.tocsr().astype(np.float32)
    data = open_data(adata, Columns(labels="cell_type"))
    model = fit(ScanviSettings(n_hidden=24, n_latent=4), data,
                TrainingOptions(max_epochs=30, lr=5e-3, device="cpu"), seed=1)
    label = adata.obs["cell_type"].unique()[0]
    attributions, _ = label_attributions(model.module, data, label=label, indices=of_a)
    ranked = ranked_genes(attributions, adata.var_names)
    assert set(ranked["gene"][:4]) == set(adata.var_names[:4])
    assert (ranked["cells"][:4] == of_a.sum()).all() and (np.diff(ranked["attribution_mean"]) <= 0).all()
    table = attributions.toarray()[:, ranked["gene_idx"][0]]
    assert ranked["attribution_std"][0] == pytest.approx(table.std(), rel=1e-4)


def test_what_cannot_be_asked(labelled):
    model, data = labelled
    with pytest.raises(QueryError, match="knows no label 'type_9'"):
        label_attributions(model.module, data, label="type_9")
    with pytest.raises(QueryError, match="30 genes; there are 2"):
        ranked_genes(np.zeros((3, 30)), ["a", "b"])


def test_a_model_without_a_network_over_the_counts_is_refused():
    from contracts.cases import Case, make_data, with_markers

    from latome.fit import initialise
    data = make_data(Case("cellassign", CellassignSettings(), latent=False, counts=False, opens=with_markers))
    with pytest.raises(QueryError, match="does not tell labels by a network"):
        label_attributions(initialise(CellassignSettings(), data).module, data)
