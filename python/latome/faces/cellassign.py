"""CellAssign as an object, in the interface of the papers."""

from latome.analysis.labels import label_probabilities
from latome.compose.cellassign import for_markers
from latome.data.registry import Columns
from latome.faces.base import warn
from latome.faces.labelling import LabellingModel
from latome.faces.preferences import settings

__all__ = ["CellAssign"]


class CellAssign(LabellingModel):
    """CellAssign (Zhang et al., 2019): cell types from their marker genes.

    Arguments
    ---------
    adata : AnnData prepared by `setup_anndata`, with all its genes; those of the markers are taken from it by name.
    cell_type_markers : DataFrame, genes (rows) by cell types (columns), 1 where a gene is a marker of a type, else 0.
    random_b_g_0 : begin with random base levels of the genes, rather than with their standardised mean counts;
        `start="means"` overrules it: at the genes' mean counts, all types alike, as the engine and R begin.

    Example
    -------
    >>> CellAssign.setup_anndata(adata)
    >>> model = CellAssign(adata, markers)
    >>> model.train()
    >>> adata.obs["type"] = model.predict().idxmax(axis=1)
    """

    kind = "cellassign"

    def __init__(self, adata, cell_type_markers, random_b_g_0=True, **model_kwargs):
        columns = self._columns(adata)
        self.adata = adata
        self._fit, self._data = for_markers(
            adata, cell_type_markers, columns, seed=settings.seed, allow_noninteger=True,
            settings={"start": "random" if random_b_g_0 else "standardised", **model_kwargs})
        warn(self._data.warnings, 3)

    @classmethod
    def setup_anndata(cls, adata, size_factor_key=None, batch_key=None, categorical_covariate_keys=None,
                      continuous_covariate_keys=None, layer=None):
        """Say which columns play which role. Sets: `adata.uns["latome"]["CellAssign"]`, and nothing else.

        Without `size_factor_key` a cell's size factor is its total count over all genes, divided by the mean total.
        """
        cls._set_up(adata, Columns(layer, batch_key, None, categorical_covariate_keys, continuous_covariate_keys,
                                   size_factor=size_factor_key),
                    allow_empty=size_factor_key is not None)           # of markers alone, a cell may have no counts

    def train(self, max_epochs=400, lr=3e-3, accelerator="auto", devices="auto", train_size=None, validation_size=None,
              shuffle_set_split=True, batch_size=1024, datasplitter_kwargs=None, plan_kwargs=None, early_stopping=True,
              early_stopping_patience=15, early_stopping_warmup_epochs=0, early_stopping_min_delta=0.0, **kwargs):
        """Train until the validation objective no longer improves; see `Model.train` for further keywords."""
        super().train(
            max_epochs=max_epochs, accelerator=accelerator, devices=devices, train_size=train_size,
            validation_size=validation_size, shuffle_set_split=shuffle_set_split, batch_size=batch_size,
            datasplitter_kwargs=datasplitter_kwargs, early_stopping=early_stopping,
            plan_kwargs={"lr": lr, "weight_decay": 1e-10, **(plan_kwargs or {})},
            early_stopping_patience=early_stopping_patience, early_stopping_min_delta=early_stopping_min_delta,
            early_stopping_warmup_epochs=early_stopping_warmup_epochs, **kwargs)

    def predict(self, adata=None, indices=None, batch_size=None):
        """A DataFrame of the probability of each type (columns) for each cell, by its name (rows)."""
        return self._table(label_probabilities, adata, indices, batch_size)
