"""Solo from a fitted model: simulated doublets, the features of all cells, and their scores.

A simulated doublet is the sum of the counts of two observed cells, drawn at random with replacement within a batch. It
takes batch and categorical covariates of the first, the mean of their continuous covariates, and the sum of their size
factors. The parent encodes observed and simulated cells alike; the features are the mean of z and the log library size.
"""

import dataclasses

import numpy as np
import pandas as pd
import scipy.sparse as sp

from latome.analysis.labels import label_probabilities
from latome.analysis.latent import latent, latent_moments
from latome.analysis.sweep import some_rows
from latome.data.fields import Columns, encode
from latome.data.registry import Dataset, Registry
from latome.data.sources import CountSource
from latome.errors import FieldError, QueryError
from latome.fit import initialise
from latome.modules.expression import ExpressionModule
from latome.modules.solo import LABELS, SoloSettings
from latome.protocol.settings import check_setting
from latome.training.session import RandomStream

__all__ = ["doublet_scores", "drawn_pairs", "features_as_anndata", "open_features", "simulated"]

BLOCK = 8192                                           # doublets whose counts are held at a time
LIBRARY, DOUBLET = "log_library", "doublet"


def simulated(parent, data, *, rows=None, doublet_ratio=2, settings=None, seed=0):
    """An untrained Solo and the data to train it on: the observed cells first, then the simulated doublets.

    Arguments
    ---------
    parent : `Fit` of scVI, or of another model of counts with a latent z; it may have any covariates.
    data : `Dataset` opened with its registry, with counts.
    rows : the observed cells: row numbers or a mask (n,), such as those of one batch; None for all.
    doublet_ratio : simulated doublets for each observed cell, in each batch.
    settings : {name: value} of `SoloSettings`, or None.
    seed : of the pairs and of the weights.

    Returns (`Fit`, `Dataset`): `train` takes both, `doublet_scores` answers. Counts are held sparse, and those of
    doublets a part at a time.

    Example
    -------
    >>> solo, cells = simulated(scvi, data)
    >>> scores = doublet_scores(train(solo, cells), cells)
    """
    doublet_ratio = check_setting("doublet_ratio", doublet_ratio, float, {"gt": 0})
    settings = SoloSettings.make(**(settings or {}))
    _refuse_other(parent, data)
    rows = some_rows(data, rows)
    batch = data.codes["batch"][rows]
    pairs = rows[drawn_pairs(batch, doublet_ratio, seed)]               # (d, 2) rows of the data
    with RandomStream(seed).active():                  # the mean of a logistic-normal latent is found by drawing
        features = [_features(parent, data, rows)]
        for start in range(0, len(pairs), BLOCK):
            sums = _sums(data, pairs[start:start + BLOCK])
            features.append(_features(parent, sums, np.arange(sums.n_cells)))
    features, d = np.concatenate(features), len(pairs)
    cells = [*(data.cells[row] for row in rows), *(f"{DOUBLET}_{i + 1}" for i in range(d))]
    labels = np.repeat([LABELS.index("singlet"), LABELS.index(DOUBLET)], [len(rows), d])
    origins = np.concatenate([batch, data.codes["batch"][pairs[:, 0]]])
    made = _dataset(features, cells, labels, origins, _registry(parent, features.shape[1], len(cells)))
    return initialise(settings, made, seed=seed), made


def _refuse_other(parent, data):
    if not isinstance(parent.module, ExpressionModule):
        raise QueryError("parent", problem=f"Solo cannot be made from {parent.module.title}.",
                         hint="Give a trained scVI, or another model of gene counts with a latent z.")
    if data.registry.genes != parent.registry.genes:
        raise QueryError("genes", problem="The data were not opened against this model's registry.",
                         hint="Open them with open_data(adata, registry=parent.registry).")
    data.require_counts("Simulating doublets")


def _registry(parent, width, n_cells):
    names = (*(f"z_{i + 1}" for i in range(width - 1)), LIBRARY)
    batches = parent.registry.categories["batch"]
    columns = Columns(labels="label", batch="batch" if len(batches) > 1 else None)
    return Registry(names, columns, {"batch": list(batches), "labels": list(LABELS)}, n_cells=n_cells)


def drawn_pairs(batch, ratio, seed):
    """(d, 2) places in `batch` (n,), drawn with replacement: `ratio` times as many pairs in each batch as it has cells.

    With one batch they are the pairs that the reference text draws from numpy's RandomState of the same seed.
    """
    random = np.random.RandomState(seed % 2**32)
    drawn = []
    for code in np.unique(batch):
        members = np.flatnonzero(batch == code)
        drawn.append(members[random.choice(len(members), size=(int(len(members) * ratio), 2))])
    pairs = np.concatenate(drawn)
    if not len(pairs):
        raise QueryError("doublet_ratio", problem=f"A ratio of {ratio:g} asks for no doublet of {len(batch)} cells.",
                         hint="Raise it; the usual one is 2.")
    return pairs


def _sums(data, pairs):
    """The `Dataset` of the sums of pairs (d, 2) of rows."""
    first, second = pairs.T
    counts = sp.csr_matrix(data.source.take(first) + data.source.take(second))
    factor = None if data.size_factor is None else data.size_factor[first] + data.size_factor[second]
    return dataclasses.replace(
        data, source=CountSource(counts, "the sums of cells"), cells=[""] * len(pairs),
        codes={name: codes[first] for name, codes in data.codes.items()}, categories=data.categories[first],
        continuous=(data.continuous[first] + data.continuous[second]) / 2,
        arrays={name: values[first] + values[second] for name, values in data.arrays.items()},
        totals=data.totals[first] + data.totals[second], size_factor=factor, stored={}, has_counts=True)


def _features(parent, data, rows):
    """(n', k + 1) float32: mean of z and log library of rows of a dataset, as its counts give them."""
    data = dataclasses.replace(data, stored={})        # doublets have no stored posterior; both are encoded alike
    z = latent(parent.module, data, indices=rows)
    if parent.module.library_encoder is None:
        library = np.log(data.totals[rows])[:, None]
    else:
        library = latent_moments(parent.module, data, indices=rows, name="library")[0]
    return np.concatenate([z, library], axis=1).astype(np.float32)


def open_features(adata, registry):
    """The `Dataset` of an AnnData whose X holds features (n, k + 1), and whose obs tells simulated cells by a column.

    Arguments
    ---------
    adata : AnnData, such as the one that a saved model carries; the column of labels is that of `registry`.
    registry : of a Solo.

    Raises FieldError where it holds other features, or labels that are none.
    """
    if tuple(map(str, adata.var_names)) != tuple(registry.genes):
        raise FieldError("genes", problem=f"The data hold {adata.n_vars} features such as '{adata.var_names[0]}', not "
                         "those of the model.", hint="Give the features that were saved with it.")
    columns = registry.columns
    labels = encode(adata.obs, columns.labels, "labels", registry.categories["labels"])
    batch = np.zeros(adata.n_obs, dtype=np.int64)
    if columns.batch is not None:
        batch = encode(adata.obs, columns.batch, "batch", registry.categories["batch"])
    values = adata.X.toarray() if sp.issparse(adata.X) else np.asarray(adata.X)
    return _dataset(values.astype(np.float32), adata.obs_names, labels, batch, registry)


def features_as_anndata(dataset):
    """An AnnData of a `Dataset` of features: what `open_features` reads."""
    from anndata import AnnData  # here: scores alone need none

    columns, categories = dataset.registry.columns, dataset.registry.categories
    obs = {getattr(columns, role): pd.Categorical.from_codes(dataset.codes[role], categories[role])
           for role in ("labels", "batch") if getattr(columns, role) is not None}
    everything = dataset.source.take(np.arange(dataset.n_cells)).toarray()
    return AnnData(everything, obs=pd.DataFrame(obs, index=dataset.cells),
                   var=pd.DataFrame(index=list(dataset.registry.genes)))


def _dataset(features, cells, labels, batch, registry):
    """The `Dataset` of features (n, k + 1), names of cells and codes (n,)."""
    if not np.isfinite(features).all():
        raise FieldError("x", problem="The features of some cells are missing or infinite.",
                         hint="The parent did not train to an end; train it again.")
    n = len(features)
    return Dataset(registry, CountSource(sp.csr_matrix(features), "the features"), list(cells),
                   {"batch": batch, "labels": labels}, batch[:, None], np.empty((n, 0), dtype=np.float32), {},
                   np.exp(features[:, -1]))


def doublet_scores(fit, dataset):
    """The probability of each cell to be a doublet.

    Arguments
    ---------
    fit, dataset : a trained Solo, and the `Dataset` it was made with.

    Returns a DataFrame, a row a cell by its name: doublet, singlet (probabilities), simulated (bool).
    """
    probabilities = label_probabilities(fit.module, dataset)
    table = pd.DataFrame(probabilities, index=dataset.cells, columns=list(fit.registry.categories["labels"]))
    table["simulated"] = dataset.codes["labels"] == LABELS.index(DOUBLET)
    return table
