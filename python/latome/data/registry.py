"""The registry of a model's data: gene order and category names, and data opened against it."""

from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np

from latome.data.fields import Columns, categories_of, continuous_values, encode, obsm_values, size_factors
from latome.data.minified import stored_posterior
from latome.data.sources import CountSource, mark_of, open_counts
from latome.errors import FieldError, QueryError

__all__ = ["Dataset", "Registry", "open_data", "up_to_date"]

ONE_BATCH = ("all",)                                   # the batch of data that name none
FEW_CELLS = 3


@dataclass(frozen=True)
class Registry:
    """What a model remembers of its data; travels with it as JSON.

    Arguments
    ---------
    genes : names of the genes, in the model's order.
    columns : the roles of the columns.
    categories : {"batch": names, "labels": names, "<covariate>": names}, in the order of their codes.
    arrays : {name: column names} of further matrices.
    n_cells : number of cells the model was made for; 0 where unknown.
    markers : {cell type: names of its marker genes}; {} for a model without.
    size_scale : mean total count, over all genes of the data, by which a cell's total is divided to give its size
        factor; None where a column holds size factors, or none are used.
    """

    genes: tuple
    columns: Columns
    categories: dict
    arrays: dict = field(default_factory=dict)
    n_cells: int = 0
    markers: dict = field(default_factory=dict)
    size_scale: float | None = None

    @property
    def n_genes(self):
        return len(self.genes)

    @property
    def n_batch(self):
        return len(self.categories["batch"])

    @property
    def n_labels(self):
        return len(self.categories.get("labels", ()))

    @property
    def batch_categories(self):
        return list(self.categories["batch"])

    @property
    def category_sizes(self):
        """Number of categories of the batch and of each categorical covariate."""
        return (self.n_batch, *(len(self.categories[name]) for name in self.columns.categorical))

    @property
    def n_continuous(self):
        return len(self.columns.continuous)

    def to_json(self):
        """The same as plain containers."""
        return {"genes": list(self.genes), "columns": self.columns.to_json(),
                "categories": {name: list(names) for name, names in self.categories.items()},
                "arrays": {name: list(names) for name, names in self.arrays.items()}, "n_cells": self.n_cells,
                "markers": {name: list(genes) for name, genes in self.markers.items()}, "size_scale": self.size_scale}

    @classmethod
    def from_json(cls, document):
        """The reverse of `to_json`."""
        return cls(tuple(document["genes"]), Columns.from_json(document["columns"]),
                   document["categories"], document.get("arrays", {}), document.get("n_cells", 0),
                   document.get("markers", {}), document.get("size_scale"))


@dataclass
class Dataset:
    """Data ready for a model: counts by row, codes by column.

    Arguments
    ---------
    registry : names behind the codes.
    source : a `CountSource` of (n, g).
    cells : names of the cells.
    codes : {"batch": (n,), "labels": (n,) with -1 for unlabeled} int64.
    categories : (n, 1 + c) int64, the batch and the categorical covariates.
    continuous : (n, d) float32.
    arrays : {name: (n, p) float32}.
    totals : (n,) float32, library sizes: the total counts, or what minified data remember of them.
    size_factor : (n,) float32, or None.
    stored : {"z": (means (n, k), variances (n, k))} float32 of minified data, else {}.
    has_counts : whether `source` holds the counts; minified data may have none.
    warnings : what was found and can be lived with, in words.
    """

    registry: Registry
    source: CountSource
    cells: list
    codes: dict
    categories: np.ndarray
    continuous: np.ndarray
    arrays: dict
    totals: np.ndarray
    size_factor: np.ndarray | None = None
    stored: dict = field(default_factory=dict)
    has_counts: bool = True
    warnings: list = field(default_factory=list)

    def require_counts(self, what):
        """A QueryError where the data hold no counts, which `what` needs."""
        if not self.has_counts:
            raise QueryError("adata", problem=f"{what} needs counts, and the data are minified: they hold none.",
                             hint="Give the data with their counts: adata=..., or minify with counts.")

    @property
    def n_cells(self):
        return self.source.shape[0]

    @property
    def n_genes(self):
        return self.source.shape[1]


def open_data(adata, columns=None, *, registry=None, genes=None, markers=None, allow_noninteger=False,
              allow_empty=False):
    """Check an AnnData and open it for a model.

    Arguments
    ---------
    adata : AnnData of n cells with raw counts; nothing is written into it.
    columns : the roles of its columns, a `Columns`; default: those of `registry`, or counts in X alone. With
        `registry` they may name another layer, batch or labels, but the same covariates.
    registry : of a trained model: genes are matched by name and categories must be known to it.
    genes : names of the genes to use, in this order; None for all (or those of `registry`).
    markers : {cell type: names of its marker genes}, for a model that is told them; the types become the labels,
        and without a column of size factors, those come from the total counts over all genes of the data.
    allow_noninteger : accept counts that are not whole numbers.
    allow_empty : accept cells without counts.

    Returns a `Dataset`. Raises FieldError, or QueryError where genes of `registry` are missing.
    """
    from anndata import AnnData  # here: whoever holds one has loaded it already

    if not isinstance(adata, AnnData):
        raise FieldError("adata", problem=f"The data are of type {type(adata).__name__}, not AnnData.",
                         hint="Read a file with latome.data.read_h5ad(path), or make one with anndata.AnnData(counts).")
    columns = columns or (registry.columns if registry else Columns())
    if registry is not None:
        _refuse_other_roles(columns, registry.columns)
    if adata.n_obs == 0 or adata.n_vars == 0:
        raise FieldError("x", problem=f"The data hold {adata.n_obs} cells and {adata.n_vars} genes.",
                         hint="Give at least one of each.")
    source = open_counts(adata, columns.layer)
    chosen = list(registry.genes) if registry else genes
    where, chosen = _locate_genes(adata.var_names, chosen, for_query=registry is not None)
    every, source = source, source.genes(where)
    minified = stored_posterior(adata)                                  # None, or (kind, means, variances, totals)
    warnings = []
    if minified is None or minified.with_counts:
        source.check(allow_noninteger)
    totals = source.totals() if minified is None else minified.totals
    if registry is None:
        registry = _build_registry(adata, columns, chosen, source, warnings)
        registry = registry if markers is None else _with_markers(registry, markers, every)
    if not (registry.markers or allow_empty):          # a cell without counts of any marker is of some type too
        _refuse_empty_cells(totals, source.shape[1])
    codes, categories = _encode(adata.obs, columns, registry)
    arrays = {name: obsm_values(adata, key)[0] for name, key in columns.obsm}
    continuous = continuous_values(adata.obs, columns.continuous)
    factors = _size_factors(adata, columns, registry, every)
    stored = {} if minified is None else {"z": (minified.mean, minified.variance)}
    has_counts = minified is None or minified.with_counts
    return Dataset(registry, source, list(adata.obs_names), codes, categories, continuous, arrays,
                   totals.astype(np.float32), factors, stored, has_counts, warnings)


def up_to_date(data, adata):
    """`data`, or where the counts of `adata` have changed since they were opened: opened again, with a warning in it.

    Arguments
    ---------
    data : a `Dataset` of `adata`, opened with the columns of its registry.
    adata : AnnData, which its user may have filtered, normalised or given other counts meanwhile.
    """
    same = mark_of(adata, data.registry.columns.layer) == data.source.mark
    if same and data.source.readable:
        return data
    fresh = open_data(adata, registry=data.registry, allow_noninteger=True)
    if same:                                           # in a file that was closed, and that anndata opens again
        return fresh
    fresh.warnings.append(f"The counts have changed since they were opened: {fresh.source.name} is read again.")
    try:
        fresh.source.check()
    except FieldError as error:
        fresh.warnings.append(f"{error.problem} {error.hint}")
    return fresh


def _locate_genes(var_names, genes, for_query):
    """(positions, names) of the genes asked for."""
    if genes is not None and isinstance(genes, str):
        genes = [genes]
    names = [str(name) for name in var_names]
    if len(set(names)) != len(names):
        twice = [name for name, times in Counter(names).items() if times > 1]
        raise FieldError("genes", problem=f"{len(twice)} gene names occur more than once, such as '{twice[0]}'.",
                         hint="Make them unique: adata.var_names_make_unique(), or make.unique() in R.")
    if genes is None:
        return np.arange(len(names)), names
    genes = [str(gene) for gene in genes]
    if not genes:
        raise FieldError("genes", problem="The list of genes is empty.", hint="Leave it out to use all genes.")
    if len(set(genes)) != len(genes):
        raise FieldError("genes", problem="The list of genes names some twice.", hint="Name each gene once.")
    place = {name: i for i, name in enumerate(names)}
    missing = [gene for gene in genes if gene not in place]
    if missing:
        kind = QueryError if for_query else FieldError
        shown = ", ".join(f"'{gene}'" for gene in missing[:5])
        raise kind("genes", problem=f"{len(missing)} of {len(genes)} genes are not in the data: {shown}"
                                    f"{' ...' if len(missing) > 5 else ''}.",
                   hint="The model needs each gene it was trained on." if for_query
                   else f"The data name genes such as '{names[0]}'.")
    return np.array([place[gene] for gene in genes]), genes


def _refuse_other_roles(columns, known):
    if (columns.size_factor is None) != (known.size_factor is None):
        raise FieldError("size_factor", problem=f"The size factor is {columns.size_factor!r}; the model was made with "
                         f"{known.size_factor!r}.", hint="Name the column of size factors where the model has one.")
    hint = "Leave `columns` out to take the model's, or change them: dataclasses.replace(registry.columns, layer=...)."
    if (columns.batch is None) != (known.batch is None):
        raise FieldError("batch", problem=f"The batch is {columns.batch!r}; the model was made with {known.batch!r}.",
                         hint=hint)
    for role in ("categorical", "continuous"):
        given, wanted = list(getattr(columns, role)), list(getattr(known, role))
        if given != wanted:
            raise FieldError(role, problem=f"The {role} covariates are {given}; the model was made with {wanted}.",
                             hint=hint)


def _with_markers(registry, markers, every):
    """The registry of a model that is told marker genes, `every` the source of all genes of the data."""
    scale = None if registry.columns.size_factor is not None else float(every.totals().mean())
    markers = {name: list(genes) for name, genes in markers.items()}
    return replace(registry, categories={**registry.categories, "labels": list(markers)}, markers=markers,
                   size_scale=scale)


def _size_factors(adata, columns, registry, every):
    """(n,) float32 from their column or from the totals over all genes; None where the model uses none."""
    if columns.size_factor is not None:
        return size_factors(adata.obs, columns.size_factor)
    if registry.size_scale is None:
        return None
    totals = every.totals()
    _refuse_empty_cells(totals, every.shape[1])
    return (totals / registry.size_scale).astype(np.float32)


def _refuse_empty_cells(totals, n_genes):
    empty = np.flatnonzero(totals <= 0)
    if empty.size:
        raise FieldError("x", problem=f"{empty.size} cells have no counts in the {n_genes} genes used "
                                      f"(the first is cell {empty[0] + 1}).",
                         hint="Remove these cells, or use more genes.")


def _build_registry(adata, columns, genes, source, warnings):
    obs = adata.obs
    categories = {"batch": list(ONE_BATCH)}
    if columns.batch is not None:
        categories["batch"] = categories_of(obs, columns.batch, "batch")
    if columns.labels is not None:
        categories["labels"] = categories_of(obs, columns.labels, "labels", allow_missing=True,
                                             missing_as=columns.unlabeled)
    for name in columns.categorical:
        if name in ("batch", "labels") and getattr(columns, name) != name:
            raise FieldError("categorical", problem=f"A categorical covariate cannot be called '{name}'.",
                             hint="Rename the column.")
        categories[name] = categories_of(obs, name, "categorical")
    _warn_of_columns(adata, columns, categories, warnings)
    silent = int((~source.detected()).sum())
    if 0 < silent < len(genes):                        # of minified data all are
        warnings.append(f"{silent} of {len(genes)} genes have no counts in any cell; they carry no information.")
    arrays = {name: obsm_values(adata, key)[1] for name, key in columns.obsm}
    return Registry(tuple(genes), columns, categories, arrays, adata.n_obs)


def _warn_of_columns(adata, columns, categories, warnings):
    roles = [("batch", columns.batch)] + [(name, name) for name in columns.categorical]
    for role, name in roles:
        if name is None:
            continue
        sizes = np.bincount(encode(adata.obs, name, role, categories[role]))
        rare = [categories[role][code] for code in np.flatnonzero(sizes < FEW_CELLS)]
        if len(rare) > len(sizes) / 2 and len(sizes) > FEW_CELLS:
            raise FieldError(role, problem=f"Column '{name}' has {len(sizes)} categories for {adata.n_obs} cells; "
                                           f"most hold fewer than {FEW_CELLS}.",
                             hint="Is it a number, or a cell name? Pass numbers as continuous covariates.")
        if rare:
            warnings.append(f"Column '{name}': {len(rare)} categories have fewer than {FEW_CELLS} cells "
                            f"(such as '{rare[0]}').")
    for name, values in zip(columns.continuous, continuous_values(adata.obs, columns.continuous).T, strict=True):
        if np.ptp(values) == 0:
            warnings.append(f"Continuous covariate '{name}' is the same in every cell; it carries no information.")
        elif np.abs(values).max() > 100:
            warnings.append(f"Continuous covariate '{name}' reaches {np.abs(values).max():.4g}; covariates are used as "
                            "they are, so standardise it.")


def _encode(obs, columns, registry):
    n = len(obs)
    batch = np.zeros(n, dtype=np.int64)
    if columns.batch is not None:
        batch = encode(obs, columns.batch, "batch", registry.categories["batch"])
    labels = np.full(n, -1, dtype=np.int64)
    if columns.labels is not None and columns.labels in obs:
        labels = encode(obs, columns.labels, "labels", registry.categories["labels"], allow_missing=True,
                        missing_as=columns.unlabeled)
    extra = [encode(obs, name, "categorical", registry.categories[name]) for name in columns.categorical]
    return {"batch": batch, "labels": labels}, np.stack([batch, *extra], axis=1)
