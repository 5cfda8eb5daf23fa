"""Labels predicted with probabilities, against the true ones: measures, and a figure of how far to trust them."""

import numpy as np
from metrics import calibration_error, macro_f1, reliability
from sides import seed_curves

__all__ = ["LOWER", "MEASURES", "judge_labels", "likeliest", "measure_labels", "reliability_panel"]

BINS = 15
MEASURES = {"accuracy": "share of the cells whose likeliest label is theirs",
            "macro F1": "mean over the labels of the harmonic mean of precision and recall",
            "calibration error": f"{BINS} equal bins of the likeliest label's probability"}
LOWER = ("calibration error",)                         # of these lower is better
LEAST = 0.001                                          # share of the cells that a point of the figure stands for


def likeliest(table):
    """(labels (n,), their probabilities (n,)) of a data frame cells x labels."""
    p = table.to_numpy(dtype=np.float64)
    return np.array([*map(str, table.columns)])[p.argmax(1)], p.max(1)


def measure_labels(table, truth):
    """{name: value} of a data frame of probabilities, cells x labels, and the true labels (n,)."""
    predicted, sure = likeliest(table)
    right = predicted == truth
    return dict(zip(MEASURES, (float(right.mean()), macro_f1(truth, predicted), calibration_error(sure, right, BINS)),
                    strict=True))


def judge_labels(table, truth):
    """{"metrics": as above, "curve": share that are right against the probability, by bin}."""
    predicted, sure = likeliest(table)
    share, sure, right = (part.round(4) for part in reliability(sure, predicted == truth, BINS))
    there = share > LEAST
    return {"metrics": measure_labels(table, truth),
            "curve": {"share": share[there].tolist(), "confidence": sure[there].tolist(),
                      "right": right[there].tolist()}}


def reliability_panel(title, runs):
    """A panel of workers/curves.py from what `judge_labels` found, each side and seed a line."""
    lines = seed_curves(runs, "confidence", "right", marker="o", markersize=3)
    lines.append({"name": "calibrated", "x": [0, 1], "y": [0, 1], "color": "grey", "linestyle": ":"})
    return {"title": title, "x": "probability of the likeliest label", "y": "share that are right", "curves": lines}
