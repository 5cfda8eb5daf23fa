"""Which genes make a model give cells their labels."""

import numpy as np
import pandas as pd

from latome.analysis.attributions import label_attributions as attributions_of
from latome.analysis.attributions import ranked_genes
from latome.bridge.answers import answers, columns_of, doubts, given, opened, triplet

__all__ = ["label_attributions"]


@answers
def label_attributions(document, weights, data, options=None, seed=0):
    """How much each gene adds to the probability of a cell's label.

    With options["each_cell"] {"x", "i", "p"}, genes x cells; else {"table"}: for each label that is explained in some
    cell, the genes by their mean attribution over these cells.
    """
    options = given(options)
    each_cell = options.pop("each_cell", False)
    with opened(document, weights, data, seed) as (fit, dataset):
        found, codes = attributions_of(fit.module, dataset, **options)
        if each_cell:
            return {**triplet(found), "warnings": doubts(fit)}
        labels, genes = fit.registry.categories["labels"], fit.registry.genes
        parts = [pd.DataFrame({"label": labels[code], **ranked_genes(found[codes == code], genes)})
                 for code in np.unique(codes)]
        table = pd.concat(parts).drop(columns="gene_idx").rename(columns={"attribution_std": "attribution_sd"})
        return {"table": columns_of(table), "warnings": doubts(fit)}
