"""Matrices that stay in their file while an AnnData holds them, and AnnData of files opened so."""

from pathlib import Path

import numpy as np

from latome.data.hdf5 import entries_of
from latome.data.on_disk import DenseRows, DiskCounts, SparseRows
from latome.errors import FieldError

__all__ = ["StoredMatrix", "annotated", "open_group", "open_h5ad", "read_zarr"]


class StoredMatrix:
    """A matrix of n cells and g genes that stays in its file, for X or a layer of an AnnData.

    Arguments
    ---------
    rows : `SparseRows` or `DenseRows`, or None where it lies gene by gene.
    by_gene : (data, indices, indptr, shape) of a matrix that does, else None.
    tally : (totals (n,), genes detected (g,), whether all are whole) where its counts are known to be counts.

    Slicing it reads that part, as does `to_memory()` all of it.
    """

    format = "csr"

    def __init__(self, rows, by_gene=None, tally=None):
        self.rows, self.by_gene, self.tally = rows, by_gene, tally
        self.shape = tuple(int(size) for size in (rows.shape if by_gene is None else by_gene[3]))
        self.dtype = np.dtype((by_gene[0] if by_gene else rows).dtype)

    def __getitem__(self, index):
        if self.rows is None:
            raise FieldError("x", problem="The counts lie in their file gene by gene (CSC); cells cannot be read "
                             "from it.", hint="Write them cell by cell once: latome.data.prepare_store(path, folder).")
        rows, columns = index if isinstance(index, tuple) else (index, slice(None))
        rows, columns = (np.arange(size)[place] for size, place in zip(self.shape, (rows, columns), strict=True))
        return DiskCounts(self.rows, columns=np.atleast_1d(columns)).hold(np.atleast_1d(rows)).stored()

    def to_memory(self):
        """CSR (n, g) of all of it."""
        return self[:]

    def copy(self):
        """Itself: it cannot be changed."""
        return self

    def with_more_genes(self, n):
        """The same with n genes more, without counts; of sparse rows only."""
        if not n:
            return self
        rows, tally = self.rows, self.tally
        if tally is not None:
            tally = tally[0], np.append(tally[1], np.zeros(n, dtype=bool)), tally[2]
        return StoredMatrix(SparseRows(rows.data, rows.indices, rows.offsets, self.shape[1] + n), tally=tally)


def annotated(x, obs, var, **others):
    """An AnnData whose matrices may be `StoredMatrix`.

    Arguments
    ---------
    x : matrix (n, g), or None.
    obs, var : data frames of the n cells and g genes.
    others : layers, obsm, uns ...; as AnnData takes them.
    """
    import anndata  # here: reading files is not everyone's road in

    on_file = anndata.abc if hasattr(anndata, "abc") else anndata.experimental
    on_file.CSRDataset.register(StoredMatrix)          # what an AnnData asks of a matrix, it has
    return anndata.AnnData(x, obs=obs, var=var, **others)


def read_zarr(path, backed=None):
    """Read a .zarr folder, as an AnnData; `backed = "r"` leaves X and the layers in their files.

    Arguments
    ---------
    path : folder that anndata wrote, of either format of zarr.
    backed : None or "r".
    """
    import zarr  # here: half a second to load, for those who have such files

    if not Path(path).is_dir():
        raise FieldError("path", problem=f"There is no folder {path}.", hint="Check the path.")
    try:
        group = zarr.open_group(str(path), mode="r")
    except (ValueError, KeyError, FileNotFoundError) as error:
        raise FieldError("path", problem=f"{path} is no zarr folder: {error}.",
                         hint="Give a folder that adata.write_zarr() wrote.") from None
    return open_group(group, str(path)) if backed else annotated_of_zarr(path)


def annotated_of_zarr(path):
    """An AnnData of a .zarr folder, in memory."""
    import anndata  # here: as above

    return anndata.read_zarr(path)


def open_h5ad(path):
    """An AnnData of an .h5ad file whose X and layers, all of them, stay in the file."""
    import h5py  # here: comes with anndata

    if not Path(path).is_file():
        raise FieldError("path", problem=f"There is no file {path}.", hint="Check the path.")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise FieldError("path", problem=f"{path} cannot be read as HDF5: {error}.",
                         hint="Give a file that adata.write_h5ad() wrote.") from None
    return open_group(file, str(path))


def open_group(group, path):
    """An AnnData of an open HDF5 or zarr group that anndata wrote: X and layers stay there, all else is read."""
    import anndata  # here: as above

    read = (anndata.io if hasattr(anndata, "io") else anndata.experimental).read_elem
    if "obs" not in group or "var" not in group:
        raise FieldError("path", problem=f"{path} holds no AnnData.", hint="Give what anndata wrote.")
    layers = {name: stored(group["layers"][name]) for name in group["layers"]} if "layers" in group else {}
    others = {name: read(group[name]) for name in ("obsm", "uns") if name in group}
    return annotated(stored(group["X"]) if "X" in group else None, read(group["obs"]), read(group["var"]),
                     layers=layers, **others)


def stored(element):
    """The `StoredMatrix` of an element of a file."""
    if hasattr(element, "dtype"):
        return StoredMatrix(DenseRows(element))
    form = element.attrs.get("encoding-type", element.attrs.get("h5sparse_format", ""))
    if form.startswith(("csr", "csc")):
        shape = element.attrs["shape"] if "shape" in element.attrs else element.attrs["h5sparse_shape"]
        parts = entries_of(element["data"]), entries_of(element["indices"])
        if form.startswith("csr"):
            return StoredMatrix(SparseRows(*parts, element["indptr"], int(shape[1])))
        return StoredMatrix(None, (*parts, element["indptr"], shape))
    raise FieldError("x", problem=f"The file holds a matrix of kind '{form}', which cannot be read in parts.",
                     hint="Load the data: adata = anndata.read_h5ad(path), or anndata.read_zarr(path).")
