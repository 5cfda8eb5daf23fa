"""Files of cells for R: what an .h5ad holds, and one put together from parts that lie in an archive."""

import hashlib
import io
import os
import re
import zipfile
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from latome.bridge.answers import answers, as_list, triplet
from latome.data.sources import count_matrix
from latome.data.sources import read_h5ad as read
from latome.errors import FieldError

__all__ = ["file_checksum", "join_h5ad", "read_h5ad"]

BARCODE = re.compile("[ACGT]{8,}")


@answers
def read_h5ad(path):
    """Counts, tables and matrices of an .h5ad.

    Returns x, i, p (of a genes x cells dgCMatrix), cells, genes, obs and var (columns as `column_for_r` gives them),
    obsm and varm ({name: {"values": (rows, k), "names": of the columns, or None}}).
    """
    try:
        adata = read(path)
    except OSError as error:
        raise FieldError("path", problem=f"{path} cannot be read as an .h5ad: {error}.") from None
    return {**triplet(count_matrix(adata)), "cells": list(adata.obs_names), "genes": list(adata.var_names),
            "obs": table_for_r(adata.obs), "var": table_for_r(adata.var),
            "obsm": {name: matrix_for_r(values) for name, values in adata.obsm.items()},
            "varm": {name: matrix_for_r(values) for name, values in adata.varm.items()}}


def table_for_r(table):
    """The columns of a data frame that R has a type for."""
    return {str(name): column_for_r(values) for name, values in table.items()}


def column_for_r(values):
    """A column as {"codes", "levels"} of groups, {"values"} of numbers and truths, or {"strings"}."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        return {"codes": values.cat.codes.to_numpy().astype(np.int32),
                "levels": [str(level) for level in values.cat.categories]}
    if values.dtype.kind == "b":
        return {"values": values.to_numpy(dtype=bool)}
    if values.dtype.kind in "iuf":
        return {"values": values.to_numpy(dtype=np.float64)}
    return {"strings": [None if missing else str(value) for value, missing in zip(values, values.isna(), strict=True)]}


def matrix_for_r(values):
    """A matrix beside the counts, with the names of its columns where it has any."""
    names = [str(name) for name in values.columns] if isinstance(values, pd.DataFrame) else None
    dense = values.toarray() if sp.issparse(values) else values
    return {"values": np.asfortranarray(dense, dtype=np.float64), "names": names}


@answers
def file_checksum(path):
    """The SHA-256 of a file."""
    found = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            found.update(piece)
    return {"sha256": found.hexdigest()}


@answers
def join_h5ad(archive, members, column, path, least_cells=0):
    """Write the cells of several .h5ad files inside a zip archive into one .h5ad.

    Arguments
    ---------
    archive : path of the zip.
    members : {group: member}; cells are named "<group>_<barcode>-1", in the order of the groups.
    column : what the groups are called in obs; obs has them as "batch" too.
    path : of the new file, which appears when it is complete.
    least_cells : genes seen in fewer cells are left out.
    """
    with zipfile.ZipFile(archive) as opened:
        parts = [renamed(ad.read_h5ad(io.BytesIO(opened.read(member))), group) for group, member in members.items()]
    if any(list(part.var_names) != list(parts[0].var_names) for part in parts[1:]):
        raise FieldError("archive", problem=f"The files in {archive} do not have the same genes in the same order.")
    counts = sp.vstack([sp.csr_matrix(part.X) for part in parts], format="csr")
    genes = np.asarray((counts > 0).sum(axis=0)).ravel() >= int(least_cells)
    groups = pd.Categorical(np.repeat(as_list(list(members)), [part.n_obs for part in parts]))
    obs = pd.DataFrame({column: groups, "batch": groups}, index=np.concatenate([part.obs_names for part in parts]))
    joined = ad.AnnData(counts[:, genes], obs=obs, var=pd.DataFrame(index=parts[0].var_names[genes]))
    unfinished = Path(path).with_suffix(".part")
    joined.write_h5ad(unfinished, compression="gzip")
    os.replace(unfinished, path)
    return {"path": str(path)}


def renamed(part, group):
    """An AnnData whose cells are named by group and barcode, and whose genes have one name each."""
    part.obs_names = [f"{group}_{BARCODE.search(cell)[0]}-1" for cell in part.obs_names]
    part.var_names = part.var_names.astype(str)
    part.var_names_make_unique()
    return part
