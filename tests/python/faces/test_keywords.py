"""The compatibility table: keywords of a script are mapped, ignored with a warning, or refused with a way out."""

import dataclasses
import warnings

import pytest

from latome.backend import torch
from latome.errors import SettingError
from latome.faces import keywords as table
from latome.faces.keywords import training_request
from latome.training.options import TrainingOptions


def creator(parameters):
    return torch.optim.SGD(parameters, lr=0.1)


@dataclasses.dataclass
class Config:
    """What a script may give for plan_config."""

    lr: float = 0.01
    optimizer: str = "AdamW"


MAPPED = [  # keywords of train(), options of ours
    ({}, {}), ({"max_epochs": 7, "batch_size": 64}, {"max_epochs": 7, "batch_size": 64}),
    ({"max_epochs": None, "train_size": None}, {}), ({"early_stopping": True, "early_stopping_patience": 3},
                                                     {"early_stopping": True, "early_stopping_patience": 3}),
    ({"plan_kwargs": {"lr": 1e-2, "n_epochs_kl_warmup": None, "n_steps_kl_warmup": 100, "weight_decay": 0}},
     {"lr": 1e-2, "n_epochs_kl_warmup": None, "n_steps_kl_warmup": 100, "weight_decay": 0.0}),
    ({"check_val_every_n_epoch": 5}, {"check_val_every_n_epoch": 5}), ({"plan_kwargs": None}, {}),
    ({"plan_kwargs": {"reduce_lr_on_plateau": True, "lr_factor": 0.5, "lr_patience": 4, "lr_threshold": 0.1,
                      "lr_min": 1e-5, "lr_scheduler_metric": "kl_local_validation"}},
     {"reduce_lr_on_plateau": True, "lr_factor": 0.5, "lr_patience": 4, "lr_threshold": 0.1, "lr_min": 1e-5,
      "lr_scheduler_metric": "kl_local_validation"}),
    ({"plan_kwargs": {"optimizer": "AdamW", "eps": 1e-8, "update_only_decoder": True, "min_kl_weight": 0.1,
                      "max_kl_weight": 0.5}},
     {"optimizer": "AdamW", "eps": 1e-8, "update_only_decoder": True, "min_kl_weight": 0.1, "max_kl_weight": 0.5}),
    ({"gradient_clip_val": 10, "gradient_clip_algorithm": "value"},
     {"gradient_clip_val": 10.0, "gradient_clip_algorithm": "value"}),
    ({"gradient_clip_val": 0}, {}), ({"max_steps": 100}, {"max_steps": 100}), ({"max_steps": -1}, {}),
    # a whole number and a number with a point mean different things there
    ({"limit_train_batches": 1}, {"limit_train_batches": 1.0}), ({"limit_train_batches": 1.0}, {}),
    ({"limit_train_batches": 0.5, "limit_val_batches": 3}, {"limit_train_batches": 0.5, "limit_val_batches": 3.0}),
    ({"limit_val_batches": 0}, {"limit_val_batches": 0.0}), ({"limit_val_batches": 0.0}, {"limit_val_batches": 0.0}),
    ({"datasplitter_kwargs": {"drop_last": True}}, {"drop_last": True}),
    ({"datasplitter_kwargs": {"drop_last": None, "external_indexing": None}}, {}),
    ({"datasplitter_kwargs": {"shuffle_set_split": False}, "shuffle_set_split": True}, {"shuffle_set_split": False}),
    ({"keep_best": True, "checkpoint": "folder", "checkpoint_every": 3},
     {"keep_best": True, "checkpoint": "folder", "checkpoint_every": 3}),
]


def quietly(keywords):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return training_request(keywords)


@pytest.mark.parametrize(("keywords", "expected"), MAPPED)
def test_mapped(keywords, expected):
    found = quietly(keywords)
    assert found.options.to_json() == TrainingOptions().to_json() | expected
    assert found.extras == {"callbacks": [], "split": None, "optimizer": None} and found.progress


DEVICES = [  # keywords, device
    ({"accelerator": "cpu", "devices": 1}, "cpu"), ({"accelerator": "gpu"}, "cuda"),
    ({"accelerator": "gpu", "devices": 1}, "cuda:0"), ({"accelerator": "cuda", "devices": [2]}, "cuda:2"),
    ({"accelerator": "gpu", "devices": "1,"}, "cuda:1"), ({"accelerator": "gpu", "devices": "1"}, "cuda:0"),
    ({"accelerator": "gpu", "devices": -1}, "cuda"), ({"accelerator": "gpu", "devices": "auto"}, "cuda"),
    ({"accelerator": "gpu", "devices": "-1"}, "cuda"), ({"accelerator": "gpu", "devices": (3,)}, "cuda:3"),
    ({"accelerator": "mps", "devices": 1}, "mps"), ({"devices": "auto"}, "auto"), ({"devices": 1}, "auto"),
    ({"accelerator": "cuda:1"}, "cuda:1"), ({"accelerator": "auto", "devices": [0]}, "auto"),
    ({"use_gpu": False}, "cpu"), ({"use_gpu": True}, "cuda"), ({"use_gpu": 1}, "cuda:1"), ({"use_gpu": None}, "auto"),
    ({"use_gpu": "cuda:2"}, "cuda:2"),
]


@pytest.mark.parametrize(("keywords", "device"), DEVICES)
def test_devices(keywords, device):
    assert quietly(keywords).options.device == device


def test_a_numbered_device_is_taken_where_there_are_any(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert quietly({"devices": [1]}).options.device == "cuda:1"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert quietly({"devices": [1]}).options.device == "auto"


@pytest.mark.parametrize("devices", [2, [0, 1], "0,1"])
def test_of_several_devices_the_first_is_used(devices):
    with pytest.warns(UserWarning, match="Training uses one device"):
        assert training_request({"accelerator": "gpu", "devices": devices}).options.device == "cuda:0"


@pytest.mark.parametrize("devices", [[], (), 0, -2, True, 1.5, [True], ["a"], [-1], "two", "", ",", {}, [0.5]])
@pytest.mark.parametrize("accelerator", ["auto", "gpu", "cpu"])
def test_devices_that_are_none(devices, accelerator):
    with pytest.raises(SettingError, match="`devices` cannot be") as caught:
        training_request({"accelerator": accelerator, "devices": devices})
    assert caught.value.field == "devices" and "'auto'" in caught.value.hint


@pytest.mark.parametrize("accelerator", [3, ["gpu"], True])
def test_accelerators_that_are_none(accelerator):
    with pytest.raises(SettingError, match="`accelerator` cannot be"):
        training_request({"accelerator": accelerator})


# -- what goes to the trainer itself -----------------------------------------------------------------------------------

def test_callbacks_rows_and_an_optimiser():
    rows = [[0, 1, 2], [3], []]
    found = quietly({"callbacks": [print], "datasplitter_kwargs": {"external_indexing": rows},
                     "plan_kwargs": {"optimizer": "Custom", "optimizer_creator": creator}})
    assert found.extras == {"callbacks": [print], "split": rows, "optimizer": creator}
    assert found.options == TrainingOptions()
    assert quietly({"callbacks": print}).extras["callbacks"] == [print]
    assert quietly({"callbacks": (print,)}).extras["callbacks"] == [print]


def test_no_progress():
    assert not quietly({"enable_progress_bar": False}).progress and quietly({"enable_progress_bar": True}).progress
    with pytest.raises(SettingError, match="enable_progress_bar"):
        training_request({"enable_progress_bar": "no"})


@pytest.mark.parametrize(("keywords", "expected"), [
    ({"plan_config": {"lr": 0.1, "eps": 0.5}, "plan_kwargs": {"lr": 0.2}}, {"lr": 0.2, "eps": 0.5}),
    ({"plan_config": Config()}, {"lr": 0.01, "optimizer": "AdamW"}),
    ({"plan_config": Config(), "plan_kwargs": {"optimizer": "Adam"}}, {"lr": 0.01}),
    ({"trainer_config": {"gradient_clip_val": 1.0, "max_epochs": 3}, "max_epochs": 5},
     {"gradient_clip_val": 1.0, "max_epochs": 5}),
    # train() hands on its own defaults: they are nobody's wish
    ({"trainer_config": {"early_stopping": True, "batch_size": 64, "max_epochs": 3}, "early_stopping": False,
      "batch_size": 128, "max_epochs": None}, {"early_stopping": True, "batch_size": 64, "max_epochs": 3}),
    ({"trainer_config": {"batch_size": 64}, "batch_size": 32}, {"batch_size": 32}),
])
def test_configurations_yield_to_keywords(keywords, expected):
    assert quietly(keywords).options == TrainingOptions(**expected)


def test_what_is_given_is_left_as_it_was():
    plan, splitter = {"optimizer": "Custom", "optimizer_creator": creator}, {"external_indexing": [[0, 1, 2]]}
    given = {"plan_kwargs": plan, "datasplitter_kwargs": splitter, "trainer_config": {"max_epochs": 3}}
    before = {name: dict(value) for name, value in given.items()}
    training_request(given)
    assert given == before


# -- ignored and refused -----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", sorted(table.IGNORED))
@pytest.mark.parametrize("where", [None, "plan_kwargs", "datasplitter_kwargs", "trainer_config"])
def test_ignored_with_a_warning(name, where):
    keywords = {name: True} if where is None else {where: {name: True}}
    with pytest.warns(UserWarning, match=f"`{name}` changes nothing here and is ignored") as caught:
        assert training_request(keywords).options == TrainingOptions()
    assert len(caught) == 1


REFUSED = [
    ({"max_epoch": 3}, r"train\(\) has no argument `max_epoch`", "Did you mean `max_epochs`"),
    ({"lr": 1e-3}, r"train\(\) has no argument `lr`", "It belongs into plan_kwargs"),
    ({"drop_last": True}, r"train\(\) has no argument `drop_last`", "It belongs into datasplitter_kwargs"),
    ({"plan_kwargs": {"max_epochs": 1}}, "plan_kwargs has no argument `max_epochs`", "It belongs into train()"),
    ({"plan_kwargs": {"learning_rate": 1}}, "plan_kwargs has no argument `learning_rate`", "known: eps, lr"),
    ({"plan_kwargs": {"n_epochs_kl_warm": 1}}, "plan_kwargs has no", "Did you mean `n_epochs_kl_warmup`"),
    ({"plan_kwargs": [("lr", 1)]}, "`plan_kwargs` must be a dict", "plan_kwargs={"),
    ({"plan_kwargs": "lr"}, "`plan_kwargs` must be a dict", ""), ({"plan_config": Config}, "`plan_config` must be", ""),
    ({"datasplitter_kwargs": [1]}, "`datasplitter_kwargs` must be a dict", ""),
    ({"trainer_config": 3}, "`trainer_config` must be a dict", ""), ({"plan_kwargs": {1: 2}}, "dict of keywords", ""),
    ({"batch_size": 1}, "`batch_size` cannot be 1", "at least 3"), ({"plan_kwargs": {"lr": -1}}, "`lr` cannot be", ""),
    ({"plan_kwargs": {"optimizer": "SGD"}}, "`optimizer` cannot be 'SGD'", "Adam"),
    ({"plan_kwargs": {"optimizer": "Custom"}}, "needs optimizer_creator", "lambda"),
    ({"plan_kwargs": {"optimizer": "Custom", "optimizer_creator": 3}}, "needs optimizer_creator", "lambda"),
    ({"plan_kwargs": {"optimizer_creator": creator}}, "optimizer_creator is given, but not", "optimizer='Custom'"),
    ({"datamodule": object()}, "`datamodule` = .* is not supported", "from an AnnData"),
    ({"accumulate_grad_batches": 4}, "`accumulate_grad_batches` = 4", "batch_size"),
    ({"fast_dev_run": True}, "`fast_dev_run` = True", "max_epochs=1"),
    ({"val_check_interval": 0.5}, "`val_check_interval`", "check_val_every_n_epoch"),
    ({"max_time": "00:01:00"}, "`max_time`", "callback"), ({"min_epochs": 20}, "`min_epochs` = 20", "warmup_epochs"),
    ({"limit_train_batches": 1.5}, "`limit_train_batches` cannot be 1.5", "whole number"),
    ({"limit_train_batches": -1}, "`limit_train_batches` cannot be", ""),
    ({"limit_train_batches": 0}, "cannot be 0.0", "greater than 0"),
    ({"max_epochs": -1}, "`max_epochs` cannot be -1", "at least 1"),
]


@pytest.mark.parametrize(("keywords", "problem", "hint"), REFUSED)
def test_refused(keywords, problem, hint):
    with pytest.raises(SettingError, match=problem) as caught:
        training_request(keywords)
    assert hint in caught.value.hint and caught.value.hint


@pytest.mark.parametrize("keywords", [
    {"accumulate_grad_batches": 1, "fast_dev_run": False, "overfit_batches": 0.0, "val_check_interval": 1.0,
     "min_epochs": 1, "barebones": False, "datamodule": None, "max_time": None, "logger": None, "ckpt_path": None}])
def test_what_asks_for_nothing_passes(keywords):
    assert quietly(keywords).options == TrainingOptions()


def test_a_preset_holds_where_nothing_else_is_said():
    call = {"accelerator": "cpu", "batch_size": 128, "early_stopping": False, "max_epochs": None}  # defaults of train()
    assert quietly({**call, "preset": "fast"}).options == TrainingOptions.make(preset="fast", device="cpu")
    assert quietly({**call, "preset": "fast", "max_epochs": 7, "plan_kwargs": {"lr": 1e-3}}).options == \
        TrainingOptions.make(preset="fast", device="cpu", max_epochs=7, lr=1e-3)


def test_each_keyword_has_one_fate():
    fates = [table.SAME, table.PLAN, table.SPLITTER, table.IGNORED, set(table.INSTEAD)]
    assert len(set().union(*fates)) == sum(map(len, fates))
    known = {field.name for field in dataclasses.fields(TrainingOptions)}
    assert table.SAME | table.PLAN | table.SPLITTER | {"device", "threads"} == known | {"preset"}
    assert all(advice.endswith(".") for _, advice in table.INSTEAD.values())
