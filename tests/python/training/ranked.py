"""A program that trains among others, for test_ranks.py: python ranked.py FOLDER CASE ... under torchrun."""

import json
import os
import sys
from pathlib import Path

from examples import opened, options, small_data

from latome.analysis.latent import latent
from latome.fit import conclude, initialise
from latome.io import archive
from latome.io.checkpoint import begin
from latome.modules.linear_scvi import LdvaeSettings
from latome.modules.scanvi import ScanviSettings
from latome.modules.scvi import ScviSettings
from latome.surgery import map_query
from latome.training.ranks import joined

PLAIN = {"n_hidden": 12, "n_latent": 3, "dropout_rate": 0.0}
BATCH = 24                                             # of all ranks together
CASES = {  # settings, options, cells
    "batch norm": ({}, {}, 90),
    "no batch norm": ({"use_batch_norm": "none", "use_layer_norm": "both"}, {}, 90),
    "latent library": ({"use_observed_lib_size": False, "gene_likelihood": "nb", "n_layers": 2}, {}, 90),
    "a ragged end": ({}, {"train_size": 1.0}, 76),     # three groups of 24, and one of 4
    "an odd end": ({}, {"train_size": 1.0}, 77),       # one rank has a cell more
    "a joined end": ({}, {"train_size": 1.0}, 74),     # two cells join the group before
    "validation": ({}, {"early_stopping": True, "early_stopping_patience": 2, "keep_best": True, "lr": 0.08,
                        "reduce_lr_on_plateau": True, "lr_patience": 0, "max_epochs": 12, "train_size": 0.7}, 90),
    "few to validate": ({}, {"check_val_every_n_epoch": 1, "validation_size": 0.04}, 90),      # 3 cells
    "bounds and limits": ({}, {"gradient_clip_val": 0.5, "limit_train_batches": 2, "drop_last": True,
                               "optimizer": "AdamW", "max_steps": 7}, 90),
    "new cells": ({"encode_covariates": True, "use_observed_lib_size": False}, {"weight_decay": 0.1}, 90),
    "linear decoder": ({"gene_likelihood": "zinb", "use_observed_lib_size": False}, {}, 90),
    "labels": ({"n_layers": 2}, {"check_val_every_n_epoch": 1}, 90),
    "the decoder alone": ({"dispersion": "gene-batch", "encode_covariates": True}, {"update_only_decoder": True}, 90),
}


def begun(case, folder, ranks):
    """(fit, data, trainer) of a case."""
    settings, more, n_cells = CASES.get(case, ({}, {}, 90))
    labels = {"labels": "cell_type"} if case == "labels" else {}
    kind = {"labels": ScanviSettings, "linear decoder": LdvaeSettings}.get(case, ScviSettings)
    data = opened(small_data(n_cells), **labels)
    dropout = {} if case in CASES else {"dropout_rate": 0.1}
    fit = initialise(kind(**PLAIN | dropout | settings), data)
    if case == "new cells":
        adata = small_data(n_cells, seed=2)
        adata.obs["batch"] = [f"new {batch}" for batch in adata.obs["batch"]]
        fit, data = map_query(fit, adata)
    given = {"max_epochs": 3, "batch_size": BATCH // ranks.size, **more, **json.loads(os.environ.get("OPTIONS", "{}"))}
    if case in ("paused", "resumed"):
        given["checkpoint"] = str(folder.parent / "checkpoint")
    callbacks = {"stops": [lambda trainer: trainer.epoch == 2], "fails": [lambda trainer: 1 / 0]}.get(case, [])
    trainer = begin(fit, data, options(**given), [noted(folder), *callbacks], ranks=ranks)
    if case == "dies":
        fit.module.after_step = lambda: os._exit(7) if ranks.rank and trainer.step == 4 else None
    return fit, data, trainer


def noted(folder):
    """A callback that leaves a file for each epoch it is told of."""
    return lambda trainer: (folder / f"told-{trainer.ranks.rank}-{trainer.epoch}").touch()


def train(case, folder, ranks):
    """Train a case, and write what this rank has."""
    folder.mkdir(parents=True, exist_ok=True)
    fit, data, trainer = begun(case, folder, ranks)
    if case == "paused":
        trainer.advance(steps=6)                       # to the second step of the second epoch
        trainer.callbacks.listeners["on_epoch_end"][-1].__self__.write(trainer)
        return
    trainer.advance()
    conclude(fit, trainer)
    facts = {"history": fit.history.to_json(), "stopped": trainer.state, "steps": trainer.step,
             "lr": trainer.optimizer.lr, "facts": trainer.facts()}
    (folder / f"history-{ranks.rank}.json").write_text(json.dumps(facts))
    archive.save(fit, folder / f"model-{ranks.rank}", overwrite=True)
    (folder / f"latent-{ranks.rank}.json").write_text(json.dumps(latent(fit.module, data).tolist()))


def main(folder, *cases):
    """Train cases one after the other."""
    with joined() as ranks:
        for case in cases:
            train(case, Path(folder) / case.replace(" ", "-"), ranks)


if __name__ == "__main__":
    main(*sys.argv[1:])
