"""The engine's own state, and data that come in."""

import sys
import warnings
from importlib.metadata import version as package_version

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from latome import __version__
from latome.backend import borrowed_blas, torch
from latome.bridge.answers import answers, as_list
from latome.data.minified import minify
from latome.data.selection import select_genes as select
from latome.kernels import native

__all__ = ["anndata", "column_values", "select_genes", "status"]


@answers
def status():
    """Versions, devices and threads of the engine."""
    devices = ["cpu"] + [f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("mps")
    return {"version": __version__, "python": sys.version.split()[0], "executable": sys.executable,
            "torch": str(torch.__version__), "numpy": np.__version__, "anndata": package_version("anndata"),
            "safetensors": package_version("safetensors"), "threads": torch.get_num_threads(), "devices": devices,
            "kernels": kernels(native.status()), "borrowed_blas": borrowed_blas}


def kernels(found):
    """The compiled kernels of `native.status()` in words."""
    if not found["compiled"]:
        return f"torch operations ({found['problem']})"
    return f"compiled ({found['instructions']})" + (f"; {found['problem']}" if found["problem"] else "")


@answers
def anndata(x, i, p, shape, cells, genes, columns, posterior=None):
    """An AnnData over R's own memory: the arrays of a genes x cells dgCMatrix are those of a cells x genes CSR.

    Arguments
    ---------
    x, i, p : values (nnz,), genes (nnz,) and where each cell begins (n + 1,).
    shape : [n, g].
    cells, genes : names.
    columns : {name: {"codes": (n,) with -1 for missing, "levels": names} or {"values": (n,) numbers}}.
    posterior : {"mean", "variance": (n, k), "totals": (n,)} of cells without counts, or None.
    """
    n, g = (int(size) for size in shape)
    matrix = sp.csr_matrix((x, i, p), shape=(n, g), copy=False)
    obs = pd.DataFrame(index=pd.Index(as_list(cells), dtype=object))
    for name, column in dict(columns).items():
        obs[name] = column_values(column)
    var = pd.DataFrame(index=pd.Index(as_list(genes), dtype=object))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")                # of names that occur twice: open_data refuses them
        adata = ad.AnnData(X=matrix, obs=obs, var=var)
    if posterior is not None:
        adata = minify(adata, posterior["mean"], posterior["variance"], np.ravel(posterior["totals"]))
    return {"data": adata}


def column_values(column):
    """A column that R sends, {"codes", "levels"} or {"values"}, as pandas holds it."""
    if "codes" not in column:
        return np.asarray(column["values"], dtype=np.float64).ravel()
    return pd.Categorical.from_codes(np.asarray(column["codes"]).astype(np.int64).ravel(), as_list(column["levels"]))


@answers
def select_genes(data, n_top=4000, batch=None):
    """Names of the genes whose zeros a Poisson explains least, by batch."""
    return {"genes": select(data, n_top=int(n_top), batch=batch)}
