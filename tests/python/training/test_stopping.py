"""Early stopping: patience, the smallest improvement, and the quantity watched."""

import pytest

from latome.training.options import TrainingOptions
from latome.training.stopping import EarlyStopping

CASES = {  # losses by epoch, options, the epoch that stops (None: never)
    "falls on": ([5, 4, 3, 2, 1], {"early_stopping_patience": 2}, None),
    "stands still": ([5, 5, 5, 5, 5], {"early_stopping_patience": 2}, 2),
    "rises": ([5, 6, 7, 8], {"early_stopping_patience": 1}, 1),
    "patience begins anew": ([5, 6, 4, 6, 6], {"early_stopping_patience": 2}, 4),
    "small steps do not count": ([5, 4.9, 4.8, 4.7], {"early_stopping_patience": 3, "early_stopping_min_delta": 0.5},
                                 3),
    "small steps add up against the best": ([5, 4.7, 4.4, 4.3, 4.2],
                                            {"early_stopping_patience": 2, "early_stopping_min_delta": 0.5}, 4),
    "epochs before the warm-up do not count": ([1, 9, 9, 9, 9, 9], {"early_stopping_patience": 2,
                                                                    "early_stopping_warmup_epochs": 2}, 4),
    "epochs without validation do not count": ([5, None, 5, None, 5], {"early_stopping_patience": 2}, 4),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("monitor", ["elbo_validation", "elbo_train"])
def test_when_it_stops(name, monitor):
    losses, given, expected = CASES[name]
    stopping = EarlyStopping(TrainingOptions(early_stopping=True, early_stopping_monitor=monitor, **given))
    stopped = None
    for epoch, loss in enumerate(losses):
        row = {"elbo_other": -epoch} | ({} if loss is None else {monitor: loss})
        if stopping.update(epoch, row):
            stopped = epoch
            break
    assert stopped == expected
