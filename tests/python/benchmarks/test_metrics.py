"""The measures of benchmarks/metrics.py: cases worked out by hand, limits from theory, scikit-learn."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "benchmarks"))

import metrics  # noqa: E402


def codes(*values):
    return np.array(values)


@pytest.mark.parametrize("a, b, expected", [
    (codes(0, 0, 1, 1), codes(1, 1, 0, 0), 1.0),                       # equal but for the names
    (codes(0, 0, 1, 1), codes(0, 1, 0, 1), -0.5),                      # no pair in common: (0 - 2/3) / (2 - 2/3)
    (codes(0, 0, 0, 1, 1, 1), codes(0, 0, 1, 1, 2, 2), 8 / 33),        # pairs 2, 6, 3 of 15: (2 - 1.2) / (4.5 - 1.2)
    (codes(0, 0, 0), codes(0, 0, 0), 1.0),
])
def test_adjusted_rand_by_hand(a, b, expected):
    assert metrics.adjusted_rand(a, b) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("a, b, expected", [
    (codes(0, 0, 1, 1), codes(1, 1, 0, 0), 1.0),
    (codes(0, 0, 1, 1), codes(0, 1, 0, 1), 0.0),                       # independent
    (codes(0, 0, 1, 1), codes(0, 1, 2, 3), 2 / 3),                     # I = log 2, entropies log 2 and log 4
])
def test_mutual_information_by_hand(a, b, expected):
    assert metrics.mutual_information(a, b) == pytest.approx(expected, abs=1e-12)


def test_partitions_against_scikit_learn():
    cluster = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(1)
    for _ in range(20):
        a, b = generator.integers(0, 6, 200), generator.integers(0, 9, 200)
        b = np.where(generator.random(200) < generator.random(), a, b)
        assert metrics.adjusted_rand(a, b) == pytest.approx(cluster.adjusted_rand_score(a, b), abs=1e-12)
        assert metrics.mutual_information(a, b) == pytest.approx(
            cluster.normalized_mutual_info_score(a, b), abs=1e-12)


def blobs(sizes, distance, k=5, seed=0):
    """Unit normal clouds round centres that far apart on the axes; their places and codes."""
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return generator.normal(size=(len(labels), k)) + distance * np.eye(len(sizes), k)[labels], labels


def test_clusters_find_distant_clouds_of_unequal_size():
    z, labels = blobs([400, 100, 30, 12], 20)
    assert metrics.adjusted_rand(labels, metrics.clusters(z, 4)) == 1.0


def test_clusters_are_as_tight_as_scikit_learn():
    cluster = pytest.importorskip("sklearn.cluster")
    z, _ = blobs([300, 200, 100, 50, 20], 2.5)
    found = metrics.clusters(z, 8)
    squares = sum(((z[found == c] - z[found == c].mean(0)) ** 2).sum() for c in range(8))
    assert squares <= 1.005 * cluster.KMeans(8, n_init=20, random_state=0).fit(z).inertia_


def test_folds_spread_every_label():
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(3), [101, 40, 7]))
    table = metrics.contingency(labels, metrics.folds(labels, 5))
    assert (table.max(1) - table.min(1) <= 1).all() and np.ptp(table.sum(0)) <= 1


def test_knn_accuracy_of_distant_and_of_mixed_clouds():
    z, labels = blobs([200, 100, 50], 30)
    assert metrics.knn_accuracy(z, labels) == 1.0
    generator = np.random.default_rng(2)
    alike, tossed = generator.normal(size=(4000, 3)), generator.integers(0, 2, 4000)
    assert abs(metrics.knn_accuracy(alike, tossed) - 0.5) < 4 * 0.5 / np.sqrt(4000)     # four standard errors


def test_knn_accuracy_against_scikit_learn():
    neighbors = pytest.importorskip("sklearn.neighbors")
    z, labels = blobs([300, 200, 100], 2)
    fold, right = metrics.folds(labels, 5), 0
    for f in range(5):
        model = neighbors.KNeighborsClassifier(15).fit(z[fold != f], labels[fold != f])
        right += (model.predict(z[fold == f]) == labels[fold == f]).sum()
    assert metrics.knn_accuracy(z, labels) == pytest.approx(right / len(labels), abs=1e-12)


def test_batch_mixing_by_hand():
    """Cells at 0, 1, 3, 6 on a line, batches a b b b, one neighbour each: 1, 0, 1, 3, hence b, a, b, b."""
    z, batches = codes(0.0, 1.0, 3.0, 6.0)[:, None], codes(0, 1, 1, 1)
    entropy = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))
    divergence = 3 * -np.log(0.75) - np.log(0.25)
    expected = 1 - divergence / (4 * entropy)
    assert metrics.batch_mixing(z, np.zeros(4, int), batches, neighbours=1) == pytest.approx(expected, abs=1e-12)


def test_batch_mixing_of_separated_batches_is_none_whatever_their_shares():
    z, batches = blobs([300, 100, 60], 100)
    assert metrics.batch_mixing(z, np.zeros(len(z), int), batches) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.7, 0.2, 0.1)])
def test_batch_mixing_of_batches_at_random(shares):
    """2 k KL of k draws is about chi-squared with (batches - 1) degrees of freedom, so its mean is known."""
    generator = np.random.default_rng(3)
    batches = generator.choice(len(shares), 6000, p=shares)
    z, labels = generator.normal(size=(6000, 4)), generator.integers(0, 2, 6000)
    expected = 1 - (len(shares) - 1) / (2 * 30) / metrics.entropy(np.array(shares))
    assert metrics.batch_mixing(z, labels, batches) == pytest.approx(expected, abs=0.005)


def test_batch_mixing_ignores_labels_of_one_batch_and_differences_between_labels():
    generator = np.random.default_rng(4)
    labels = np.repeat([0, 1, 2], [1000, 1000, 500])
    batches = np.concatenate([generator.random(1000) < 0.1, generator.random(1000) < 0.9, np.zeros(500)]).astype(int)
    z = generator.normal(size=(2500, 4))
    value = metrics.batch_mixing(z, labels, batches)
    assert value > 0.9
    assert value == pytest.approx(metrics.batch_mixing(z[:2000], labels[:2000], batches[:2000]), abs=1e-12)
    assert np.isnan(metrics.batch_mixing(z[2000:], labels[2000:], batches[2000:]))


def test_measure_takes_names_and_orders_its_measures():
    z, codes_of = blobs([120, 90, 60], 25)
    batches = np.where(np.random.default_rng(5).random(len(z)) < 0.5, "x", "y")
    values = metrics.measure(z.astype(np.float32), np.array(["B", "NK", "T"])[codes_of], batches)
    assert list(values) == list(metrics.MEASURES)
    assert values["ARI"] == values["NMI"] == values["k-NN accuracy"] == 1.0 and values["batch mixing"] > 0.9


def test_compare():
    """Variances 1e-4 each, three seeds: error = sqrt(2e-4 / 3)."""
    ours, theirs = [0.70, 0.71, 0.72], [0.72, 0.73, 0.74]
    found = metrics.compare(ours, theirs)
    assert found["difference"] == pytest.approx(-0.02) and found["error"] == pytest.approx(np.sqrt(2e-4 / 3))
    assert found["margin"] == pytest.approx(2 * np.sqrt(2e-4 / 3)) and not found["not_worse"]
    assert metrics.compare([0.5, 0.5], [0.509, 0.509])["not_worse"]
    assert not metrics.compare([0.5, 0.5], [0.511, 0.511])["not_worse"]
    assert metrics.compare([0.5], [0.4])["error"] == 0


def test_area_under_roc_counts_pairs():
    """Pairs (true, other): 4, 1 against 3, 1: wins 2 + 0.5 of 4."""
    scores, truth = np.array([4.0, 1.0, 3.0, 1.0]), np.array([True, True, False, False])
    assert metrics.area_under_roc(scores, truth) == pytest.approx(2.5 / 4, abs=1e-12)


def test_average_precision_by_hand():
    """In order: true, other, then two tied of which one is true: 1/2 * 1 + 1/2 * 2/4."""
    scores, truth = np.array([0.9, 0.5, 0.2, 0.2]), np.array([True, False, False, True])
    assert metrics.average_precision(scores, truth) == pytest.approx(0.75, abs=1e-12)
    recall, precision = metrics.precision_recall(scores, truth)
    assert recall.tolist() == [0.5, 0.5, 1.0] and precision.tolist() == [1.0, 0.5, 0.5]


def test_scores_and_labels_against_scikit_learn():
    learn = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(6)
    for _ in range(20):
        truth, scores = generator.random(300) < 0.2, generator.integers(0, 40, 300) / 40
        assert metrics.area_under_roc(scores, truth) == pytest.approx(learn.roc_auc_score(truth, scores), abs=1e-12)
        assert metrics.average_precision(scores, truth) == pytest.approx(
            learn.average_precision_score(truth, scores), abs=1e-12)
        labels, predicted = generator.integers(0, 5, 300), generator.integers(0, 5, 300)
        assert metrics.macro_f1(labels, predicted) == pytest.approx(
            learn.f1_score(labels, predicted, average="macro"), abs=1e-12)


def test_macro_f1_leaves_out_labels_that_never_occur():
    """a: 2 * 1 / (2 + 1); b: 2 * 1 / (1 + 1); c is predicted once and never true."""
    assert metrics.macro_f1(np.array(["a", "a", "b"]), np.array(["a", "c", "b"])) == pytest.approx((2 / 3 + 1) / 2)


def test_calibration_error_by_hand():
    """Of two bins: {0.4, right}, {0.6, 0.8, one right}: 1/3 * 0.6 + 2/3 * 0.2."""
    sure, right = np.array([0.4, 0.6, 0.8]), np.array([True, True, False])
    assert metrics.calibration_error(sure, right, bins=2) == pytest.approx(0.6 / 3 + 2 * 0.2 / 3, abs=1e-12)


def test_calibration_error_of_calibrated_probabilities():
    """|confidence - share right| of a bin of m cells is about half-normal: sqrt(2 p (1 - p) / (pi m))."""
    generator = np.random.default_rng(7)
    sure = generator.random(60000)
    found = metrics.calibration_error(sure, generator.random(60000) < sure)
    assert found < 2 * np.sqrt(2 * 0.25 / (np.pi * 4000))


def test_reliability_puts_ends_into_the_bins_they_end():
    share, sure, right = metrics.reliability(np.array([0.0, 0.5, 1.0]), np.array([False, True, True]), bins=2)
    assert share.tolist() == [2 / 3, 1 / 3] and sure.tolist() == [0.25, 1.0] and right.tolist() == [0.5, 1.0]


def test_neighbours_never_hold_the_cell_itself():
    z = np.repeat(np.arange(6.0), 3)[:, None]                          # each place three times
    nearest = metrics.neighbours_of(z, 2)
    assert nearest.shape == (18, 2) and not (nearest == np.arange(18)[:, None]).any()
    assert np.array_equal(z[nearest, 0], np.repeat(z, 2, axis=1))


def test_geary_is_the_dense_formula():
    generator = np.random.default_rng(8)
    x, z = generator.normal(size=(120, 7)), generator.normal(size=(120, 3))
    nearest = metrics.neighbours_of(z, 5)
    w = np.zeros((120, 120))
    w[np.arange(120)[:, None], nearest] = 1
    apart = (x[:, None] - x[None]) ** 2                                # (n, n, g)
    expected = 119 / (2 * w.sum()) * np.einsum("ij,ijg->g", w, apart) / ((x - x.mean(0)) ** 2).sum(0)
    np.testing.assert_allclose(metrics.geary(x, nearest), expected, rtol=1e-12)


def test_geary_of_random_and_of_smooth_values():
    """Of values at random its mean is 1 and its error about sqrt(2 / (n k)); of the place itself it is near 0."""
    generator = np.random.default_rng(9)
    z = generator.normal(size=(2000, 2))
    found = metrics.geary(np.column_stack([generator.normal(size=2000), z[:, 0]]), metrics.neighbours_of(z, 10))
    assert abs(found[0] - 1) < 0.05 and found[1] < 0.05
