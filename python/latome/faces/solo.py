"""SOLO as an object, in the interface of the papers."""

import numpy as np
import pandas as pd

from latome.analysis.labels import label_probabilities
from latome.analysis.sweep import sweep
from latome.compose.solo import features_as_anndata, open_features, simulated
from latome.data.sources import closest
from latome.errors import FieldError, QueryError
from latome.faces.base import warn
from latome.faces.labelling import LabellingModel
from latome.faces.preferences import settings
from latome.modules.solo import LABELS

__all__ = ["SOLO"]


class SOLO(LabellingModel):
    """Solo (Bernstein et al., 2020): which cells are doublets; made from a trained SCVI by `from_scvi_model`.

    Example
    -------
    >>> solo = SOLO.from_scvi_model(scvi_model, restrict_to_batch="lane_1")
    >>> solo.train()
    >>> scores = solo.predict()
    """

    kind = "solo"

    def __init__(self, adata=None, **classifier_kwargs):
        raise FieldError("adata", problem="SOLO is not made of data alone.",
                         hint="Make it from a trained SCVI: SOLO.from_scvi_model(scvi_model).")

    @classmethod
    def setup_anndata(cls, adata, labels_key=None, layer=None):
        """Nothing needs to be set up. Raises FieldError."""
        raise FieldError("adata", problem="SOLO takes its data from an SCVI model.",
                         hint="Set them up for SCVI, train it, and call SOLO.from_scvi_model(scvi_model).")

    @classmethod
    def from_scvi_model(cls, scvi_model, adata=None, restrict_to_batch=None, doublet_ratio=2, **classifier_kwargs):
        """Simulate doublets, encode them and the observed cells, and make a classifier of the two.

        Covariates of any kind are allowed in the SCVI: a doublet takes batch and categories of the first of its two
        cells, and the mean of their continuous covariates.

        Arguments
        ---------
        scvi_model : a trained `SCVI`.
        adata : the cells to judge, by default those of the model.
        restrict_to_batch : the one batch whose cells are judged. Doublets arise within a lane of an experiment, so
            several batches are best judged one by one; without it pairs are drawn within each, and one classifier
            serves all.
        doublet_ratio : simulated doublets for each observed cell.
        classifier_kwargs : n_hidden, n_layers, dropout_rate.
        """
        parent, data = scvi_model.fit, scvi_model._opened(adata)
        batches, rows = parent.registry.batch_categories, None
        n_batches = len(np.unique(data.codes["batch"]))
        if restrict_to_batch is not None:
            if str(restrict_to_batch) not in batches:
                raise QueryError("restrict_to_batch", problem=f"There is no batch {restrict_to_batch!r}.",
                                 hint=closest(restrict_to_batch, batches))
            rows = data.codes["batch"] == batches.index(str(restrict_to_batch))
        elif n_batches > 1:
            warn([f"The cells are of {n_batches} batches: doublets are simulated within each, and one classifier "
                  "serves all. Call from_scvi_model(restrict_to_batch=...) for each batch."], 3)
        model = cls.__new__(cls)
        model._fit, model._data = simulated(parent, data, rows=rows, doublet_ratio=doublet_ratio,
                                            settings=classifier_kwargs, seed=settings.seed)
        model.adata = features_as_anndata(model._data)
        return model

    @staticmethod
    def _open(adata, registry):
        return open_features(adata, registry)

    def _own_data(self, level):
        return self._data                              # features of our own making: nobody else changes them

    def train(self, max_epochs=400, lr=1e-3, accelerator="auto", devices="auto", train_size=None, validation_size=None,
              shuffle_set_split=True, batch_size=128, datasplitter_kwargs=None, plan_kwargs=None, early_stopping=True,
              early_stopping_patience=30, early_stopping_warmup_epochs=0, early_stopping_min_delta=0.0, **kwargs):
        """Train until the loss of the validation cells no longer falls; see `Model.train` for further keywords."""
        super().train(
            max_epochs=max_epochs, accelerator=accelerator, devices=devices, train_size=train_size,
            validation_size=validation_size, shuffle_set_split=shuffle_set_split, batch_size=batch_size,
            datasplitter_kwargs=datasplitter_kwargs, early_stopping=early_stopping,
            plan_kwargs={"lr": lr, **(plan_kwargs or {})}, early_stopping_patience=early_stopping_patience,
            early_stopping_warmup_epochs=early_stopping_warmup_epochs,
            early_stopping_min_delta=early_stopping_min_delta, **kwargs)

    def predict(self, soft=True, include_simulated_doublets=False, return_logits=False):
        """What each cell is, by its name.

        A DataFrame of probabilities (logits with `return_logits`), columns doublet and singlet; a Series of labels
        with soft = False. Simulated doublets, after the observed cells, are left out unless asked for.
        """
        table = self._table(_logits if return_logits else label_probabilities)
        if not include_simulated_doublets:
            table = table[self._data.codes["labels"] != LABELS.index("doublet")]
        return table if soft else pd.Series(np.array(LABELS)[table.to_numpy().argmax(1)], index=table.index)


def _logits(module, data, *, indices=None, batch_size=None):
    def query(cells):
        return {"logits": module.generative({}, cells).likelihood["labels"].logits}

    return sweep(module, data, query, indices=indices, batch_size=batch_size)["logits"]
