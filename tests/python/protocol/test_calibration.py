"""Scores of a classifier, against the same by hand."""

import numpy as np
import pytest

from latome.backend import torch
from latome.protocol.calibration import N_BINS, calls_of, scores_of


def by_hand(p, labels):
    """(accuracy, macro F1, expected calibration error over 15 bins) by loops."""
    p, labels = p[labels >= 0], labels[labels >= 0]
    called, confidence = p.argmax(1), p.max(1)
    f1 = []
    for label in sorted(set(labels) | set(called)):
        right = ((called == label) & (labels == label)).sum()
        f1.append(2 * right / ((called == label).sum() + (labels == label).sum()))
    error = 0.0
    for i in range(N_BINS):
        inside = (confidence > i / N_BINS) & (confidence <= (i + 1) / N_BINS)
        if inside.any():
            error += inside.mean() * abs((called == labels)[inside].mean() - confidence[inside].mean())
    return (called == labels).mean(), np.mean(f1), error


def summed(logits, labels, size):
    """Sums over minibatches, as training makes them."""
    sums = {}
    for start in range(0, len(logits), size):
        part = calls_of(torch.from_numpy(logits[start:start + size]), torch.from_numpy(labels[start:start + size]))
        sums = {name: value.numpy() + sums.get(name, 0) for name, value in part.items()}
    return sums


@pytest.mark.parametrize("size", [7, 400])
def test_scores(size):
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(400, 4)).astype("f4") * 2
    labels = np.where(generator.random(400) < 0.5, logits.argmax(1), generator.integers(0, 3, 400))
    labels[generator.random(400) < 0.2] = -1
    p = np.exp(logits - logits.max(1, keepdims=True))
    found = scores_of(**summed(logits, labels, size), loss=30.0)
    accuracy, f1, error = by_hand(p / p.sum(1, keepdims=True), labels)
    assert found["accuracy"] == pytest.approx(accuracy) and found["f1_score"] == pytest.approx(f1)
    assert found["calibration_error"] == pytest.approx(error, rel=1e-4)
    assert found["classification_loss"] == pytest.approx(30 / (labels >= 0).sum())


def test_by_numbers_worked_out_on_paper():
    """Four cells: three called right, with confidences 0.9, 0.9, 0.6 and, wrong, 0.6; two bins of two cells."""
    p = np.array([[0.9, 0.1], [0.1, 0.9], [0.6, 0.4], [0.6, 0.4]])
    found = scores_of(**summed(np.log(p), np.array([0, 1, 0, 1]), 4), loss=2.0)
    assert found["accuracy"] == 0.75 and found["classification_loss"] == 0.5
    assert found["f1_score"] == pytest.approx((2 * 2 / 5 + 2 * 1 / 3) / 2)          # label 0: 2 cells, 3 calls
    assert found["calibration_error"] == pytest.approx(0.5 * abs(1 - 0.9) + 0.5 * abs(0.5 - 0.6))


def test_a_label_that_neither_occurs_nor_is_called_does_not_count():
    p = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]])
    assert scores_of(**summed(np.log(p), np.array([0, 1]), 2), loss=0.0)["f1_score"] == 1


def test_nothing_labelled_has_no_scores():
    sums = summed(np.zeros((3, 2)), np.full(3, -1), 3)
    assert not sums["confusion"].any() and not sums["bins"].any()
    assert scores_of(**sums, loss=0.0) == {}


def test_certainty_falls_into_the_last_bin():
    bins = summed(np.array([[90.0, -90.0]]), np.array([0]), 1)["bins"]
    assert bins[-1].tolist() == [1, 1, 1] and not bins[:-1].any()
