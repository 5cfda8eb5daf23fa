"""Expression: in blocks of cells that R asks for one by one, or drawn from the cells at once."""

import numpy as np
import scipy.sparse as sp

from latome.analysis.expression import expression_blocks as blocks_of
from latome.analysis.expression import normalized_expression as expression_of
from latome.analysis.expression_file import ExpressionFile
from latome.bridge.answers import answers, as_list, asked, doubts, for_r, opened, triplet
from latome.fit import check_seed
from latome.training.session import RandomStream, use_threads

__all__ = ["close", "expression_blocks", "next_block", "normalized_expression"]


class Blocks:
    """Blocks under way.

    Arguments
    ---------
    blocks : iterator of (start, stop, (m, g') float32), in the order of the cells.
    pack : function of (start, values) that returns what crosses of them.
    seed : of the random numbers.
    file : an `ExpressionFile` that `pack` fills, or None.
    """

    def __init__(self, blocks, pack, seed, file=None):
        self.blocks, self.pack, self.file = blocks, pack, file
        self.random = RandomStream(check_seed(seed))

    def next(self):
        """The next block, cells counted from 1; nothing at the end, when the file is there."""
        with self.random.active(), use_threads():
            found = next(self.blocks, None)
        if found is None:
            if self.file is not None:
                self.file.finish()
                self.file = None
            return {}
        start, stop, values = found
        return {"start": start + 1, "stop": stop, **self.pack(start, values)}

    def close(self):
        """End here; a file that is not complete is removed."""
        self.blocks = iter(())
        if self.file is not None:
            self.file.discard()
            self.file = None


@answers
def expression_blocks(document, weights, data, options=None, seed=0):
    """Expression of the cells, ready to be asked for by `next_block`; `close` it in the end.

    `options` hold beside those of the engine's verb: smallest, below which values are left out and blocks are sparse;
    or file, the path of an HDF5 file that is written instead.
    """
    options = dict(options or {})
    smallest, path = options.pop("smallest", None), options.pop("file", None)
    fit, dataset = asked(document, weights, data)
    blocks = blocks_of(fit.module, dataset, **options)
    file, pack = None, lambda start, values: {"values": for_r(values)}               # (g', m)
    if path is not None:
        file = ExpressionFile(path, as_list(options.get("genes")) or list(fit.registry.genes), list(dataset.cells))
        pack = lambda start, values: file.write(start, values) or {}  # noqa: E731
    elif smallest is not None:
        pack = lambda start, values: triplet(sp.csr_matrix(np.where(values < smallest, 0, values)))  # noqa: E731
    return {"work": Blocks(blocks, pack, seed, file), "warnings": doubts(fit)}


@answers
def next_block(work):
    """The next block: {"start", "stop"}, cells counted from 1, and "values" (g', m) or the arrays x, i, p."""
    return work.next()


@answers
def close(work):
    """Give up what is left of some work."""
    work.close()
    return {}


@answers
def normalized_expression(document, weights, data, options=None, seed=0):
    """Samples of expression that are kept apart: (g', n, s), or (g', s) of draws from all cells."""
    with opened(document, weights, data, seed) as (fit, dataset):
        return {"values": for_r(expression_of(fit.module, dataset, **dict(options or {}))), "warnings": doubts(fit)}
