"""Floor 6: new cells mapped onto a trained reference, whose latent and decoding stay as they are, bit for bit.

A model of the reference is extended by the categories that the new cells bring: their rows are appended to each table,
and they alone are trained (Lotfollahi et al., Nature Biotechnology 40, 2022, whose method is scArches).
"""

from latome.surgery.genes import align_genes, check_overlap
from latome.surgery.growth import grow
from latome.surgery.mapping import grows, learns, map_query
from latome.surgery.roles import extend_registry, new_categories

__all__ = ["align_genes", "check_overlap", "extend_registry", "grow", "grows", "learns", "map_query", "new_categories"]
