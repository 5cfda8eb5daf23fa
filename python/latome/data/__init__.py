"""Floor 2: from an AnnData to minibatches; simulation and selection of genes.

`synthetic` data and readers of the object face are reached through here, on first use.
"""

from importlib import import_module

_WHERE = {
    "Columns": "latome.data.fields",
    "Dataset": "latome.data.registry",
    "Registry": "latome.data.registry",
    "open_data": "latome.data.registry",
    "open_store": "latome.data.store",
    "poisson_gene_selection": "latome.data.selection",
    "prepare_store": "latome.data.store",
    "read_h5ad": "latome.data.sources",
    "read_zarr": "latome.data.lazy",
    "select_genes": "latome.data.selection",
    "simulate": "latome.data.simulate",
    "synthetic_iid": "latome.data.synthetic",
}

__all__ = sorted(_WHERE)


def __getattr__(name):
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'latome.data' has no attribute {name!r}")
