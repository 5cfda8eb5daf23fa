"""From latents to distributions of counts, under the covariates of the cells or under another batch."""

import numpy as np

from latome.backend import torch
from latome.data.fields import as_text
from latome.data.sources import closest
from latome.errors import QueryError

__all__ = ["batch_codes", "decode", "expression_into", "gene_places", "moved"]


def batch_codes(registry, transform_batch):
    """Codes of the batches to decode under: [None] for each cell's own; QueryError for an unknown one.

    `transform_batch` is None, the name of a batch, or several.
    """
    if transform_batch is None:
        return [None]
    wanted = [transform_batch] if isinstance(transform_batch, str) or np.isscalar(transform_batch) else transform_batch
    wanted, known = as_text(wanted), registry.batch_categories
    if not wanted:
        raise QueryError("transform_batch", problem="`transform_batch` names no batch.", hint=closest("", known))
    for name in wanted:
        if name not in known:
            raise QueryError("transform_batch", problem=f"There is no batch '{name}'.", hint=closest(name, known))
    return [known.index(name) for name in wanted]


def gene_places(registry, genes):
    """(g',) int64 places of genes by name, in the order given; None for all of them."""
    if genes is None:
        return None
    genes = [genes] if isinstance(genes, str) else [str(gene) for gene in genes]
    place = {name: i for i, name in enumerate(registry.genes)}
    missing = [gene for gene in genes if gene not in place]
    if missing or not genes:
        problem = f"The model was not trained on {len(missing)} of the genes, such as '{missing[0]}'." if missing else \
            "The list of genes is empty."
        raise QueryError("genes", problem=problem, hint=closest(missing[0] if missing else "", registry.genes))
    return np.array([place[gene] for gene in genes], dtype=np.int64)


def moved(cells, code):
    """The same cells as if they came from batch `code`; None leaves them where they are."""
    if code is None:
        return cells
    categories = cells["categories"].clone()
    categories[:, 0] = code
    return cells | {"batch": torch.full_like(cells["batch"], code), "categories": categories}


def decode(module, latents, cells):
    """The distribution of the counts, given latents (..., m, k)."""
    return module.generative(latents, cells).likelihood["x"]


def expression_into(out, counts, *, places=None, rate=False):
    """Sets: `out` (m, g') float32, to the expression fractions of a distribution over (m, g), or to its rates.

    `places` (g',) are those of the genes; None for all. Logits go through the softmax straight to their place.
    """
    logits = counts.logits
    if logits is None or logits.dtype != out.dtype or logits.device != out.device:
        values = counts.rate if rate else counts.rho
    else:
        values = torch.softmax(logits, -1, out=out if places is None else None)
        if rate:
            values.mul_(counts.log_library.exp())
    if places is not None:
        values = values.index_select(-1, places)
    if values is not out:
        out.copy_(values)
