"""Models and fits as plain data: for printing, and as the source of the R face."""

import numpy as np

from latome import __version__
from latome.modules import CATALOGUE, find
from latome.protocol.settings import describe_settings
from latome.training.options import PRESETS, TrainingOptions

__all__ = ["describe_fit", "describe_model", "models"]


def models():
    """Short names of the models of the catalogue."""
    return list(CATALOGUE)


def describe_model(kind):
    """Title, paper, traits, settings, presets and training options of a model, JSON-able."""
    module = find(kind)
    return {"kind": kind, "title": module.title, "paper": module.paper, **traits(module),
            "settings": describe_settings(module.Settings), "presets": dict(module.Settings.presets),
            "options": describe_settings(TrainingOptions), "recipe": dict(module.recipe),
            "option_presets": {name: dict(preset) for name, preset in PRESETS.items()}}


def traits(module):
    """What sets models of this kind apart: have they a latent, and what are they alone asked."""
    return {"latent": bool(module.encoders), "questions": list(module.questions)}


def describe_fit(fit, latent=None):
    """A flat dict of what a fit is and how it was trained; `latent` (n, k) adds the spread of each dimension."""
    registry, training = fit.registry, fit.training
    return {
        "kind": fit.kind, "title": find(fit.kind).title, "version": __version__, **traits(fit.module),
        "needs_all_genes": registry.size_scale is not None,            # for the sizes of its cells
        "n_cells": registry.n_cells,
        "n_genes": registry.n_genes, "genes": list(registry.genes),
        "batch_levels": registry.batch_categories, "label_levels": list(registry.categories.get("labels", [])),
        "settings": fit.settings.to_json(), "columns": registry.columns.to_json(), "seed": fit.seed,
        "epochs": len(fit.history), "stopped": training.get("stopped"), "seconds": training.get("seconds"),
        "device": training.get("device"), "threads": training.get("threads"), "n_parameters": fit.n_parameters,
        "elbo_train": fit.history.last("elbo_train"), "elbo_validation": fit.history.last("elbo_validation"),
        "kl_weight": fit.history.last("kl_weight"), "parent": training.get("parent"),
        "source": training.get("source"),              # of a model that was trained elsewhere
        "mapped": bool(fit.held),                      # onto a reference
        "z_sd": None if latent is None else [float(sd) for sd in np.std(latent, axis=0)],
    }
