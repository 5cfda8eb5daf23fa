"""Several processes that train one model: as one process at their common batch size would."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from examples import opened, options, untrained
from ranked import CASES

import latome
from latome.backend import torch
from latome.errors import TrainingError
from latome.fit import start
from latome.io import archive
from latome.training.cells import TrainingCells
from latome.training.ranks import Ranks, joined
from latome.training.shared_norm import shared_norms

HERE = Path(__file__).parent
ROOT = Path(latome.__file__).resolve().parents[1]
PATIENCE = 240


def started(n, folder, *cases, **more):
    """[process] of n ranks that run cases of ranked.py; `more` are options of training."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    paths = os.pathsep.join([str(ROOT), str(HERE.parent), str(HERE)])
    shared = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1",
              "MASTER_PORT": str(port), "WORLD_SIZE": str(n), "OPTIONS": json.dumps(more)}
    return [subprocess.Popen([sys.executable, str(HERE / "ranked.py"), str(folder), *cases], text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(n)]


def ended(processes):
    """[(status, what was said on stderr)] of processes, once they have ended."""
    try:
        return [(process.wait(PATIENCE), process.stderr.read()) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def run(n, folder, *cases, **more):
    """The folder in which n ranks have left what they had."""
    for status, said in ended(started(n, folder, *cases, **more)):
        assert status == 0, said
    return folder


class Result:
    """What a rank has left of a case."""

    def __init__(self, folder, case, rank=0):
        folder = folder / case.replace(" ", "-")
        self.facts = json.loads((folder / f"history-{rank}.json").read_text())
        self.fit = archive.load(folder / f"model-{rank}")
        self.weights = {name: value.numpy() for name, value in self.fit.module.state_dict().items()}
        self.latent = np.array(json.loads((folder / f"latent-{rank}.json").read_text()))
        self.told = sorted(path.name for path in folder.glob(f"told-{rank}-*"))

    def column(self, name):
        """(epochs,) of the history."""
        return np.array([np.nan if value is None else value for value in self.facts["history"][name]])

    def same(self, other):
        """Whether two have the same weights and history, bit for bit."""
        weights = all(np.array_equal(value, other.weights[name]) for name, value in self.weights.items())
        return weights and self.facts["history"] == other.facts["history"]


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """{number of processes: folder} of all cases."""
    return {n: run(n, tmp_path_factory.mktemp(f"of-{n}"), *CASES) for n in (1, 2)}


@pytest.mark.parametrize("case", CASES)
def test_two_processes_equal_one_at_twice_the_batch(case, compared):
    one, two = Result(compared[1], case), [Result(compared[2], case, rank) for rank in range(2)]
    for rank in two:
        assert rank.weights.keys() == one.weights.keys() and rank.same(two[0]) and rank.facts == two[0].facts
        for name, value in one.weights.items():
            np.testing.assert_allclose(rank.weights[name], value, rtol=2e-4, atol=2e-4, err_msg=name)
        for name in ("stopped", "steps", "lr"):
            assert rank.facts[name] == one.facts[name]
        np.testing.assert_allclose(rank.latent, one.latent, rtol=1e-3, atol=1e-4)
    assert two[0].facts["facts"] == {**one.facts["facts"], "ranks": 2}
    assert two[0].facts["history"].keys() == one.facts["history"].keys()
    for name in two[0].facts["history"]:
        np.testing.assert_allclose(two[0].column(name), one.column(name), rtol=1e-4, atol=1e-4, err_msg=name)
    assert two[0].told and not two[1].told             # callbacks are called once


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    """A folder of two ranks with dropout: one after the other a whole training, one that pauses within an
    epoch, one that takes it up, and one that a callback ends."""
    return run(2, tmp_path_factory.mktemp("noisy"), "whole", "paused", "resumed", "stops")


def test_a_pause_within_an_epoch_changes_nothing(noisy):
    for rank in range(2):
        assert Result(noisy, "resumed", rank).same(Result(noisy, "whole", rank))
    assert (noisy / "checkpoint" / "checkpoint.safetensors").exists()


def test_the_first_rank_s_callbacks_stop_all(noisy):
    for rank in range(2):
        found = Result(noisy, "stops", rank)
        assert found.facts["stopped"] == "early" and len(found.column("epoch")) == 2


def test_an_other_number_of_processes_does_not_go_on(noisy, tmp_path):
    (tmp_path / "checkpoint").mkdir()
    held = (noisy / "checkpoint" / "checkpoint.safetensors").read_bytes()
    (tmp_path / "checkpoint" / "checkpoint.safetensors").write_bytes(held)
    ((status, said),) = ended(started(1, tmp_path, "resumed", batch_size=12))
    assert status == 1 and "is of training with 2 processes; now there is 1" in said


def test_a_failure_in_the_first_is_one_in_all(tmp_path):
    (first, said), (second, other) = ended(started(2, tmp_path, "fails"))
    assert first == 1 and second != 0
    assert "ZeroDivisionError" in said and "The first process has failed: division by zero" in other


def test_a_rank_that_dies_is_an_error_not_a_wait(tmp_path):
    began = time.monotonic()
    (first, said), (second, _) = ended(started(2, tmp_path, "dies"))
    assert (first, second) == (1, 7) and "has ended, or does not answer" in said
    assert time.monotonic() - began < PATIENCE


def test_alone_nothing_is_sent_or_changed():
    ranks, value = Ranks(), torch.ones(3)
    assert ranks.alone and ranks.first and ranks.device("auto") == "auto" and ranks.weighed(value) is value
    ranks.add_up(value)
    ranks.align([value])
    assert ranks.each(1) == [1] and ranks.same("x") == "x" and ranks.any(False) is False
    assert ranks.decided(max, 2, 3) == 3 and ranks.total(sums := {"n": 2}) is sums and value.tolist() == [1, 1, 1]
    module = untrained().module
    before = list(module.modules())
    shared_norms(module, ranks)()
    assert all(a is b for a, b in zip(before, module.modules(), strict=True))
    with joined({}) as found:
        assert found.alone
    assert not torch.distributed.is_initialized()
    data = opened()
    assert start(untrained(data), data, options()).optimizer.between is None


@pytest.mark.parametrize("n, size, world", [(90, 8, 2), (90, 8, 3), (77, 8, 2), (23, 8, 4), (81, 16, 5), (7, 4, 7),
                                            (66, 8, 8)])
def test_slices_share_every_cell_once(n, size, world):
    ranks = [Ranks(rank, world) for rank in range(world)]
    groups = ranks[0].groups(n, size)
    assert groups[0][0] == 0 and groups[-1][1] == n and len(groups) >= 1
    for start_, stop in groups:
        slices = [rank.slice_of(start_, stop) for rank in ranks]
        assert [i for part in slices for i in range(*part)] == list(range(start_, stop))
        sizes = [b - a for a, b in slices]
        assert max(sizes) - min(sizes) <= 1 and min(sizes) >= 1
    assert {stop - start_ for start_, stop in groups[:-1]} <= {size * world}


@pytest.mark.parametrize("world", [2, 3])
def test_the_ranks_of_an_epoch_see_all_cells_in_as_many_steps(world):
    data = opened()
    seen, steps, shares = [], set(), []
    for rank in range(world):
        ranks = Ranks(rank, world)
        cells = TrainingCells(data, options(batch_size=7), 3, None, "cpu", ranks)
        found = [(one["index"].tolist(), ranks.share) for one in cells.in_new_order(5)]
        seen += [row for rows, _ in found for row in rows]
        steps.add((len(found), len(cells.training)))
        shares.append([share for _, share in found])
    assert sorted(seen) == sorted(cells.split.train) and len(steps) == 1
    np.testing.assert_allclose(np.sum(shares, axis=0), 1)


def test_more_processes_than_cells_are_refused():
    with pytest.raises(TrainingError, match="81 cells cannot be shared by 82"):
        TrainingCells(opened(), options(), 0, None, "cpu", Ranks(0, 82))
