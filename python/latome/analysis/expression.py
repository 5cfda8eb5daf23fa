"""Normalised expression: what a model thinks a cell expresses, noise and batch taken away.

    value_ng = mean over batches b of rho_g(z_n, b) x library_size,    z_n a draw from q(z | x_n)

or, with the library size "latent", the expected counts mu_g(z_n, b) themselves. rho sums to one over all genes of
the model, whichever are asked for; where the model has size factors it need not.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from latome.analysis.decoding import batch_codes, decode, expression_into, gene_places, moved
from latome.analysis.draws import decodings, pooled_draws
from latome.analysis.expression_file import ExpressionFile
from latome.analysis.importance import ImportanceOptions, weighted_draws
from latome.analysis.results import SparseRows, refuse_large
from latome.analysis.sweep import asking, cells_at_once, some_rows
from latome.backend import torch
from latome.data.minibatches import covariates_of
from latome.errors import QueryError, SettingError
from latome.protocol.settings import check_setting

__all__ = ["expression_blocks", "normalized_expression", "sparse_expression", "write_expression"]

WAYS_OUT = ("Ask for fewer genes (genes) or cells (indices); write the values to disk with write_expression(), keep "
            "the larger ones with sparse_expression(), or use them block by block with expression_blocks().")


def normalized_expression(module, data, *, transform_batch=None, genes=None, library_size=1.0, n_samples=1,
                          n_samples_overall=None, weights=None, return_mean=True, draw="sample", indices=None,
                          batch_size=None, importance=None, progress=None):
    """Expression fractions rho times the library size, the mean over the batches asked for; the file opens with it.

    Arguments
    ---------
    transform_batch : name of a batch, or several, to decode every cell under; None for its own.
    genes : names of the genes to return, in this order; None for all.
    library_size : what rho is multiplied by, > 0; "latent" for the expected counts of the cell itself (before zero
        inflation), under its own library size or size factor.
    n_samples : draws of z for each cell.
    return_mean : with several, their mean; or else all of them, (s, n, g').
    n_samples_overall : this many rows instead of one a cell, drawn with replacement from a pool of
        n_samples_overall // n + 1 draws of each cell; `n_samples` and `return_mean` then play no part.
    weights : of the pool: "uniform" (None), or "importance" for draws from the posteriors themselves rather than from
        what the encoder makes of them: slower. Its options are `importance`, a dict; see `ImportanceOptions`.
    draw : "sample", or "mean" to decode the posterior mean of z instead of a draw of it.
    indices, batch_size : which cells, and how many a minibatch.
    progress : function of (steps done, steps in all), called between steps.

    Returns
    -------
    float32 array (n, g'), (s, n, g') or (n_samples_overall, g'). Beside it memory holds one block of cells.
    Raises QueryError or SettingError before any work is done: for arguments that make no sense, and for a result
    beyond `LARGEST_RESULT` bytes (8 GB), with the ways out.

    Example
    -------
    >>> normalized_expression(fit.module, data, genes=["CD3E"], library_size=1e4, transform_batch=["lab_1", "lab_2"])
    """
    asked = _check(data, transform_batch, genes, library_size, n_samples, n_samples_overall, weights, return_mean, draw,
                   indices, batch_size, importance, progress)
    if asked.apart:
        return _samples(module, data, asked)
    refuse_large("The result", WAYS_OUT, **{asked.row_name: asked.n_rows, "genes": asked.n_genes})
    values = np.empty((asked.n_rows, asked.n_genes), dtype=np.float32)
    for _ in _blocks(module, data, asked, values):
        pass
    return values


def expression_blocks(module, data, **question):
    """The rows of `normalized_expression` with the same arguments, in blocks: memory holds one.

    Yields (start, stop, (m, g') float32), in order. Raises at once what `normalized_expression` raises.
    """
    return _blocks(module, data, _rows_asked(data, question))


def write_expression(module, data, path, dataset="expression", *, overwrite=False, **question):
    """`normalized_expression` with the same arguments, written to an HDF5 file block by block.

    Sets: the file at `path`, with `dataset` (n, g') float32 in chunks, "genes" (g',) and, where rows are cells,
    "cells" (n,). To R, whose arrays run the other way, it is genes x cells: HDF5Array::HDF5Array(path, "expression").
    The file is written beside and renamed: whatever ends the work early leaves no half file.
    Returns its path. Raises QueryError where it exists already and `overwrite` is not set.
    """
    asked = _rows_asked(data, question)
    names = data.registry.genes if asked.places is None else [data.registry.genes[place] for place in asked.places]
    cells = [data.cells[row] for row in asked.rows] if asked.n_overall is None else asked.n_overall
    with ExpressionFile(path, list(names), cells, dataset, overwrite) as file:
        for start, _, block in _blocks(module, data, asked):
            file.write(start, block)
    return file.path


def sparse_expression(module, data, *, smallest, **question):
    """`normalized_expression` with the same arguments, a CSR matrix (n, g') float32; values below `smallest` are 0.

    `smallest` is in the units of the result: with library_size = 1e4, smallest = 0.1 leaves out what is expected less
    than once in 100,000 counts. Nothing else changes, so a row sums to less than before, by what is left out of it
    (less than `smallest` times the number of genes).
    """
    smallest = check_setting("smallest", smallest, float, {"gt": 0})
    asked = _rows_asked(data, question)
    matrix = SparseRows(asked.n_genes, "Set `smallest` higher, ask for fewer genes (genes) or cells (indices), or "
                                       "write to disk with write_expression().")
    for _, _, block in _blocks(module, data, asked):
        block[block < smallest] = 0
        matrix.add(block)
    return matrix.matrix()


@dataclass(frozen=True)
class _Question:
    """The arguments, checked."""

    rows: np.ndarray
    codes: list
    places: np.ndarray | None
    library_size: object
    n_samples: int
    n_overall: int | None
    weighting: ImportanceOptions | None
    apart: bool
    draw: str
    size: int
    n_genes: int
    progress: object

    @property
    def n_rows(self):
        return self.n_overall or len(self.rows)

    @property
    def row_name(self):
        return "cells" if self.n_overall is None else "draws"

    def write(self, out, counts, earlier=0, last=True):
        """Sets: `out` (m, g') to the mean over distributions of counts (m, g), of which one at a time is computed.

        `earlier` of them were summed in it before; with the `last`, the sum becomes the mean.
        """
        places = None if self.places is None else torch.from_numpy(self.places)
        latent, block, n = self.library_size == "latent", None, earlier
        for one in counts:
            if n:
                block = torch.empty_like(out) if block is None else block
            expression_into(block if n else out, one, places=places, rate=latent)
            if n:
                out.add_(block)
            n += 1
        scale = (1.0 if latent else self.library_size) / n
        if last and scale != 1:
            out.mul_(scale)

    def told(self, done):
        if self.progress is not None and self.weighting is None:
            self.progress(done, self.n_rows)


def _check(data, transform_batch=None, genes=None, library_size=1.0, n_samples=1, n_samples_overall=None, weights=None,
           return_mean=True, draw="sample", indices=None, batch_size=None, importance=None, progress=None):
    """The `_Question`; SettingError or QueryError where there is none."""
    codes, places = batch_codes(data.registry, transform_batch), gene_places(data.registry, genes)
    kind = Literal["latent"] if isinstance(library_size, str) else float
    library_size = check_setting("library_size", library_size, kind, {"gt": 0})
    n_samples = check_setting("n_samples", n_samples, int, {"ge": 1})
    n_overall = check_setting("n_samples_overall", n_samples_overall, int | None, {"ge": 1})
    draw = check_setting("draw", draw, Literal["sample", "mean"], {})
    apart = not check_setting("return_mean", return_mean, bool, {}) and n_samples > 1 and n_overall is None
    weights = check_setting("weights", weights, Literal["uniform", "importance"] | None, {})
    weighting = ImportanceOptions.make(**(importance or {}))
    if draw == "mean" and (n_samples > 1 or weights == "importance"):
        raise SettingError("draw", problem="Without draws there are no samples to tell apart or to weight.",
                           hint='Set draw = "sample", or leave n_samples and weights out.')
    if weights == "importance":
        _check_weights(data, n_overall, codes)
    rows, size = some_rows(data, indices), cells_at_once(data, batch_size)
    n_genes = data.n_genes if places is None else len(places)
    return _Question(rows, codes, places, library_size, n_samples, n_overall,
                     weighting if weights == "importance" else None, apart, draw, size, n_genes, progress)


def _check_weights(data, n_overall, codes):
    if n_overall is None:
        raise SettingError("weights", problem="Importance weights are of draws from all cells together.",
                           hint="Set n_samples_overall, or leave `weights` out.")
    if len(codes) > 1:
        raise QueryError("transform_batch", problem="Importance weights cannot be combined with several batches.",
                         hint="Ask for one batch at a time, or leave `weights` out.")
    data.require_counts("Weighting by importance")


def _rows_asked(data, question):
    """The `_Question` of a result whose rows come one after the other."""
    asked = _check(data, **question)
    if asked.apart:
        raise SettingError("return_mean", problem="Samples that are kept apart do not come as rows.",
                           hint="Leave return_mean out, or ask normalized_expression() for them.")
    return asked


def _samples(module, data, asked):
    """(s, n, g')"""
    refuse_large("The result", "Ask for fewer samples (n_samples), genes (genes) or cells (indices), or for their mean "
                 "(return_mean).", samples=asked.n_samples, cells=len(asked.rows), genes=asked.n_genes)
    values = np.empty((asked.n_samples, len(asked.rows), asked.n_genes), dtype=np.float32)
    for cells, samples, counts in decodings(module, data, rows=asked.rows, size=asked.size, codes=asked.codes,
                                            n_samples=asked.n_samples):
        for i in range(samples.start, samples.stop):
            with asking(module):
                asked.write(torch.from_numpy(values[i, cells]), (one[i - samples.start] for one in counts))
        if samples.stop == asked.n_samples:
            asked.told(cells.stop)
    return values


def _blocks(module, data, asked, values=None):
    """(start, stop, (m, g')) in order: rows of `values` where they are given, else arrays of their own."""
    if asked.n_overall is not None:
        yield from _drawn_blocks(module, data, asked, values)
        return
    for cells, samples, counts in decodings(module, data, rows=asked.rows, size=asked.size, codes=asked.codes,
                                            n_samples=asked.n_samples, draw=asked.draw):
        if samples.start == 0:
            block = _block(asked, values, cells)
        last = samples.stop == asked.n_samples
        with asking(module):
            each = (one[i] for one in counts for i in range(samples.stop - samples.start))
            asked.write(torch.from_numpy(block), each, samples.start * len(counts), last)
        if last:
            yield cells.start, cells.stop, block
            asked.told(cells.stop)


def _block(asked, values, rows):
    return np.empty((rows.stop - rows.start, asked.n_genes), np.float32) if values is None else values[rows]


def _drawn_blocks(module, data, asked, values):
    """The same of draws from all cells together."""
    if asked.weighting is None:
        rows, latents = pooled_draws(module, data, asked.rows, asked.n_overall, asked.size, asked.draw)
    else:
        rows, latents = weighted_draws(module, data, asked.rows, asked.n_overall, asked.weighting, asked.size,
                                       asked.progress)
    for start in range(0, asked.n_overall, asked.size):
        here = slice(start, min(start + asked.size, asked.n_overall))
        block = _block(asked, values, here)
        with asking(module):
            cells = covariates_of(data, rows[here])
            drawn = {name: z[here] for name, z in latents.items()}
            asked.write(torch.from_numpy(block), (decode(module, drawn, moved(cells, code)) for code in asked.codes))
        yield here.start, here.stop, block
        asked.told(here.stop)
