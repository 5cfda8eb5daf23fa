"""Checkpoints: training that was killed goes on as if nothing had happened."""

import json

import pytest
from examples import opened, options, same_history, same_weights, small_data, trained, untrained

from latome.analysis.latent import latent
from latome.backend import torch
from latome.errors import ArchiveError, SettingError
from latome.fit import conclude, start, train
from latome.io.archive import load, read_tensors
from latome.io.checkpoint import FILE, Checkpoint, SaveModel, begin
from latome.modules.scvi import ScviSettings


@pytest.fixture(scope="module")
def data():
    return opened()


class Killed(BaseException):
    """What no code of ours catches."""


def killed_after(epochs):
    def callback(trainer):
        if trainer.epoch == epochs:
            raise Killed
    return callback


def run(fit, data, given, callbacks=(), **more):
    trainer = begin(fit, data, given, callbacks, **more)
    try:
        trainer.advance()
    except Killed:
        return None
    return conclude(fit, trainer)


CASES = {
    "plain": ({}, {}), "with early stopping": ({}, {"early_stopping": True, "early_stopping_patience": 3}),
    "over steps": ({}, {"n_epochs_kl_warmup": None, "n_steps_kl_warmup": 12}),
    "latent library": ({"use_observed_lib_size": False, "gene_likelihood": "nb"}, {}),
    "plateau": ({}, {"reduce_lr_on_plateau": True, "lr_patience": 1, "lr_threshold": 1e3}),
    "the best": ({}, {"keep_best": True, "lr": 0.05}),
    "limits": ({}, {"limit_train_batches": 2, "limit_val_batches": 0.5, "check_val_every_n_epoch": 2}),
    "everything": ({"use_observed_lib_size": False}, {
        "early_stopping": True, "early_stopping_patience": 4, "keep_best": True, "reduce_lr_on_plateau": True,
        "lr_patience": 0, "lr_threshold": 1e3, "gradient_clip_val": 0.5, "optimizer": "AdamW", "weight_decay": 0.01,
        "drop_last": True, "limit_train_batches": 2, "max_steps": 11, "n_epochs_kl_warmup": None,
        "n_steps_kl_warmup": 9}),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("killed", [2, 3, 5])
def test_going_on_equals_never_having_stopped(data, tmp_path, name, killed):
    settings, more = CASES[name]
    settings = ScviSettings(12, 3, **settings)
    given = options(max_epochs=6, checkpoint=str(tmp_path), checkpoint_every=2, **more)
    # callbacks come before the checkpoint is written: killed at 3, training goes on from 2
    assert run(untrained(data, settings), data, given, [killed_after(killed)]) is None
    if killed > 2:
        facts = json.loads(read_tensors(tmp_path / FILE)[1])
        assert facts["epoch"] == 2 * ((killed - 1) // 2)
    going_on = run(untrained(data, settings), data, given)
    whole = trained(data, settings, max_epochs=6, **more)
    assert same_weights(going_on, whole) and same_history(going_on, whole)
    assert going_on.training["stopped"] == whole.training["stopped"]
    assert going_on.training["epochs"] == whole.training["epochs"] > 3


def test_a_second_death_too(data, tmp_path):
    given = options(max_epochs=6, checkpoint=str(tmp_path), checkpoint_every=1)
    for epoch in (2, 4, 5):
        assert run(untrained(data), data, given, [killed_after(epoch)]) is None
    assert same_weights(run(untrained(data), data, given), trained(data, max_epochs=6))


def test_a_finished_training_is_not_repeated_and_may_be_prolonged(data, tmp_path):
    given = {"checkpoint": str(tmp_path), "checkpoint_every": 2}
    first = run(untrained(data), data, options(**given))
    trainer = begin(untrained(data), data, options(**given))
    assert trainer.advance().state == "finished" and trainer.step == 12 and len(trainer.history) == 4
    longer = run(untrained(data), data, options(max_epochs=6, **given))
    assert same_weights(longer, trained(data, max_epochs=6)) and not same_weights(first, longer)


def test_a_model_trained_before_goes_on_too(data, tmp_path):
    given = options(max_epochs=4, checkpoint=str(tmp_path), checkpoint_every=1)
    assert run(trained(data, max_epochs=2), data, given, [killed_after(4)]) is None
    going_on = run(trained(data, max_epochs=2), data, given)
    whole = train(trained(data, max_epochs=2), data, options(max_epochs=4))
    assert same_weights(going_on, whole) and going_on.history.to_dict()["epoch"].tolist() == list(range(6))


def test_a_slow_driver_and_a_checkpoint_agree(data, tmp_path):
    fit = untrained(data)
    trainer = begin(fit, data, options(checkpoint=str(tmp_path), checkpoint_every=1))
    while trainer.advance(0.0).state == "running":
        pass
    assert same_weights(fit, trained(data))


def momentum(parameters):
    return torch.optim.SGD(parameters, lr=1e-3, momentum=0.9)


def test_rows_and_an_optimiser_of_ones_own_go_on_too(data, tmp_path):
    rows = [[*range(3, 70)], [*range(70, 90)], [0, 1, 2]]
    more = {"split": rows, "optimizer": momentum}
    schedule = {"reduce_lr_on_plateau": True, "lr_patience": 0, "lr_threshold": 1e6, "max_epochs": 6}
    given = options(checkpoint=str(tmp_path), checkpoint_every=1, **schedule)
    assert run(untrained(data), data, given, [killed_after(4)], **more) is None
    going_on = run(untrained(data), data, given, **more)
    whole = train(untrained(data), data, options(**schedule), **more)
    assert same_weights(going_on, whole) and same_history(going_on, whole)
    assert whole.history.to_dict()["lr"].tolist() == pytest.approx([1e-3 * 0.6 ** max(0, i - 1) for i in range(6)])


OTHERS = {
    "another seed": lambda data, given: begin(untrained(data, seed=1), data, given()),
    "other settings": lambda data, given: begin(untrained(data, ScviSettings(12, 4)), data, given()),
    "other options": lambda data, given: begin(untrained(data), data, given(lr=1e-3)),
    "another split": lambda data, given: begin(untrained(data), data, given(train_size=0.8)),
    "other rows": lambda data, given: begin(untrained(data), data, given(), split=[range(81), range(81, 90)]),
    "another optimiser": lambda data, given: begin(untrained(data), data, given(), optimizer=momentum),
    "other counts": lambda data, given: again(small_data(seed=2), given),
    "fewer cells": lambda data, given: again(small_data()[:80].copy(), given),
    "other genes": lambda data, given: again(small_data()[:, :25].copy(), given),
}


def again(adata, given):
    data = opened(adata)
    return begin(untrained(data), data, given())


@pytest.mark.parametrize("name", OTHERS)
def test_the_checkpoint_of_other_training_is_refused(data, tmp_path, name):
    def given(**more):
        return options(checkpoint=str(tmp_path), **more)

    run(untrained(data), data, given())
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(ArchiveError, match="checkpoint of other training") as caught:
        OTHERS[name](data, given)
    assert caught.value.hint == "Name an empty folder."
    assert (tmp_path / FILE).read_bytes() == before


def test_a_damaged_checkpoint_is_told(data, tmp_path):
    given = options(checkpoint=str(tmp_path))
    run(untrained(data), data, given)
    (tmp_path / FILE).write_bytes((tmp_path / FILE).read_bytes()[:100])
    with pytest.raises(ArchiveError, match="is damaged"):
        begin(untrained(data), data, given)


def test_a_crash_while_writing_leaves_the_old_checkpoint(data, tmp_path, monkeypatch):
    fit = untrained(data)
    trainer = start(fit, data, options())
    checkpoint = Checkpoint(fit, tmp_path / "new" / "folder", every=1)
    trainer.callbacks.append(checkpoint)
    while trainer.epoch < 1:
        trainer.advance(0.0)
    before = checkpoint.path.read_bytes()

    def crashing(*arguments):
        raise OSError("no space left")

    monkeypatch.setattr("latome.io.archive.os.replace", crashing)
    with pytest.raises(ArchiveError, match="could not be written into .*no space left"):
        checkpoint.write(trainer)
    assert checkpoint.path.read_bytes() == before
    assert [path.name for path in checkpoint.path.parent.iterdir()] == [FILE]


def test_a_folder_that_cannot_be(data, tmp_path):
    (tmp_path / "file").write_text("text")
    with pytest.raises(ArchiveError, match="could not be written"):
        begin(untrained(data), data, options(checkpoint=str(tmp_path / "file" / "below")))


def test_nothing_is_written_without_a_folder(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(untrained(data), data, options())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("killed", [2, 3])
def test_patience_goes_on_where_it_was(data, tmp_path, killed):
    """The checkpoint of an epoch holds what early stopping made of that epoch."""
    stopping = {"max_epochs": 12, "early_stopping": True, "early_stopping_patience": 3,
                "early_stopping_min_delta": 1e3}
    whole = trained(data, **stopping)
    given = options(checkpoint=str(tmp_path), checkpoint_every=1, **stopping)
    assert run(untrained(data), data, given, [killed_after(killed)]) is None
    for _ in range(2):                                 # the second finds a training that has stopped
        going_on = run(untrained(data), data, given)
        assert (going_on.training["stopped"], len(going_on.history)) == ("early", len(whole.history))
        assert same_weights(going_on, whole)


def test_training_again_in_the_same_folder_goes_on(data, tmp_path):
    given = options(max_epochs=3, checkpoint=str(tmp_path))
    fit = untrained(data)
    run(fit, data, given)
    assert len(run(fit, data, given).history) == 6
    whole = untrained(data)
    for _ in range(2):
        train(whole, data, options(max_epochs=3))
    assert same_weights(fit, whole) and same_history(fit, whole)
    with pytest.raises(ArchiveError, match="other training"):          # this one began after three epochs
        begin(untrained(data), data, given)


# -- models saved on the way -------------------------------------------------------------------------------------------

def test_a_model_is_saved_every_so_many_epochs(data, tmp_path):
    fit = untrained(data)
    train(fit, data, options(max_epochs=5), callbacks=[SaveModel(fit, tmp_path / "course", every=2)])
    assert sorted(path.name for path in (tmp_path / "course").iterdir()) == ["epoch-2", "epoch-4"]
    for epochs in (2, 4):
        saved = load(tmp_path / "course" / f"epoch-{epochs}")
        expected = trained(data, max_epochs=epochs)
        assert same_weights(saved, expected) and same_history(saved, expected) and saved.trained
        assert (latent(saved.module, data) == latent(expected.module, data)).all()
    assert fit.training["stopped"] == "finished" and same_weights(fit, trained(data, max_epochs=5))
    train(fit, data, options(max_epochs=1), callbacks=[SaveModel(fit, tmp_path / "course", every=2)])
    assert len(load(tmp_path / "course" / "epoch-6").history) == 6


@pytest.mark.parametrize("every", [0, -1, 1.5, "often"])
def test_how_often_a_model_is_saved(every):
    with pytest.raises(SettingError, match="every"):
        SaveModel(None, "folder", every=every)


def test_a_model_that_cannot_be_saved_is_not_lost(data, tmp_path):
    (tmp_path / "file").write_text("text")
    fit = untrained(data)
    with pytest.raises(ArchiveError):
        train(fit, data, options(), callbacks=[SaveModel(fit, tmp_path / "file", every=2)])
    assert same_weights(fit, trained(data, max_epochs=2)) and fit.training["stopped"] == "interrupted"


def test_a_finished_training_keeps_its_best(data, tmp_path):
    """Taken up again it is finished, and gives the best weights once more."""
    given = {"lr": 0.3, "max_epochs": 12, "keep_best": True}
    first = run(untrained(data), data, options(checkpoint=str(tmp_path), **given))
    again = run(untrained(data), data, options(checkpoint=str(tmp_path), **given))
    assert same_weights(first, again) and first.training["best_epoch"] == again.training["best_epoch"] < 11
