"""scANVI as an object."""

from dataclasses import replace

import numpy as np
import pandas as pd

from latome.analysis.attributions import label_attributions, ranked_genes
from latome.analysis.labels import label_probabilities
from latome.analysis.results import refuse_large
from latome.compose.scanvi import from_scvi, open_labelled
from latome.data.registry import Columns
from latome.errors import FieldError, QueryError, SettingError
from latome.faces.base import refuse_loader, warn
from latome.faces.counts import CountModel
from latome.faces.keywords import as_dict, without_none
from latome.faces.model_keywords import model_settings
from latome.faces.preferences import settings
from latome.modules.scanvi import SCANVI as Module

__all__ = ["SCANVI"]

_RATIO = "classification_ratio"                        # a setting of ours, of plan_kwargs in this interface
_METRICS = ("accuracy", "f1_score", "calibration_error", "classification_loss")


class SCANVI(CountModel):
    """scANVI (Xu et al., 2021): scVI whose latent tells cell types, learnt from partial labels.

    Arguments
    ---------
    adata : AnnData prepared by `setup_anndata`.
    settings : linear_classifier, and those of SCVI but latent_distribution.

    Columns of probabilities are the labels in sorted order. Calibration, accuracy and F1 (the mean over the labels)
    stand in `history`, for training and, where there is validation, for its labelled cells.

    Example
    -------
    >>> SCANVI.setup_anndata(adata, labels_key="cell_type", unlabeled_category="Unknown", batch_key="donor")
    >>> model = SCANVI(adata)
    >>> model.train()
    >>> adata.obs["predicted"] = model.predict()
    """

    kind = "scanvi"

    @classmethod
    def setup_anndata(cls, adata, labels_key, unlabeled_category, layer=None, batch_key=None, size_factor_key=None,
                      categorical_covariate_keys=None, continuous_covariate_keys=None, use_minified=True):
        """Say which columns play which role. Sets: `adata.uns["latome"]["SCANVI"]`, a JSON text, and nothing else.

        Cells whose label is `unlabeled_category`, or missing, have none. `use_minified` changes nothing: minified data
        are recognised.

        Raises FieldError when a column is missing or holds what it should not, or the counts are not counts.
        """
        cls._set_up(adata, Columns(layer, batch_key, labels_key, categorical_covariate_keys, continuous_covariate_keys,
                                   size_factor=size_factor_key, unlabeled=unlabeled_category))

    @classmethod
    def from_scvi_model(cls, scvi_model, unlabeled_category, labels_key=None, adata=None, registry=None,
                        **scanvi_kwargs):
        """A model that begins with the weights of a trained `SCVI`; training it takes at most 10 epochs by default.

        Arguments
        ---------
        scvi_model : an `SCVI`, set up with labels or without.
        unlabeled_category : value of the labels column that means "no label".
        labels_key : column of obs; by default that of the set-up of `scvi_model`.
        adata : AnnData of the same genes, batches and covariates; by default that of `scvi_model`.
        scanvi_kwargs : settings of scANVI alone, such as linear_classifier; others are those of `scvi_model`.
        """
        if registry is not None:
            raise FieldError("registry", problem="A registry alone does not make a model.", hint="Give adata=...")
        parent, labels = scvi_model.fit, labels_key or scvi_model.fit.registry.columns.labels
        adata = scvi_model.adata if adata is None else adata
        if adata is None:
            raise FieldError("adata", problem="The SCVI model was loaded without data.", hint="Give adata=...")
        if labels is None:
            raise FieldError("labels_key", problem="The SCVI model was set up without labels.",
                             hint="Name the column that holds them: labels_key=...")
        messages = [] if parent.trained else ["The SCVI model has not been trained yet."]
        taken = [name for name in scanvi_kwargs if name in parent.settings.to_json() or name == "latent_distribution"]
        if taken:
            messages.append(f"{', '.join(taken)}: taken from the SCVI model; what was given is ignored.")
        own = {name: value for name, value in scanvi_kwargs.items() if name not in taken}
        model_settings(Module, own)                    # an unknown keyword is an error of its own
        model = cls.__new__(cls)
        model.adata = adata
        model._data = open_labelled(parent, adata, labels, unlabeled_category, allow_noninteger=True)
        model._data.require_counts("scANVI")
        model._fit = from_scvi(parent, model._data, settings=own, seed=settings.seed)
        warn([*messages, *model._data.warnings])
        return model

    def train(self, max_epochs=None, n_samples_per_label=None, check_val_every_n_epoch=None, train_size=None,
              validation_size=None, shuffle_set_split=True, batch_size=128, accelerator="auto", devices="auto",
              adversarial_classifier=None, datasplitter_kwargs=None, plan_config=None, plan_kwargs=None,
              datamodule=None, trainer_config=None, **trainer_kwargs):
        """Train; again continues. See `SCVI.train`; in addition:

        Arguments
        ---------
        max_epochs : by default at most 400, or 10 for a model made from a trained `SCVI`.
        n_samples_per_label : labelled cells of each label that an epoch classifies, drawn anew each epoch, whatever
            callbacks there are; None for all.
        adversarial_classifier : train a network that tells batches from the latent, and the model to fool it; the
            gradient is then bounded to a norm of 50.
        plan_kwargs : may hold classification_ratio, the weight of the classifier's loss (50).
        """
        changes = {"n_samples_per_label": n_samples_per_label, "adversarial": adversarial_classifier}
        plans = {name: as_dict(value, name) for name, value in (("plan_config", plan_config),
                                                                ("plan_kwargs", plan_kwargs))}
        for plan in plans.values():                    # plan_kwargs last: they win
            changes |= {_RATIO: plan.pop(_RATIO)} if _RATIO in plan else {}
        self._change(without_none(changes))
        super().train(
            max_epochs, check_val_every_n_epoch=check_val_every_n_epoch, train_size=train_size,
            validation_size=validation_size, shuffle_set_split=shuffle_set_split, batch_size=batch_size,
            accelerator=accelerator, devices=devices, datasplitter_kwargs=datasplitter_kwargs, datamodule=datamodule,
            trainer_config=trainer_config, **plans, **trainer_kwargs)

    def _change(self, changes):
        """Give the model other settings of its training."""
        if changes.get("adversarial") not in (None, True, False):
            raise SettingError("adversarial_classifier", problem="A network of your own is not supported.",
                               hint="Give True for the usual one.")
        self._fit.settings = self._fit.module.settings = replace(self._fit.settings, **changes)

    @property
    def history(self):
        """One numeric table, a row an epoch: a pandas DataFrame. The ELBO is a loss there: smaller is better.

        Those of the classifier are called as in scvi-tools: train_accuracy, validation_f1_score ...
        """
        names = {f"{metric}_{part}": f"{part}_{metric}" for metric in _METRICS for part in ("train", "validation")}
        return super().history.rename(columns=names)

    def predict(self, adata=None, indices=None, soft=False, batch_size=None, use_posterior_mean=True,
                ig_interpretability=False, ig_args=None, dataloader=None):
        """The likeliest label of each cell, (n,) text; with `soft` a DataFrame (cells x labels) of probabilities.

        They are those at the posterior mean of the latent, or at a draw from it. With `ig_interpretability` a pair:
        these, and an array (cells, genes) of how much each gene adds to the probability of the cell's likeliest label,
        by integrated gradients (`latome.analysis.attributions`); `ig_args` may hold n_steps.
        """
        refuse_loader(dataloader)
        found = self._ask(label_probabilities, adata, indices, batch_size,
                          draw="mean" if use_posterior_mean else "sample")
        labels = np.array(self._fit.registry.categories["labels"])
        called = labels[found.argmax(1)]
        if soft:
            asked = self._data if adata is None or adata is self.adata else None
            called = pd.DataFrame(found, index=self._cell_names(adata, asked, indices), columns=labels)
        if not ig_interpretability:
            return called
        options = as_dict(ig_args, "ig_args")
        if set(options) - {"n_steps"}:
            raise SettingError("ig_args", problem=f"`ig_args` cannot hold {sorted(set(options) - {'n_steps'})}.",
                               hint="It may hold n_steps, the number of points along the path.")
        n_genes = self._fit.registry.n_genes
        refuse_large("The attributions", "Ask for fewer cells (indices).", cells=len(found), genes=n_genes)
        attributions, _ = self._ask(label_attributions, adata, indices, batch_size, **options)
        return called, attributions.toarray()

    def get_ranked_features(self, adata=None, attrs=None):
        """Genes by their mean attribution, largest first, from what `predict(ig_interpretability=True)` gave.

        A DataFrame: gene, gene_idx, attribution_mean, attribution_std, and cells, the number with an attribution.
        """
        if attrs is None:
            raise QueryError("attrs", problem="There are no attributions to rank.",
                             hint="Take them from predict(ig_interpretability=True).")
        return pd.DataFrame(ranked_genes(attrs, self._genes(None)))
