"""Comparisons over tiles of genes: samples are decoded, asked, and forgotten; only numbers by gene are kept.

A question sees so few genes at a time that their samples stay in the processor's cache; functions of the user see all
genes of a tile.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from latome.analysis.differential import bayes
from latome.analysis.differential.pairs import Pairs
from latome.analysis.differential.pools import Selection

__all__ = ["Rules", "Work", "run"]

SAMPLES = 1 << 17                                      # of some genes, asked about at a time: 512 kB of each set


@dataclass(frozen=True)
class Rules:
    """What is asked of each pair of samples.

    Arguments
    ---------
    mode : "change" or "vanilla".
    test_mode, levels, change_fn, m1_domain_fn : as for `bayes.change`.
    threshold_counts : as for `bayes.pseudocounts_of`.
    """

    mode: str
    test_mode: str
    levels: tuple
    change_fn: Callable | None
    m1_domain_fn: Callable | None
    threshold_counts: float


@dataclass
class Work:
    """One comparison under way.

    Arguments
    ---------
    first, second, pairs : its samples.
    means : the mean counts (g,) of both sets, or None.
    pseudocounts, delta : given, or None until they are estimated.
    found : {column: (g,) array or number}.
    """

    first: Selection
    second: Selection
    pairs: Pairs
    means: tuple | None
    pseudocounts: float | None
    delta: float | None
    found: dict = field(default_factory=dict)

    def samples(self, arrays, genes):
        """Two arrays (p, g') of paired samples of some genes, from the decoded pools; gene by gene in memory."""
        sides = (self.first, self.pairs.first), (self.second, self.pairs.second)
        gathered = [(selection.gather(arrays, genes), place) for selection, place in sides]
        return [(values if isinstance(place, slice) else values.take(place, axis=1)).T for values, place in gathered]


def run(pools, works, rules, progress=None):
    """Sets: `found` of each `Work`, and its pseudocounts and delta where they were None.

    `progress` is a function of (steps done, steps in all); a step is one pool decoded or one comparison asked.
    """
    if rules.mode == "vanilla":
        for work, found in zip(works, _Passes(pools, works, 1, progress).ask(_vanilla), strict=True):
            work.found = found
        return
    no_pseudocounts, no_delta = works[0].pseudocounts is None, works[0].delta is None
    passes = _Passes(pools, works, 1 + no_pseudocounts + no_delta, progress)
    if no_pseudocounts:
        for work, found in zip(works, passes.ask(_maxima), strict=True):
            work.pseudocounts = bayes.pseudocounts_of(
                (found["first"], found["second"]), work.means, rules.threshold_counts)
    if no_delta:
        measure = rules.change_fn or bayes.log_fold_change
        found = passes.ask(lambda work, *pair: {"mean": measure(*pair, work.pseudocounts).mean(0, dtype=np.float64)},
                           whole=rules.change_fn is not None)
        for work, one in zip(works, found, strict=True):
            work.delta = bayes.delta_of(one["mean"])
    own = rules.change_fn is not None or rules.m1_domain_fn is not None
    for work, found in zip(works, passes.ask(lambda work, *pair: _change(rules, work, *pair), whole=own), strict=True):
        work.found = found | {"pseudocounts": work.pseudocounts, "delta": work.delta}


def _vanilla(work, first, second):
    return bayes.vanilla(first, second)


def _maxima(work, first, second):
    return {"first": first.max(0), "second": second.max(0)}


def _change(rules, work, first, second):
    return bayes.change(first, second, delta=work.delta, pseudocounts=work.pseudocounts, test_mode=rules.test_mode,
                        levels=rules.levels, change_fn=rules.change_fn, m1_domain_fn=rules.m1_domain_fn)


class _Passes:
    """Passes over all genes, each of which asks one question of every comparison.

    Where all genes fit into memory at once they are decoded once, for all passes.
    """

    def __init__(self, pools, works, n_passes, progress):
        self.pools, self.works, self.progress = pools, works, progress
        self.tiles = pools.tiles()
        self.kept = None
        asked = n_passes * len(self.tiles)                              # tiles, over all passes
        decoded = 1 if len(self.tiles) == 1 else asked
        self.done, self.total = 0, asked * len(works) + decoded * len(pools.fill)

    def ask(self, question, whole=False):
        """[{name: (g,)}] of `question(work, first, second)`, which sees some of the genes at a time.

        These are few, unless it is to see all genes of a tile as a `whole`.
        """
        found = [[] for _ in self.works]
        for tile in self.tiles:
            arrays = self._decoded(tile)
            for work, parts in zip(self.works, found, strict=True):
                for genes in _slices(tile.stop - tile.start, None if whole else SAMPLES // work.pairs.n):
                    parts.append(question(work, *work.samples(arrays, genes)))
                self._step()
        return [{name: np.concatenate([part[name] for part in parts]) for name in parts[0]} for parts in found]

    def _decoded(self, genes):
        if self.kept is not None:
            return self.kept
        arrays = []
        for fill in self.pools.fill:
            arrays.append(fill(genes))
            arrays[-1].flags.writeable = False         # shared by comparisons: no function may change it
            self._step()
        if len(self.tiles) == 1:
            self.kept = arrays
        return arrays

    def _step(self):
        self.done += 1
        if self.progress is not None:
            self.progress(self.done, self.total)


def _slices(n, width):
    """Slices of n genes, each of at least one; one of all where `width` is None."""
    width = n if width is None else max(1, width)
    return [slice(start, min(start + width, n)) for start in range(0, n, width)]
