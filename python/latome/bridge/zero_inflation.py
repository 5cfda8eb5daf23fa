"""Zero inflation by gene."""

from latome.analysis.zero_inflation import zero_inflation as table_of
from latome.bridge.answers import answers, columns_of, doubts, unpacked

__all__ = ["zero_inflation"]


@answers
def zero_inflation(document, weights):
    """The posterior of zero inflation, a row a gene, or a gene and batch or label, as columns."""
    fit = unpacked(document, weights)
    return {"table": columns_of(table_of(fit.module, fit.registry)), "warnings": doubts(fit)}
