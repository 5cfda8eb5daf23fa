"""How cost and memory grow with the number of cells: one fresh process for each size, in memory and from disk."""

import shutil

import anndata
import numpy as np
import scipy.sparse as sp
from rounds import RESULTS, Worker, has_peer, peer_python

from latome.data import prepare_store

__all__ = ["draw_growth", "growth_rows", "measure_growth", "repeated"]

MEGABYTE = 2**20
FLAGS = {"in memory": ["warm"], "from h5ad": ["warm", "backed"], "from a store": ["warm"]}


def repeated(data, n):
    """AnnData of n cells: those of `data` over and over, their batches beside them."""
    whole, rest = divmod(n, data.n_obs)
    parts = [data.X] * whole + ([data.X[:rest]] if rest else [])
    rows = np.concatenate([np.arange(part.shape[0]) for part in parts])
    obs = data.obs[["batch"]].iloc[rows].set_axis([f"cell_{i}" for i in range(n)])
    return anndata.AnnData(sp.vstack(parts, format="csr"), obs=obs, var=data.var[[]])


def measure_growth(base, options, folder, first_epoch):
    """{"in memory", "from h5ad", "from a store": [{cells, microseconds a cell, megabytes over}, ...]}.

    Arguments
    ---------
    base : AnnData whose cells are repeated.
    options : {"sizes": numbers of cells, "cells": seen in each training, or one epoch's where that is more}.
    folder : of the files, which are removed again.
    first_epoch : function of (path, epochs, flags) that returns what workers/first_epoch.py tells.
    """
    found = {kind: [] for kind in FLAGS}
    for n in options["sizes"]:
        path, store = folder / "growth.h5ad", folder / "growth.store"
        repeated(base, n).write_h5ad(path)
        prepare_store(path, store, overwrite=True)
        for kind, rows in found.items():
            source = store if kind == "from a store" else path
            told = first_epoch(str(source), max(1, options["cells"] // n), FLAGS[kind])
            rows.append({"cells": n, "microseconds a cell": 1e6 * told["training"] / told["cells"],
                         "megabytes over": told["over"] / MEGABYTE})
            print(f"{n} cells, {kind}: {rows[-1]['microseconds a cell']:.1f} us a cell, "
                  f"{rows[-1]['megabytes over']:.0f} MB over the start", flush=True)
        path.unlink()
        shutil.rmtree(store)
    return found


def growth_rows(found):
    """Markdown cells of a table: a row for each number of cells."""
    return [[f"{sides[0]['cells']:,}", *(f"{side['microseconds a cell']:.1f}" for side in sides),
             *(f"{side['megabytes over']:.0f}" for side in sides)] for sides in zip(*found.values(), strict=True)]


def draw_growth(found, bench):
    """Sets: growth.png, beside the results; where the peer's environment is there to draw it."""
    if not has_peer():
        return
    panels = [{"title": title, "x": "cells", "y": words, "log": "x", "curves": [
        {"name": kind, "x": [row["cells"] for row in rows], "y": [row[words] for row in rows], "marker": "o"}
        for kind, rows in found.items()]}
        for title, words in (("Cost of training", "microseconds a cell"), ("Memory", "megabytes over"))]
    worker = Worker([peer_python(), str(RESULTS.parent / "workers/curves.py")], bench.threads)
    worker.ask("curves", panels=panels, to=str(bench.results / "growth.png"))
    worker.close()
