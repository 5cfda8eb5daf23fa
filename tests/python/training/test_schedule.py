"""The weight of the KL divergence over epochs or steps."""

import pytest

from latome.training.options import TrainingOptions
from latome.training.schedule import kl_weight

CASES = [  # options, (epoch, step), weight
    ({}, (0, 0), 0.0), ({}, (100, 7), 0.25), ({}, (400, 0), 1.0), ({}, (900, 0), 1.0),
    ({"n_epochs_kl_warmup": 4}, (1, 999), 0.25), ({"n_epochs_kl_warmup": 4}, (3, 0), 0.75),
    ({"n_epochs_kl_warmup": None, "n_steps_kl_warmup": 10}, (999, 5), 0.5),
    ({"n_epochs_kl_warmup": None, "n_steps_kl_warmup": 10}, (0, 25), 1.0),
    ({"n_epochs_kl_warmup": 4, "n_steps_kl_warmup": 10}, (1, 10), 0.25),                # epochs go first
    ({"n_epochs_kl_warmup": None}, (0, 0), 1.0), ({"n_epochs_kl_warmup": None, "max_kl_weight": 0.3}, (0, 0), 0.3),
    ({"n_epochs_kl_warmup": 10, "min_kl_weight": 0.2, "max_kl_weight": 0.6}, (0, 0), 0.2),
    ({"n_epochs_kl_warmup": 10, "min_kl_weight": 0.2, "max_kl_weight": 0.6}, (5, 0), 0.4),
    ({"n_epochs_kl_warmup": 10, "min_kl_weight": 0.2, "max_kl_weight": 0.6}, (10, 0), 0.6),
]


@pytest.mark.parametrize(("given", "when", "weight"), CASES)
def test_weight(given, when, weight):
    assert kl_weight(TrainingOptions(**given), *when) == pytest.approx(weight, abs=1e-12)
