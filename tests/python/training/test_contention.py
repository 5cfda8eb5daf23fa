"""Training beside other work: noticed, answered by an idle team, and undone at the end."""

import threading
import time

from examples import opened, options, same_weights, untrained

from latome.fit import start
from latome.training import contention
from latome.training.contention import Contention

TEAM = "latome-idle-team"


def teams():
    return [thread for thread in threading.enumerate() if thread.name == TEAM]


def gone():
    """The team has ended, after a moment at most."""
    deadline = time.monotonic() + 10
    while teams() and time.monotonic() < deadline:
        time.sleep(0.01)
    return not teams()


def test_a_processor_to_itself_needs_no_team(monkeypatch):
    monkeypatch.setattr(contention.os, "cpu_count", lambda: 2)
    watch = Contention(2, watch=True)
    for _ in range(20):
        watch.note(0.1, 0.19)                          # two threads, both nearly always at work
    assert not watch.crowded and not teams()


def test_a_shared_processor_is_noticed_and_the_team_let_go(monkeypatch):
    monkeypatch.setattr(contention.os, "cpu_count", lambda: 2)
    watch = Contention(2, watch=True)
    watch.note(0.1, 0.1)                               # too short to judge
    assert not watch.crowded
    watch.note(0.2, 0.2)                               # half of what two threads would take
    assert watch.crowded and len(teams()) == 1
    watch.note(1.0, 0.5)
    assert len(teams()) == 1                           # one is enough
    watch.end()
    assert gone()


def test_nothing_is_watched_where_nothing_can_be_done():
    for watch in (Contention(2, watch=False), Contention(1, watch=True)):
        watch.note(10.0, 1.0)
        assert not watch.crowded


def test_the_team_changes_no_number_and_ends_with_training(monkeypatch):
    monkeypatch.setattr(contention.os, "cpu_count", lambda: 2)
    data = opened()
    plain, watched = untrained(data), untrained(data)
    start(plain, data, options(max_epochs=3)).advance()
    trainer = start(watched, data, options(max_epochs=3))
    trainer.contention = Contention(2, watch=True)
    trainer.advance(0.0)
    trainer.contention.note(1.0, 0.5)
    assert len(teams()) == 1
    trainer.advance()
    assert gone()
    assert same_weights(plain, watched)
