"""Windows hold the cells asked for; the next one is made meanwhile, and it changes nothing."""

import threading
import time

import numpy as np
import pytest
import scipy.sparse as sp

from latome.data.windows import Coming, Window, ahead, grouped

CSR = sp.random(40, 12, 0.4, format="csr", random_state=0)
CSR.data = np.ceil(CSR.data * 5)
CSR.data[::7] = 0                                      # explicit zeros


@pytest.mark.parametrize("columns", [None, np.array([5, 0, 11])])
@pytest.mark.parametrize("places", [None, np.array([3, 3, 39, 0, 17])])
def test_a_window_hands_out_its_cells(places, columns):
    before = CSR.copy()
    window = Window(CSR, places, columns)
    dense = CSR.toarray()[slice(None) if places is None else places][:, slice(None) if columns is None else columns]
    for start, stop in ((None, None), (0, 2), (1, 4), (2, 2)):
        for _ in range(2):                             # asked again, the answer is the same
            np.testing.assert_array_equal(window.stored(start, stop).toarray(), dense[start:stop])
            part = window.cells(start, stop)
            np.testing.assert_array_equal(part.toarray(), dense[start:stop])
            assert part.dtype == np.float32 and part.data.all() and part.has_canonical_format
            part.data[:] = -1                          # a copy that may be kept and changed
    np.testing.assert_array_equal(CSR.data, before.data)
    np.testing.assert_array_equal(CSR.indices, before.indices)


def test_the_next_window_is_made_while_this_one_is_used():
    made, used = [], []

    def make(item):
        made.append((item, threading.get_ident()))
        return 10 * item

    for value in ahead(make, [1, 2, 3]):
        used.append(value)
        if value < 30:                                 # the next one comes without being asked for
            deadline = time.monotonic() + 10
            while len(made) <= len(used) and time.monotonic() < deadline:
                time.sleep(0.001)
            assert [item for item, _ in made] == list(range(1, len(used) + 2))           # and none beyond it
    assert used == [10, 20, 30]
    assert made[0][1] == threading.get_ident() != made[1][1]


def test_one_window_needs_no_thread():
    before = threading.active_count()
    for value in ahead(lambda item: threading.active_count(), [1]):
        assert value == before == threading.active_count()
    assert list(ahead(abs, [])) == []


def test_an_error_reaches_who_waits_for_the_window():
    found = []
    with pytest.raises(ZeroDivisionError):
        found.extend(ahead(lambda item: 1 // item, [1, 0, 1]))
    windows = ahead(lambda item: 1 // item, [1, 1, 0])
    assert [next(windows), next(windows)] == [1, 1]    # not before
    with pytest.raises(ZeroDivisionError):
        next(windows)


@pytest.mark.parametrize("ending", ["close", "throw"])
def test_nothing_runs_on_when_training_ends(ending):
    going, before = threading.Event(), threading.active_count()

    def make(item):
        if item == 2:
            going.wait(0.2)
        return item

    windows = ahead(make, [1, 2, 3])
    assert next(windows) == 1
    if ending == "close":
        windows.close()
    else:
        with pytest.raises(KeyboardInterrupt):
            windows.throw(KeyboardInterrupt())
    assert threading.active_count() == before


def test_a_thread_that_a_fork_left_behind_is_done_without():
    coming = Coming(abs, -3)
    coming.thread.join()
    coming.made, coming.value = False, None            # as the child of a fork finds it: ended, and nothing made
    assert coming.wait() == 3


def test_groups():
    bounds = [(0, 4), (4, 8), (8, 12), (12, 13)]
    assert list(grouped(bounds, 8)) == [bounds[:2], bounds[2:]]
    assert list(grouped(bounds, 1)) == [[bound] for bound in bounds]
    assert list(grouped([], 8)) == []
