"""Comparisons over tiles of genes: samples are decoded, asked, and forgotten; only numbers by gene are kept."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from latome.analysis.differential import bayes
from latome.analysis.differential.pairs import Pairs
from latome.analysis.differential.pools import Selection

__all__ = ["Rules", "Work", "run"]


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

    def samples(self, arrays):
        """Two arrays (p, g') of paired samples, from the decoded pools."""
        return self.first.gather(arrays)[self.pairs.first], self.second.gather(arrays)[self.pairs.second]


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
        found = passes.ask(lambda work, *pair: {"mean": measure(*pair, work.pseudocounts).mean(0, dtype=np.float64)})
        for work, one in zip(works, found, strict=True):
            work.delta = bayes.delta_of(one["mean"])
    for work, found in zip(works, passes.ask(lambda work, *pair: _change(rules, work, *pair)), strict=True):
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

    def ask(self, question):
        """[{name: (g,)}] of `question(work, first, second)`, which sees some of the genes at a time."""
        found = [[] for _ in self.works]
        for genes in self.tiles:
            arrays = self._decoded(genes)
            for work, parts in zip(self.works, found, strict=True):
                parts.append(question(work, *work.samples(arrays)))
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
