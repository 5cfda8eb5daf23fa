"""Real data for benchmarks, where they are: files in LATOME_DATA, or in shared/data beside the repository."""

import os
from pathlib import Path

import anndata
import pandas as pd
from counts import write_counts
from rounds import HERE

from latome.data import select_genes

__all__ = ["KNOWN", "chosen_file", "find_file", "with_genes"]

KNOWN = {"pbmc_3batch": ("batch", "label"), "kang_ifnb": ("stim", "cell_type")}         # batch, labels
GENES = 2000


def find_file(name):
    """The path of <name>.h5ad, or None."""
    folder = Path(os.environ.get("LATOME_DATA") or HERE.parent.parent / "shared" / "data")
    path = folder / f"{name}.h5ad"
    return path if path.exists() else None


def with_genes(data, batch, n_genes=GENES, columns=()):
    """The cells with `n_genes` genes, chosen within batches if there are; of the columns, the batch and `columns`."""
    genes = select_genes(data, n_genes, batch=batch)
    kept = [column for column in (batch, *columns) if column is not None]
    return anndata.AnnData(data[:, genes].X, obs=data.obs[kept], var=pd.DataFrame(index=genes))


def chosen_file(name, folder, otherwise):
    """(path, in words, batch column): the chosen genes of real data, or simulated counts where there are none."""
    file = find_file(name) if name else None
    if file is None:
        return write_counts(otherwise, folder)["train"], "simulated counts, not the real ones", "batch"
    path, batch = folder / f"{name}.h5ad", KNOWN[name][0]
    if not path.exists():
        with_genes(anndata.read_h5ad(file), batch).write_h5ad(path)
    return str(path), name, batch
