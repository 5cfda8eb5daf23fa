"""What every model of the object face can do: be set up, made, trained, saved and loaded."""

import json
import warnings
from abc import ABC, abstractmethod
from pathlib import Path

from latome.analysis.latent import latent, latent_moments
from latome.data.minified import minify
from latome.data.registry import Columns, open_data, up_to_date
from latome.data.sources import closest, read_h5ad
from latome.errors import ArchiveError, FieldError, QueryError, SettingError, TrainingError
from latome.faces.keywords import training_request
from latome.faces.model_keywords import model_settings
from latome.faces.preferences import settings
from latome.faces.progress import ProgressLine
from latome.fit import conclude, initialise
from latome.io import archive, checkpoint
from latome.io.readers import read_model
from latome.io.scvi_tools_writer import write_scvi_tools
from latome.modules import find
from latome.surgery import grows
from latome.training.session import RandomStream
from latome.training.split import recovered_split

__all__ = ["Model", "warn"]

SETUP = "latome"                                       # key of uns that holds the set-up
DATA = "adata.h5ad"


def warn(messages, level=3):
    """Show the engine's doubts as Python warnings."""
    for message in messages:
        warnings.warn(message, stacklevel=level)


class Model(ABC):
    """A model of the catalogue as an object, over its `Fit`; a subclass gives `kind` and `setup_anndata`."""

    kind = None

    @classmethod
    @abstractmethod
    def setup_anndata(cls, adata, layer=None, **columns):
        """Say which columns of an AnnData play which role; its end is `_set_up`."""

    def __init__(self, adata=None, registry=None, **model_kwargs):
        name = type(self).__name__
        if registry is not None:
            raise FieldError("registry", problem="A registry alone does not make a model.", hint=f"{name}(adata).")
        if adata is None:
            raise FieldError("adata", problem=f"{name} needs an AnnData.",
                             hint=f"Call {name}.setup_anndata(adata), then {name}(adata).")
        columns = self._columns(adata)
        self.adata = adata
        self._data = open_data(adata, columns, allow_noninteger=True)
        self._fit = initialise(model_settings(find(self.kind), model_kwargs), self._data, seed=settings.seed)

    # set-up ------------------------------------------------------------------------------------------------
    @classmethod
    def _set_up(cls, adata, columns, allow_empty=False):
        """Sets: `adata.uns["latome"][<class>]`, a JSON text, and nothing else; columns and counts are checked."""
        data = open_data(adata, columns, allow_noninteger=True, allow_empty=allow_empty)
        if adata.is_view and adata.isbacked:           # anndata cannot write into one
            raise FieldError("adata", problem="The data are a view of an AnnData that is backed by a file.",
                             hint="Set up the whole object first, then take the part of it.")
        messages = list(data.warnings)
        if data.has_counts:
            try:
                data.source.check()
            except FieldError as error:                # an error elsewhere; scripts of this interface expect a warning
                messages.append(f"{error.problem} {error.hint}")
        warn(messages, 4)
        # in one assignment: a view becomes a copy by it, and what was reached through the view would be lost
        adata.uns[SETUP] = {**adata.uns.get(SETUP, {}), cls.__name__: json.dumps(columns.to_json())}

    @classmethod
    def _is_set_up(cls, adata):
        return hasattr(adata, "uns") and cls.__name__ in adata.uns.get(SETUP, {})

    @classmethod
    def _columns(cls, adata):
        if not cls._is_set_up(adata):
            raise FieldError("adata", problem=f"The data are not set up for {cls.__name__}.",
                             hint=f"Call {cls.__name__}.setup_anndata(adata, batch_key=...) first.")
        return Columns.from_json(json.loads(adata.uns[SETUP][cls.__name__]))

    def view_anndata_setup(self, adata=None):
        """Print which columns play which role, and the categories that the model knows."""
        registry = self._fit.registry
        print(f"{type(self).__name__}: {registry.n_genes} genes, {registry.n_cells} cells at training")
        for role, names in registry.columns.to_json().items():
            if names:
                print(f"  {role:12}{names}")
        for name, categories in registry.categories.items():
            shown = ", ".join(categories[:8]) + (" ..." if len(categories) > 8 else "")
            print(f"  categories of {name}: {len(categories)} ({shown})")

    # facts -------------------------------------------------------------------------------------------------
    def __repr__(self):
        registry, s = self._fit.registry, self._fit.settings
        state = f"trained for {len(self._fit.history)} epochs" if self.is_trained else "not trained"
        minified = f", minified data ({self.minified_data_type})" if self.minified_data_type else ""
        return (f"{type(self).__name__}: {registry.n_genes} genes, {registry.n_batch} batches, {s.n_latent} latent "
                f"dimensions, {s.gene_likelihood} likelihood, {self._fit.n_parameters:,} parameters, {state}{minified}")

    @property
    def summary_string(self):
        """What the model is, in a line."""
        return repr(self)

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

    @property
    def device(self):
        """Where the model answers: the processor. Training moves it to a GPU and back."""
        return next(self._fit.module.parameters()).device

    def to_device(self, device):
        """Accepted for scripts that call it; the model answers on the processor wherever it was trained."""
        if str(device) not in ("cpu", "auto"):
            warn([f"The model stays on the processor: `to_device({device!r})` changes nothing."])

    def _split(self, part):
        return getattr(recovered_split(self._fit.training, self._fit.seed), part, None)

    @property
    def train_indices(self):
        """(n_train,) rows that the model was trained on, in the order drawn; None before training."""
        return self._split("train")

    @property
    def validation_indices(self):
        """(n_validation,) rows held out for validation; None before training."""
        return self._split("validation")

    @property
    def test_indices(self):
        """(n_test,) rows that training never saw; None before training."""
        return self._split("test")

    # training ----------------------------------------------------------------------------------------------
    def train(self, max_epochs=None, accelerator="auto", devices="auto", train_size=None, validation_size=None,
              shuffle_set_split=True, load_sparse_tensor=False, batch_size=128, early_stopping=False,
              datasplitter_kwargs=None, plan_config=None, plan_kwargs=None, datamodule=None, trainer_config=None,
              **trainer_kwargs):
        """Train; again continues. See `latome.faces.keywords` for what each keyword becomes.

        `preset="fast"` is a schedule that reaches what the defaults reach in a small part of the time; keywords that
        are given hold beside it.
        A keyboard interrupt ends training after the current step and keeps the model.
        Raises TrainingError when the loss is no longer finite.
        """
        request = training_request({                   # load_sparse_tensor says nothing new: counts stay sparse here
            "max_epochs": max_epochs, "accelerator": accelerator, "devices": devices, "train_size": train_size,
            "validation_size": validation_size, "shuffle_set_split": shuffle_set_split, "batch_size": batch_size,
            "early_stopping": early_stopping, "datasplitter_kwargs": datasplitter_kwargs, "plan_config": plan_config,
            "plan_kwargs": plan_kwargs, "datamodule": datamodule, "trainer_config": trainer_config, **trainer_kwargs})
        if self._data is None:
            raise TrainingError("adata", problem="The model was loaded without data.", hint="load(folder, adata=...)")
        if self._fit.held and not grows(self._fit):
            warn(["There is nothing to train: these cells bring no new category."])
            return
        trainer = checkpoint.begin(self._fit, self._own_data(4), request.options, **request.extras)
        try:
            trainer.drive(ProgressLine() if settings.progress_bar and request.progress else (lambda now: None))
        finally:
            conclude(self._fit, trainer)
        if trainer.state == "interrupted":
            warn([f"Training was interrupted after {trainer.epoch} epochs; the model is kept."], 3)

    # questions ---------------------------------------------------------------------------------------------
    def _ask(self, verb, adata=None, indices=None, batch_size=None, **keywords):
        """An answer of the engine, with random numbers of its own."""
        data = self._opened(adata)
        with RandomStream(settings.seed).active():
            return verb(self._fit.module, data, indices=indices, batch_size=batch_size or settings.batch_size,
                        **keywords)

    def _opened(self, adata):
        if not self.is_trained:
            warn(["The model has not been trained: its answers mean nothing yet."], 5)
        if adata is None or adata is self.adata:
            if self._data is None:
                raise QueryError("adata", problem="The model was loaded without data.", hint="Give adata=...")
            return self._own_data(6)
        return self._open(adata, self._fit.registry)

    @staticmethod
    def _open(adata, registry):
        """The `Dataset` of an AnnData for a model of that registry."""
        return open_data(adata, registry=registry, allow_noninteger=True)

    def _own_data(self, level):
        """The model's own data, read again where their counts have changed meanwhile."""
        before, self._data = self._data, up_to_date(self._data, self.adata)
        warn(self._data.warnings if self._data is not before else [], level)
        return self._data

    def get_latent_representation(self, adata=None, indices=None, give_mean=True, mc_samples=5000, batch_size=None,
                                  return_dist=False, dataloader=None, **data_loader_kwargs):
        """(n, k) float32 posterior means (or draws) of z; with `return_dist` (means, variances).

        The mean of a logistic-normal latent is that of `mc_samples` draws.
        """
        refuse_loader(dataloader)
        ask = {"adata": adata, "indices": indices, "batch_size": batch_size}
        if return_dist:
            return self._ask(latent_moments, **ask)
        return self._ask(latent, give_mean=give_mean, mc_samples=mc_samples, **ask)

    # minified data -----------------------------------------------------------------------------------------
    @property
    def minified_data_type(self):
        """"latent_posterior_parameters", the same "_with_counts", or None."""
        if self._data is None or not self._data.stored:
            return None
        return "latent_posterior_parameters" + ("_with_counts" if self._data.has_counts else "")

    def minify_adata(self, minified_data_type="latent_posterior_parameters", use_latent_qzm_key="X_latent_qzm",
                     use_latent_qzv_key="X_latent_qzv"):
        """Replace the counts of the model's data by each cell's posterior, which must be in obsm already.

        Sets: `model.adata`, a new object; the one the model was made with is left as it is.
        """
        known = ("latent_posterior_parameters", "latent_posterior_parameters_with_counts")
        if minified_data_type not in known:
            raise SettingError("minified_data_type", problem=f"There is no minified type {minified_data_type!r}.",
                               hint=closest(minified_data_type, known))
        if self._data is None:
            raise QueryError("adata", problem="The model was loaded without data.", hint="load(folder, adata=...)")
        if getattr(self._fit.module, "library_encoder", None) is not None:
            raise QueryError("adata", problem="The model infers the library size from the counts.",
                             hint="Only a model with use_observed_lib_size = True can answer without them.")
        for key in (use_latent_qzm_key, use_latent_qzv_key):
            if key not in self.adata.obsm:
                raise FieldError("obsm", problem=f"`obsm` has no '{key}'.", hint="Store the posterior first: qzm, qzv "
                                 "= model.get_latent_representation(return_dist=True), and put both into adata.obsm.")
        self.adata = minify(self.adata, self.adata.obsm[use_latent_qzm_key], self.adata.obsm[use_latent_qzv_key],
                            self._data.totals, with_counts=minified_data_type.endswith("with_counts"))
        self._data = open_data(self.adata, registry=self._fit.registry, allow_noninteger=True)

    # files -------------------------------------------------------------------------------------------------
    def save(self, dir_path, prefix=None, overwrite=False, save_anndata=False, save_kwargs=None, **write_kwargs):
        """Save the model into a folder; with `save_anndata` its data too, as adata.h5ad."""
        folder = archive.save(self._fit, Path(dir_path), overwrite, prefix=prefix or "")
        if save_anndata:
            if self.adata is None:
                raise ArchiveError("adata", problem="The model was loaded without data.",
                                   hint="Leave save_anndata out.")
            path = folder / f"{prefix or ''}{DATA}"
            if self.adata.isbacked:                    # to write would move the object to the new file
                self.adata.copy(filename=path).file.close()
            else:
                self.adata.write_h5ad(path, **write_kwargs)

    @classmethod
    def load(cls, dir_path, adata=None, accelerator="auto", device="auto", prefix=None, backup_url=None,
             datamodule=None, allowed_classes_names_list=None):
        """A saved model, ours or of scvi-tools; `adata` None takes the data saved with it, False none.

        Nothing in the files is run. `accelerator` and `device` change nothing: training chooses its own.
        """
        if backup_url is not None or datamodule is not None:
            raise ArchiveError("backup_url", problem="A model is loaded from a folder, with data that are an AnnData.",
                               hint="Download the files first, and leave backup_url and datamodule out.")
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
            model.adata = adata
            model._data = cls._open(adata, fit.registry)
        return model

    def write_scvi_tools(self, dir_path, prefix=None, overwrite=False, save_anndata=False):
        """Save the model in the layout of scvi-tools, which can load it with its own class."""
        write_scvi_tools(self._fit, dir_path, self.adata if save_anndata else None, prefix or "", overwrite)

    @classmethod
    def convert_legacy_save(cls, dir_path, output_dir_path, overwrite=False, prefix=None, **save_kwargs):
        """Rewrite a model that scvi-tools saved before 0.15 (three files) in its present layout."""
        write_scvi_tools(read_model(dir_path, prefix or ""), output_dir_path, None, prefix or "", overwrite)


def refuse_loader(dataloader):
    """A loader of minibatches cannot take the place of the data."""
    if dataloader is not None:
        raise QueryError("dataloader", problem="`dataloader` is not supported.", hint="Give the data as adata=....")
