"""Models as objects, in the interface of the papers: set up an AnnData, make a model, train it, ask it."""

import json
import warnings
from pathlib import Path

from latome.analysis.latent import latent, latent_moments
from latome.analysis.likelihood import elbo
from latome.data.registry import Columns, open_data
from latome.data.sources import read_h5ad
from latome.errors import ArchiveError, FieldError, QueryError, TrainingError
from latome.faces.keywords import model_settings, training_options
from latome.faces.preferences import settings
from latome.faces.progress import ProgressLine
from latome.fit import conclude, initialise
from latome.io import archive, checkpoint
from latome.io.readers import read_model
from latome.modules import find
from latome.training.session import RandomStream

__all__ = ["SCVI"]

SETUP = "latome"                                       # key of uns that holds the set-up
DATA = "adata.h5ad"


class SCVI:
    """scVI (Lopez et al., 2018).

    Arguments
    ---------
    adata : AnnData prepared by `setup_anndata`.
    settings : n_hidden, n_latent, n_layers, dropout_rate, dispersion, gene_likelihood, use_observed_lib_size,
        encode_covariates, deeply_inject_covariates, use_batch_norm, use_layer_norm, continuous_in.

    Example
    -------
    >>> SCVI.setup_anndata(adata, batch_key="donor")
    >>> model = SCVI(adata, n_latent=20)
    >>> model.train()
    >>> adata.obsm["X_scvi"] = model.get_latent_representation()
    """

    kind = "scvi"

    @classmethod
    def setup_anndata(cls, adata, layer=None, batch_key=None, labels_key=None, size_factor_key=None,
                      categorical_covariate_keys=None, continuous_covariate_keys=None):
        """Say which columns play which role. Sets: `adata.uns["latome"]["SCVI"]`, a JSON text, and nothing else.

        Raises FieldError when a column is missing or holds what it should not, or the counts are not counts.
        """
        if size_factor_key is not None:
            raise FieldError("size_factor_key", problem="Size factors are not supported.",
                             hint="Leave size_factor_key out: the library size is the total count.")
        columns = Columns(layer, batch_key, labels_key, categorical_covariate_keys, continuous_covariate_keys)
        warn(open_data(adata, columns).warnings)
        # in one assignment: a view becomes a copy by it, and what was reached through the view would be lost
        adata.uns[SETUP] = {**adata.uns.get(SETUP, {}), cls.__name__: json.dumps(columns.to_json())}

    def __init__(self, adata=None, **model_kwargs):
        if adata is None:
            name = type(self).__name__
            raise FieldError("adata", problem=f"{name} needs an AnnData.",
                             hint=f"Call {name}.setup_anndata(adata), then {name}(adata).")
        columns = self._columns(adata)
        self.adata = adata
        self._data = open_data(adata, columns)
        self._fit = initialise(model_settings(find(self.kind), model_kwargs), self._data, seed=settings.seed)

    @classmethod
    def _columns(cls, adata):
        stored = adata.uns.get(SETUP, {})
        if cls.__name__ not in stored:
            raise FieldError("adata", problem=f"The data are not set up for {cls.__name__}.",
                             hint=f"Call {cls.__name__}.setup_anndata(adata, batch_key=...) first.")
        return Columns.from_json(json.loads(stored[cls.__name__]))

    def __repr__(self):
        registry, s = self._fit.registry, self._fit.settings
        state = f"trained for {len(self._fit.history)} epochs" if self.is_trained else "not trained"
        return (f"{type(self).__name__}: {registry.n_genes} genes, {registry.n_batch} batches, {s.n_latent} latent "
                f"dimensions, {s.gene_likelihood} likelihood, {self._fit.n_parameters:,} parameters, {state}")

    @property
    def is_trained(self):
        """Whether the model has been trained."""
        return self._fit.trained

    @property
    def history(self):
        """One numeric table, a row an epoch: a pandas DataFrame. The ELBO is a loss there: smaller is better."""
        return self._fit.history.frame()

    @property
    def fit(self):
        """The engine's `Fit` behind this object."""
        return self._fit

    def train(self, max_epochs=None, accelerator="auto", devices="auto", train_size=None, validation_size=None,
              shuffle_set_split=True, batch_size=128, early_stopping=False, **more):
        """Train; again continues. Further keywords: `plan_kwargs` (lr, n_epochs_kl_warmup ...) and early_stopping_*.

        A keyboard interrupt ends training after the current step and keeps the model.
        Raises TrainingError when the loss is no longer finite.
        """
        options = training_options({
            "max_epochs": max_epochs, "accelerator": accelerator, "devices": devices, "train_size": train_size,
            "validation_size": validation_size, "shuffle_set_split": shuffle_set_split, "batch_size": batch_size,
            "early_stopping": early_stopping, **more})
        if self._data is None:
            raise TrainingError("adata", problem="The model was loaded without data.", hint="load(folder, adata=...)")
        trainer = checkpoint.begin(self._fit, self._data, options)
        try:
            trainer.drive(ProgressLine() if settings.progress_bar else (lambda now: None))
        finally:
            conclude(self._fit, trainer)
        if trainer.state == "interrupted":
            warnings.warn(f"Training was interrupted after {trainer.epoch} epochs; the model is kept.", stacklevel=2)

    def get_latent_representation(self, adata=None, indices=None, give_mean=True, mc_samples=5000, batch_size=None,
                                  return_dist=False):
        """(n, k) float32 posterior means (or draws) of z; with `return_dist` (means, variances)."""
        data = self._opened(adata)
        ask = {"indices": indices, "batch_size": batch_size or settings.batch_size}
        if return_dist:
            return latent_moments(self._fit.module, data, **ask)
        with RandomStream(settings.seed).active():
            return latent(self._fit.module, data, give_mean=give_mean, **ask)

    def get_elbo(self, adata=None, indices=None, batch_size=None):
        """Evidence lower bound, mean a cell in nats: higher is better."""
        data = self._opened(adata)
        with RandomStream(settings.seed).active():
            return elbo(self._fit.module, data, indices=indices, batch_size=batch_size or settings.batch_size)

    def _opened(self, adata):
        if not self.is_trained:
            warnings.warn("The model has not been trained: its answers mean nothing yet.", stacklevel=3)
        if adata is None or adata is self.adata:
            if self._data is None:
                raise QueryError("adata", problem="The model was loaded without data.", hint="Give adata=...")
            return self._data
        return open_data(adata, registry=self._fit.registry)

    def save(self, dir_path, prefix=None, overwrite=False, save_anndata=False, **write_kwargs):
        """Save the model into a folder; with `save_anndata` its data too."""
        folder = archive.save(self._fit, self._folder(dir_path, prefix), overwrite)
        if save_anndata:
            self.adata.write_h5ad(folder / DATA, **write_kwargs)

    @staticmethod
    def _folder(dir_path, prefix):
        if prefix:
            raise ArchiveError("prefix", problem="A prefix is not supported when saving.",
                               hint="Name a folder for each model.")
        return Path(dir_path)

    @classmethod
    def load(cls, dir_path, adata=None, accelerator="auto", device="auto", prefix=None):
        """A saved model, ours or of scvi-tools; `adata` None takes the data saved with it, False none."""
        fit = read_model(dir_path, prefix or "")
        if fit.kind != cls.kind:
            raise ArchiveError("kind", problem=f"{dir_path} holds a {fit.kind} model, not {cls.kind}.",
                               hint="Load it with its own class.")
        if adata is None:
            file = Path(dir_path) / f"{prefix or ''}{DATA}"
            if not file.exists():
                raise ArchiveError("adata", problem=f"{dir_path} holds no data.",
                                   hint="Give adata=..., or adata=False to load the model alone.")
            adata = read_h5ad(file)
        model = cls.__new__(cls)
        model._fit, model.adata, model._data = fit, None, None
        if adata is not False:
            model.adata, model._data = adata, open_data(adata, registry=fit.registry)
        return model


def warn(messages):
    """Show the engine's doubts about the data as Python warnings."""
    for message in messages:
        warnings.warn(message, stacklevel=3)

