"""New cells on a trained reference."""

import numpy as np
import pandas as pd
from anndata import AnnData

from latome.analysis.latent import latent
from latome.bridge.answers import answers, as_list, unpacked
from latome.bridge.training import begun, packed, roles
from latome.data.registry import Columns
from latome.fit import check_seed
from latome.surgery import check_overlap, learns, map_query, new_categories
from latome.training.options import TrainingOptions
from latome.training.session import RandomStream, use_threads

__all__ = ["gene_overlap", "start_mapping"]


@answers
def gene_overlap(names, genes, min_overlap):
    """The share of a model's genes among the names of new cells' genes; an error where it is too small."""
    var = pd.DataFrame(index=pd.Index(as_list(names), dtype=object))
    return {"share": check_overlap(AnnData(shape=(0, len(var)), var=var), as_list(genes), float(min_overlap))}


@answers
def start_mapping(data, document, weights, columns, options, seed=None, allow_noninteger=False):
    """New cells on a reference, their genes in its order: {"new": {column: categories}, "learns"}, and a trainer.

    Where training cannot move their latent there is no trainer, but what `finish` would return.
    """
    reference = unpacked(document, weights)
    options = TrainingOptions.make(**dict(options or {}))
    named = roles(columns) if columns else Columns()
    known = reference.registry.columns
    named = Columns(
        layer=None, batch=named.batch, labels=named.labels, categorical=named.categorical or known.categorical,
        continuous=named.continuous or known.continuous, size_factor=named.size_factor)
    seed = None if seed is None else check_seed(seed)
    fit, dataset = map_query(reference, data, named, min_overlap=0, seed=seed, allow_noninteger=bool(allow_noninteger))
    found = {"new": new_categories(reference.registry, fit.registry), "learns": learns(fit)}
    if found["learns"]:
        return begun(fit, dataset, options) | found
    with RandomStream(fit.seed).active(), use_threads(options.threads):
        z = latent(fit.module, dataset)
    return packed(fit, z) | found | {"latent": np.asfortranarray(z, dtype=np.float64),
                                     "warnings": list(dataset.warnings)}
