"""Options of training: defaults of the reference text, bounds, and what does not go together."""

import pytest

from latome.errors import SettingError
from latome.training.options import PRESETS, TrainingOptions, default_epochs


def test_defaults_are_those_of_the_reference_text():
    found = TrainingOptions().to_json()
    expected = {"max_epochs": None, "batch_size": 128, "train_size": None, "validation_size": None,
                "shuffle_set_split": True, "early_stopping": False, "early_stopping_monitor": "elbo_validation",
                "early_stopping_patience": 45, "early_stopping_min_delta": 0.0, "check_val_every_n_epoch": None,
                "lr": 1e-3, "weight_decay": 1e-6, "eps": 0.01, "n_epochs_kl_warmup": 400, "n_steps_kl_warmup": None,
                "min_kl_weight": 0.0, "max_kl_weight": 1.0, "device": "auto", "threads": None, "optimizer": "Adam",
                "reduce_lr_on_plateau": False, "lr_factor": 0.6, "lr_patience": 30, "lr_threshold": 0.0,
                "lr_scheduler_metric": "elbo_validation", "lr_min": 0.0, "gradient_clip_val": None,
                "gradient_clip_algorithm": "norm", "drop_last": False, "limit_train_batches": None,
                "limit_val_batches": None, "max_steps": None, "update_only_decoder": False, "keep_best": False}
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize(("n", "epochs"), [
    (1, 400), (20000, 400), (20001, 400), (40000, 200), (80000, 100), (8_000_000, 1), (50_000_000, 1), (33333, 240)])
def test_epochs_by_default(n, epochs):
    assert default_epochs(n) == epochs


@pytest.mark.parametrize(("given", "problem"), [
    ({"max_epochs": 0}, "cannot be 0"), ({"batch_size": 2}, "cannot be 2"), ({"train_size": 0}, "cannot be 0.0"),
    ({"train_size": 1.2}, "cannot be 1.2"), ({"validation_size": 1}, "cannot be 1.0"), ({"lr": 0}, "cannot be 0.0"),
    ({"lr": -1}, "cannot be -1.0"), ({"threads": 0}, "cannot be 0"), ({"early_stopping": "yes"}, "TRUE or FALSE"),
    ({"train_size": 0.8, "validation_size": 0.3}, "more than the whole"),
    ({"min_kl_weight": 2}, "exceeds max_kl_weight"), ({"early_stopping_monitor": "loss"}, "cannot be 'loss'"),
    ({"max_epoch": 3}, "no setting 'max_epoch'"), ({"checkpoint_every": 0}, "cannot be 0"),
    ({"lr_factor": 1}, "cannot be 1.0"), ({"lr_patience": -1}, "cannot be -1"), ({"lr_min": -1}, "cannot be -1.0"),
    ({"lr_scheduler_metric": "elbo_train"}, "cannot be 'elbo_train'"), ({"optimizer": "SGD"}, "cannot be 'SGD'"),
    ({"gradient_clip_val": 0}, "cannot be 0.0"), ({"gradient_clip_algorithm": "both"}, "cannot be 'both'"),
    ({"limit_train_batches": 0}, "cannot be 0.0"), ({"limit_train_batches": 2.5}, "cannot be 2.5"),
    ({"limit_val_batches": -1}, "cannot be -1.0"), ({"limit_val_batches": 1.5}, "cannot be 1.5"),
    ({"lr_schedule": "cosine"}, "cannot be 'cosine'"),
    ({"lr_schedule": "cycle", "reduce_lr_on_plateau": True}, "would lower it"),
    ({"max_steps": 0}, "cannot be 0"), ({"keep_best": 1}, "TRUE or FALSE"),
])
def test_refused(given, problem):
    with pytest.raises(SettingError, match=problem) as caught:
        TrainingOptions.make(**given)
    assert caught.value.field in {*given, "validation_size"}


@pytest.mark.parametrize(("given", "every"), [
    ({}, None), ({"early_stopping": True}, 1), ({"check_val_every_n_epoch": 5}, 5),
    ({"early_stopping": True, "check_val_every_n_epoch": 5}, 5),
    ({"early_stopping": True, "early_stopping_monitor": "elbo_train"}, None), ({"reduce_lr_on_plateau": True}, 1),
    ({"reduce_lr_on_plateau": True, "check_val_every_n_epoch": 3}, 3), ({"keep_best": True}, 1),
    ({"keep_best": True, "early_stopping_monitor": "elbo_train"}, None),
])
def test_when_to_validate(given, every):
    assert TrainingOptions(**given).validate_every == every


def test_a_preset_yields_to_what_is_said():
    fast = TrainingOptions.make(preset="fast").to_json()
    assert {name: fast[name] for name in PRESETS["fast"]} == PRESETS["fast"]
    assert TrainingOptions.make(preset="fast", lr=1e-3, max_epochs=9).lr == 1e-3
    assert TrainingOptions.make(preset=None) == TrainingOptions.make() == TrainingOptions()
    with pytest.raises(SettingError, match="cannot be 'quick'"):
        TrainingOptions.make(preset="quick")


def test_a_preset_is_whole_by_itself():
    """The weight of the KL divergence reaches its end within the steps, and nothing stops a cycle early."""
    for preset in PRESETS.values():
        made = TrainingOptions.make(**preset)
        assert made.n_epochs_kl_warmup is None and made.n_steps_kl_warmup < made.max_steps
        assert not (made.early_stopping and made.lr_schedule != "constant")
