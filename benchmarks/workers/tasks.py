"""latome or scvi-tools as a worker that does whole tasks: `tasks.py latome`, `tasks.py scvi`.

Both go through the interface that both have, with the same settings; only the package differs. A task trains what it
needs from a file of counts and leaves its answer in a file.
"""

import importlib
import logging
import sys
import time
import warnings

import anndata
import numpy as np
import pandas as pd
from lines import serve

warnings.filterwarnings("ignore")
scvi = importlib.import_module(sys.argv[1])
external = importlib.import_module(sys.argv[1] + ".external")
for name in ("lightning.pytorch", "lightning.fabric"):
    logging.getLogger(name).setLevel(logging.ERROR)
scvi.settings.verbosity = logging.ERROR
VERSIONS = {"latome" if sys.argv[1] == "latome" else "scvi-tools": scvi.__version__,
            "torch": sys.modules["torch"].__version__}
OUR_LR = 0.01                                          # of CellAssign, which R and the engine take by default
QUIET = {"accelerator": "cpu", "enable_progress_bar": False}


def begin(path, seed, threads):
    """The cells of a file, everything random made by this seed."""
    scvi.settings.num_threads = threads
    scvi.settings.seed = seed
    return anndata.read_h5ad(path)


def train_scvi(data, epochs, batch=None, categorical=(), continuous=()):
    """(a trained scVI, zinb, whose KL divergence counts fully after half of the epochs; seconds of train())."""
    scvi.model.SCVI.setup_anndata(data, batch_key=batch, categorical_covariate_keys=list(categorical) or None,
                                  continuous_covariate_keys=list(continuous) or None)
    model = scvi.model.SCVI(data)
    return model, timed(model, max_epochs=epochs, plan_kwargs={"n_epochs_kl_warmup": max(1, epochs // 2)})


def timed(model, clock=time.perf_counter, **keywords):
    """Seconds of train() by a clock."""
    start = clock()
    model.train(**QUIET, **keywords)
    return clock() - start


def epochs_of(model):
    """Number of epochs that were trained, which may have stopped early."""
    return max(len(model.history[name]) for name in model.history)


def write(to, table):
    """Leave probabilities, a data frame cells x categories, at `to` (.npz)."""
    np.savez(to, probabilities=table.to_numpy(dtype=np.float32), columns=np.array([*map(str, table.columns)]),
             rows=np.array([*map(str, table.index)]))


def embed(path, seed, threads, to, epochs, batch, categorical=(), continuous=()):
    """The latent of scVI, posterior means, as an array at `to`."""
    model, seconds = train_scvi(begin(path, seed, threads), epochs, batch, categorical, continuous)
    np.save(to, model.get_latent_representation())
    return {"seconds": {"scVI": seconds}, "versions": VERSIONS}


def doublets(path, seed, threads, to, epochs, batch, solo_epochs, ratio):
    """Solo on a scVI of all cells, batch by batch: the probabilities of all cells at `to`."""
    data = begin(path, seed, threads)
    vae, seconds = train_scvi(data, epochs, batch)
    found, spent, ran = [], 0.0, []
    for one in [None] if batch is None else pd.unique(data.obs[batch]).tolist():
        solo = external.SOLO.from_scvi_model(vae, restrict_to_batch=one, doublet_ratio=ratio)
        spent += timed(solo, max_epochs=solo_epochs)
        ran.append(epochs_of(solo))
        found.append(solo.predict(soft=True))
    write(to, pd.concat(found).loc[data.obs_names])
    return {"seconds": {"scVI": seconds, "Solo": spent}, "epochs": {"Solo": ran}, "versions": VERSIONS}


def annotate(path, seed, threads, to, epochs, batch, labels, unlabelled, scanvi_epochs, per_label):
    """scANVI from a scVI: the probabilities of all cells at `to`."""
    data = begin(path, seed, threads)
    vae, seconds = train_scvi(data, epochs, batch)
    model = scvi.model.SCANVI.from_scvi_model(vae, unlabelled, labels_key=labels, adata=data)
    spent = timed(model, max_epochs=scanvi_epochs, n_samples_per_label=per_label,
                  plan_kwargs={"n_epochs_kl_warmup": max(1, scanvi_epochs // 2)})
    write(to, model.predict(soft=True))
    return {"seconds": {"scVI": seconds, "scANVI": spent}, "versions": VERSIONS}


def mark(path, seed, threads, to, epochs, batch, size, markers, lr, batch_size, start):
    """CellAssign on a file of the marker genes, their 0/1 table in varm: the probabilities of all cells at `to`."""
    data = begin(path, seed, threads)
    external.CellAssign.setup_anndata(data, size_factor_key=size, batch_key=batch)
    own = external.__name__.startswith("latome")       # which can also begin at the genes' mean counts
    model = external.CellAssign(data, data.varm[markers], **({"start": start} if own else {}))
    spent = timed(model, max_epochs=epochs, lr=OUR_LR if own and start == "means" else lr, batch_size=batch_size)
    found = model.predict()
    write(to, found.set_axis(data.obs_names, axis=0))                  # scvi-tools numbers the rows
    return {"seconds": {"CellAssign": spent}, "epochs": {"CellAssign": epochs_of(model)},
            "versions": VERSIONS}


def answers(model, data, seed):
    """The latent of cells, and the expression of the first thousand: from the same draws for the same seed."""
    scvi.settings.seed = seed
    few = np.arange(min(1000, data.n_obs))
    return (model.get_latent_representation(data),
            np.asarray(model.get_normalized_expression(data, indices=few, return_numpy=True)))


def map_cells(path, seed, threads, to, epochs, batch, labels, unlabelled, split, query, query_epochs, scanvi_epochs,
              settings):
    """New cells mapped onto a scVI of the others and, beside it, a scVI of all; labels by a scANVI of the others.

    At `to`: latents of the others and of the new cells, "mapped", "projected" (before training) and "union";
    "labels", the probabilities of the new cells; "moved", how far answers of the reference are from what they were.
    Seconds are those of the processor: they are compared, and company on the machine does not count.
    """
    clock = time.process_time
    data = begin(path, seed, threads)
    new = (data.obs[split].astype(str) == query).to_numpy()
    old, cells = data[~new].copy(), data[new].copy()
    cells.obs[labels] = pd.Categorical([unlabelled] * cells.n_obs)
    warm, still = {"n_epochs_kl_warmup": max(1, epochs // 2)}, {"weight_decay": 0.0}
    still["n_epochs_kl_warmup"] = max(1, query_epochs // 2)
    SCVI, SCANVI, seconds, found = scvi.model.SCVI, scvi.model.SCANVI, {}, {}
    for part, name in ((old, "reference"), (data, "retraining")):
        SCVI.setup_anndata(part, batch_key=batch)
        model = SCVI(part, **settings)
        seconds[name] = timed(model, clock, max_epochs=epochs, plan_kwargs=warm)
        if name == "reference":
            reference = model
    z = model.get_latent_representation()
    found |= {"union_old": z[~new], "union_new": z[new]}
    before = answers(reference, old, seed)
    start = clock()
    mapped = SCVI.load_query_data(cells.copy(), reference)
    seconds["mapping"] = clock() - start
    mapped.is_trained_ = True                          # scvi-tools answers nothing before
    found["projected_new"] = mapped.get_latent_representation()
    seconds["mapping"] += timed(mapped, clock, max_epochs=query_epochs, plan_kwargs=still)
    found |= {"mapped_old": mapped.get_latent_representation(old), "mapped_new": mapped.get_latent_representation()}
    found["moved"] = [np.abs(a - b).max() for a, b in zip(answers(mapped, old, seed), before, strict=True)]
    teacher = SCANVI.from_scvi_model(reference, unlabelled, labels_key=labels, adata=old)
    seconds["scANVI"] = timed(teacher, clock, max_epochs=scanvi_epochs, n_samples_per_label=100,
                              plan_kwargs={"n_epochs_kl_warmup": max(1, scanvi_epochs // 2)})
    pupil = SCANVI.load_query_data(cells.copy(), teacher)
    seconds["scANVI mapping"] = timed(pupil, clock, max_epochs=query_epochs, plan_kwargs=still)
    table = pupil.predict(soft=True)
    np.savez(to, names=np.array([*map(str, table.columns)]), labels=table.to_numpy(dtype=np.float32),
             parts=np.array([*seconds]), seconds=np.array([*seconds.values()]), **found)
    return {"seconds": seconds, "versions": VERSIONS}


serve({"map": map_cells, "embed": embed, "doublets": doublets, "annotate": annotate, "mark": mark})
