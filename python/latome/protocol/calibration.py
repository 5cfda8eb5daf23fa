"""How well a classifier does, from what its minibatches add up: accuracy, F1 and calibration."""

import numpy as np

from latome.backend import torch

__all__ = ["calls_of", "scores_of"]

N_BINS = 15                                            # of confidence, equally wide


@torch.no_grad()
def calls_of(logits, labels):
    """{"confusion", "bins"}: what a minibatch adds, float32 on its device.

    confusion : (labels, labels) numbers of cells, by label and by the label called.
    bins : (15, 3) by the probability of the label called: cells, their probabilities, and how many were called right.

    Arguments
    ---------
    logits : (m, labels).
    labels : (m,) codes, -1 where there is none; such cells do not count.
    """
    n = logits.shape[1]
    confidence, called = logits.softmax(-1).max(-1)
    known = (labels >= 0).to(logits.dtype)
    confusion = logits.new_zeros(n * n).index_add_(0, labels.clamp_min(0) * n + called, known)
    bins = (confidence * N_BINS).ceil_().long().sub_(1).clamp_(0, N_BINS - 1)               # (low, high]
    parts = torch.stack([known, known * confidence, known * (called == labels)], 1)
    return {"confusion": confusion.view(n, n), "bins": logits.new_zeros(N_BINS, 3).index_add_(0, bins, parts)}


def scores_of(confusion, bins, loss):
    """Scores of a classifier from sums over minibatches; {} where no cell was labelled.

        accuracy            share of the labelled cells that are called right
        f1_score            mean over the labels that occur of 2 right / (cells of the label + cells called so)
        calibration_error   sum over bins of confidence of |share called right - mean confidence| x share of the cells
        classification_loss mean of -log p(label), in nats

    Arguments
    ---------
    confusion, bins : as `calls_of` gives them.
    loss : sum of the cells' -log p(label).
    """
    n = confusion.sum()
    if n == 0:
        return {}
    right, size = np.diag(confusion), confusion.sum(0) + confusion.sum(1)
    return {"classification_loss": float(loss / n), "accuracy": float(right.sum() / n),
            "f1_score": float((2 * right[size > 0] / size[size > 0]).mean()),
            "calibration_error": float(np.abs(bins[:, 2] - bins[:, 1]).sum() / n)}
