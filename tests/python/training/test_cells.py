"""The cells of an epoch: limits, the last minibatch, rows of one's own, steps; and a decoder trained alone."""

import numpy as np
import pytest
from examples import SMALL, opened, options, same_weights, trained, untrained

from latome.analysis.latent import latent
from latome.backend import torch
from latome.data.minibatches import minibatch_bounds
from latome.errors import SettingError
from latome.fit import start, train
from latome.modules.scvi import ScviSettings
from latome.training.options import limited


@pytest.fixture(scope="module")
def data():
    return opened()                                    # 90 cells


def visited(data, monkeypatch, split=None, **given):
    """(trainer, [cells of each minibatch trained on], [cells of each minibatch validated on])."""
    fit = untrained(data)
    trainer = start(fit, data, options(**given), split=split)
    seen = {True: [], False: []}
    explain = type(fit.module).explain

    def record(module, cells, draw="sample"):
        seen[module.training].append(cells["index"].tolist())
        return explain(module, cells, draw)

    monkeypatch.setattr(type(fit.module), "explain", record)
    trainer.advance()
    monkeypatch.undo()
    return trainer, seen[True], seen[False]


def by_epoch(minibatches, n_epochs):
    size = len(minibatches) // n_epochs
    assert size * n_epochs == len(minibatches)
    return [minibatches[i * size:(i + 1) * size] for i in range(n_epochs)]


ROWS = [[7, 3, 11, *range(20, 60)], [0, 1, 2, 80], [89, 88]]


def test_given_rows_are_those_visited(data, monkeypatch):
    trainer, shown, checked = visited(data, monkeypatch, split=ROWS, check_val_every_n_epoch=1, batch_size=10)
    for epoch in by_epoch(shown, 4):
        assert sorted(sum(epoch, [])) == sorted(ROWS[0])
    assert checked == [ROWS[1]] * 4                    # always alike, in the order given
    assert trainer.test_rows.tolist() == ROWS[2]


LIMITS = [  # cells, minibatch, limit, cells that are left
    (100, 10, None, 100), (100, 10, 3, 30), (100, 10, 1, 10), (100, 10, 10, 100), (100, 10, 99, 100),
    (100, 10, 0.25, 20), (100, 10, 0.3, 30), (100, 10, 0.01, 10), (100, 10, 0.999, 90), (100, 10, 0, 0),
    (95, 10, 9, 90), (95, 10, 10, 95), (92, 10, 9, 92), (0, 10, 0.5, 0), (5, 10, 0.5, 5),
]


@pytest.mark.parametrize(("n", "size", "limit", "left"), LIMITS)
def test_limits(n, size, limit, left):
    assert limited(minibatch_bounds(n, size), limit) == left


@pytest.mark.parametrize(("limit", "count"), [(2, 2), (5, 5), (0.5, 4), (0.1, 1), (50, 8)])
def test_limited_minibatches_are_drawn_anew(data, monkeypatch, limit, count):
    trainer, shown, _ = visited(data, monkeypatch, limit_train_batches=limit, batch_size=10)             # 81 cells
    assert trainer.step == trainer.n_steps == 4 * count
    epochs = [sum(epoch, []) for epoch in by_epoch(shown, 4)]
    for cells in epochs:
        assert len(set(cells)) == len(cells) == (81 if count == 8 else 10 * count)
        assert set(cells) <= set(trainer.train_rows.tolist())
    assert len({tuple(cells) for cells in epochs}) == 4
    if count < 8:
        assert len(set(sum(epochs, []))) > 10 * count  # other cells, not only another order


@pytest.mark.parametrize(("limit", "count"), [(2, 2), (0.5, 2), (1, 1)])
def test_a_limited_validation_is_always_of_the_same_cells(data, monkeypatch, limit, count):
    trainer, _, checked = visited(data, monkeypatch, train_size=0.5, limit_val_batches=limit, batch_size=10,
                                  check_val_every_n_epoch=1)           # 45 to validate on: 10 10 10 10 5
    expected = trainer.validation_rows[:10 * count].tolist()
    assert [sum(epoch, []) for epoch in by_epoch(checked, 4)] == [expected] * 4


def test_no_validation_at_all(data, monkeypatch):
    trainer, _, checked = visited(data, monkeypatch, limit_val_batches=0, check_val_every_n_epoch=1)
    assert checked == [] and "elbo_validation" not in trainer.history.to_dict()


@pytest.mark.parametrize(("size", "sizes"), [(32, [32, 32]), (20, [20] * 4), (81, [81]), (40, [40, 40])])
def test_a_last_minibatch_that_is_not_full_is_dropped(data, monkeypatch, size, sizes):
    trainer, shown, _ = visited(data, monkeypatch, drop_last=True, batch_size=size)       # 81 = 2 x 32 + 17 ...
    for epoch in by_epoch(shown, 4):
        assert [len(cells) for cells in epoch] == sizes
    assert trainer.n_steps == 4 * len(sizes)
    assert len(set(sum(shown, []))) == 81              # over the epochs each cell has its turn


def test_a_minibatch_must_be_fillable(data):
    with pytest.raises(SettingError, match="81 cells to train on fill no minibatch of 82"):
        start(untrained(data), data, options(drop_last=True, batch_size=82))


# -- steps -------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("given", "steps", "epochs"), [
    ({"max_steps": 5}, 5, 2), ({"max_steps": 6}, 6, 2), ({"max_steps": 1}, 1, 1), ({"max_steps": 100}, 12, 4),
    ({"max_steps": 7, "max_epochs": None}, 7, 3), ({"max_steps": 3, "limit_train_batches": 1}, 3, 3),
])
def test_a_number_of_steps(data, monkeypatch, given, steps, epochs):
    trainer, shown, _ = visited(data, monkeypatch, **given)            # three minibatches an epoch
    assert trainer.state == "finished" and trainer.step == trainer.n_steps == len(shown) == steps
    assert trainer.epoch == trainer.n_epochs == epochs == len(trainer.history)
    assert np.isfinite(trainer.history.to_dict()["elbo_train"]).all()


def test_whole_epochs_of_steps_are_epochs(data):
    assert same_weights(trained(data, max_steps=6, max_epochs=None), trained(data, max_epochs=2))


def test_a_part_of_an_epoch_is_validated_too(data):
    history = trained(data, max_steps=4, check_val_every_n_epoch=1).history.to_dict()
    assert np.isfinite(history["elbo_validation"]).tolist() == [True, True]


# -- the decoder alone -------------------------------------------------------------------------------------------------

ENCODERS = {
    "plain": SMALL, "embedding": ScviSettings(12, 3, encode_covariates=True, batch_representation="embedding"),
    "library": ScviSettings(12, 3, gene_likelihood="nb", use_observed_lib_size=False, encode_covariates=True),
}


@pytest.mark.parametrize("name", ENCODERS)
def test_the_decoder_alone(data, name):
    fit = trained(data, ENCODERS[name])
    before = {name: value.clone() for name, value in fit.module.state_dict().items()}
    z = latent(fit.module, data)
    train(fit, data, options(update_only_decoder=True))
    after = fit.module.state_dict()
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert "decoder" in changed and not changed & set(fit.module.encoders)
    np.testing.assert_array_equal(latent(fit.module, data), z)
    assert all(p.requires_grad for p in fit.module.parameters())
    train(fit, data, options(max_epochs=1))            # and it can be trained whole again
    assert not torch.equal(before["encoder.mean.weight"], fit.module.state_dict()["encoder.mean.weight"])


def test_a_model_without_encoder_has_none_to_leave(data, monkeypatch):
    fit = untrained(data)
    monkeypatch.setattr(type(fit.module), "encoders", ())
    with pytest.raises(SettingError, match="no encoder"):
        start(fit, data, options(update_only_decoder=True))
