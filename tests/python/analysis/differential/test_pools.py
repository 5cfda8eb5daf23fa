"""Parts, shares and pairs: which cells are drawn how often, and which draw meets which."""

import numpy as np
import pytest

from latome.analysis.differential.pairs import make_pairs
from latome.analysis.differential.partition import allot, partition
from latome.analysis.differential.pools import Selection
from latome.analysis.differential.table import false_discovery


def test_parts_of_overlapping_sets():
    rng = np.random.default_rng(0)
    sets = [np.sort(rng.choice(60, size, replace=False)) for size in (20, 35, 7, 60)]
    found = partition(60, sets)
    held = np.array([[row in rows for rows in map(set, sets)] for row in range(60)])
    for row in range(60):
        together = (held == held[row]).all(1)
        np.testing.assert_array_equal(found.label == found.label[row], together)
    assert found.sizes.sum() == 60 and len(found.sizes) == found.label.max() + 1
    for rows, parts in zip(sets, found.members, strict=True):
        np.testing.assert_array_equal(np.sort(np.concatenate([found.rows(part) for part in parts])), rows)


def test_cells_of_no_set_have_no_part():
    found = partition(5, [np.array([1, 3]), np.array([3])])
    assert found.label.tolist() == [-1, found.label[1], -1, found.label[3], -1]
    assert found.sizes.tolist() == [1, 1] and [len(parts) for parts in found.members] == [2, 1]


@pytest.mark.parametrize("sizes, n", [
    ([30, 50, 20], 10), ([1, 1, 1], 5000), ([7], 3), ([1000, 1], 2), ([3, 3, 3, 1], 7),
])  # fmt: skip
def test_shares(sizes, n):
    found = allot(np.array(sizes), n)
    assert found.sum() == n
    assert (np.abs(found - n * np.array(sizes) / sum(sizes)) < 1).all()


def selection(n, n_blocks, n_parts=1):
    return Selection([(part, None, None) for part in range(n_parts)], n, n_blocks)


@pytest.mark.parametrize("first, second, within, n_random, n", [
    (selection(10, 1), selection(10, 1), False, None, 10), (selection(10, 1, 2), selection(10, 1, 3), False, None, 10),
    (selection(10, 2), selection(10, 2), True, None, 10), (selection(10, 2), selection(9, 3), False, None, 9),
    (selection(12, 3), selection(9, 3), True, None, 9), (selection(8, 2, 2), selection(10, 2, 3), True, None, 8),
    (selection(10, 2), selection(10, 2), True, 40, 40), (selection(10, 1, 2), selection(7, 1), False, 41, 41),
])  # fmt: skip
def test_pairs(first, second, within, n_random, n):
    found = make_pairs(first, second, within_batches=within, n_random=n_random, rng=np.random.default_rng(0))
    places = [np.arange(one.n)[place] for one, place in [(first, found.first), (second, found.second)]]
    assert found.n == n == len(places[0]) == len(places[1])
    if n_random is None:                                # each draw once
        assert all(len(set(place)) == n for place in places)
    if within:
        blocks = [place // (one.n // one.n_blocks) for place, one in zip(places, (first, second), strict=True)]
        np.testing.assert_array_equal(*blocks)


@pytest.mark.parametrize("sizes", [(4, 4), (3, 5), (5, 3)])
def test_every_pair_is_as_likely(sizes):
    """Whatever the order of the draws: each of the first set meets each of the second equally often."""
    rng, met = np.random.default_rng(0), np.zeros(sizes)
    first, second = (selection(n, 1, 2) for n in sizes)
    for _ in range(4000):
        found = make_pairs(first, second, within_batches=False, n_random=None, rng=rng)
        met[tuple(np.arange(n)[place] for n, place in zip(sizes, (found.first, found.second), strict=True))] += 1
    np.testing.assert_allclose(met / 4000, 1 / max(sizes), atol=0.04)


def test_samples_are_gathered_block_by_block():
    """Pool p, gene g, draw d is the number 1000 p + 100 g + d; blocks of 4 and of 3 draws."""
    pools = [1000 * p + 100 * np.arange(3)[:, None] + np.arange(2 * size) for p, size in enumerate((4, 3))]
    both = Selection([(0, 2, 4), (1, 3, 3)], 10, 2)
    expected = [0, 1, 1000, 1001, 1002, 4, 5, 1003, 1004, 1005]
    np.testing.assert_array_equal(both.gather(pools, slice(1, 3)), np.array(expected) + [[100], [200]])
    np.testing.assert_array_equal(Selection([(1, 3, 3)], 6, 2).gather(pools, slice(0, 2)), pools[1][:2])
    np.testing.assert_array_equal(Selection([(0, 1, 4)], 2, 2).gather(pools, slice(0, 1)), [[0, 4]])


def test_false_discoveries_by_hand():
    not_de = np.array([0.5, 0.0, 0.1, 0.04, 0.02])
    fdr, is_de = false_discovery(not_de, 0.05)
    np.testing.assert_allclose(fdr, [0.132, 0.0, 0.04, 0.02, 0.01])
    assert is_de.tolist() == [False, True, True, True, True]
    assert not false_discovery(np.array([0.2, 0.9]), 0.05)[1].any()
