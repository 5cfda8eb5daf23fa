"""Which draw of one set is compared with which draw of the other."""

from dataclasses import dataclass

import numpy as np

__all__ = ["Pairs", "make_pairs"]


@dataclass(frozen=True)
class Pairs:
    """Draws of two sets, pair by pair.

    Arguments
    ---------
    first, second : slices or (p,) places among the samples of each set.
    n : p, the number of pairs.
    """

    first: object
    second: object
    n: int


def make_pairs(first, second, *, within_batches, n_random, rng):
    """`Pairs` of two `Selection`s; whatever the order of their samples, the two of a pair are independent.

    Arguments
    ---------
    within_batches : pair only draws decoded under the same batch; both have the same blocks then.
    n_random : number of pairs drawn with replacement; None pairs each draw once.
    rng : numpy Generator.
    """
    n_blocks = first.n_blocks if within_batches else 1
    size1, size2 = first.n // n_blocks, second.n // n_blocks
    start1, start2 = (np.arange(n_blocks)[:, None] * size for size in (size1, size2))
    if n_random is not None:
        each = max(1, n_random // n_blocks)
        places = [(rng.integers(size, size=(n_blocks, each)) + start).ravel()
                  for size, start in [(size1, start1), (size2, start2)]]
        return Pairs(*places, n_blocks * each)
    if size1 == size2 and (first.exchangeable or second.exchangeable):
        return Pairs(slice(None), slice(None), first.n)
    each = min(size1, size2)                           # of the larger set so many, at random: of one set that is enough
    places = [slice(None) if size == each and not shuffled else
              (np.argsort(rng.random((n_blocks, size)), axis=1)[:, :each] + start).ravel()
              for size, start, shuffled in [(size1, start1, False), (size2, start2, size1 == each)]]
    return Pairs(*places, n_blocks * each)
