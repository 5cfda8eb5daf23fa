"""Expression: in blocks of cells that R asks for one by one, or drawn from the cells at once."""

import numpy as np
import scipy.sparse as sp

from latome.analysis.expression import expression_blocks as blocks_of
from latome.analysis.expression import normalized_expression as expression_of
from latome.analysis.expression_file import ExpressionFile
from latome.bridge.answers import answers, as_list, asked, doubts, for_r, opened, triplet
from latome.bridge.blocks import Blocks
from latome.bridge.steps import Steps

__all__ = ["expression_blocks", "normalized_expression"]


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
def normalized_expression(document, weights, data, options=None, seed=0):
    """Samples of expression, as work for `proceed`: (g', n, s) of each cell, or (g', s) from all cells together."""

    def work(progress):
        with opened(document, weights, data, seed) as (fit, dataset):
            values = expression_of(fit.module, dataset, progress=progress, **dict(options or {}))
            return {"values": for_r(values), "warnings": doubts(fit)}

    return {"work": Steps(work)}
