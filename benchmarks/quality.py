"""Time to quality: the default recipe run to its completed warm-up, and the preset "fast", on real data.

    python benchmarks/quality.py                                        the data sets of real.py that are here
    python benchmarks/quality.py --data X.h5ad --batch donor --labels type --seeds 0 1 2
    python benchmarks/quality.py --try lr=0.008,max_steps=2000          another schedule: printed, not kept

Both recipes train scVI, zinb, on the same genes and the same split; a tenth of the cells is kept out. Each run is kept
in results/quality/ and used again unless --rerun, or the recipe has changed; results/quality.md and quality.png are
made of what is there.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import anndata
import numpy as np
from judge import quality_panels, quality_table
from metrics import measure
from real import KNOWN, find_file, with_genes
from rounds import HERE, RESULTS, Worker, cores, describe_machine, has_peer, peer_python

from latome.training.options import PRESETS

RECIPES = {"default": {"max_epochs": 400, "n_epochs_kl_warmup": 400}, "fast": PRESETS["fast"]}
EVERY = {"default": 10, "fast": 1}                     # epochs between points of the curve


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="an .h5ad file of raw counts, or the name of one of real.py")
    parser.add_argument("--batch", help="its column of batches")
    parser.add_argument("--labels", help="its column of cell types")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), choices=RECIPES)
    parser.add_argument("--try", dest="attempt", help="options that replace those of the preset, name=value,...")
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--rerun", action="store_true")
    parser.add_argument("--report", action="store_true", help="only write the table and the figure")
    return parser.parse_args()


def data_sets(options):
    """[(name, path, batch, labels)] that are asked for."""
    if options.data and not options.data.endswith(".h5ad"):
        return [(options.data, find_file(options.data), *KNOWN[options.data])]
    if options.data:
        if not (options.batch and options.labels):
            sys.exit("--data needs --batch and --labels.")
        return [(Path(options.data).stem, options.data, options.batch, options.labels)]
    found = [(name, find_file(name), *columns) for name, columns in KNOWN.items() if find_file(name)]
    return found or sys.exit("No real data here: set LATOME_DATA, or give --data, --batch and --labels.")


def parsed(text):
    """{name: value} of name=value,...; a value is JSON or else a word."""
    def value(word):
        try:
            return json.loads(word)
        except ValueError:
            return word

    return {name: value(word) for name, word in (part.split("=") for part in text.split(","))}


def run(worker, path, obs, columns, recipe, seed, options, every):
    """The facts of one training: its curve, and what the model is worth at its end."""
    to = str(Path(path).parent / "latent.npy")
    found = worker.ask("curve", path=path, batch=columns[0], seed=seed, options=recipe, threads=options.threads,
                       every=every, to=to)
    labels, batches = obs[columns[1]], obs[columns[0]]
    known = (labels.notna() & (labels.astype(str) != "unknown")).to_numpy()
    found["metrics"] = measure(np.load(to)[known], labels[known].astype(str), batches[known].astype(str))
    print(f"seed {seed}: {found['seconds']:.0f} s, ELBO {found['elbo']:.2f}, reconstruction "
          f"{found['reconstruction']:.2f}, " + ", ".join(f"{k} {v:.3f}" for k, v in found["metrics"].items()),
          flush=True)
    return found | {"recipe": recipe, "seed": seed, "threads": options.threads, "machine": describe_machine()}


def kept(name, recipe, seed):
    """The facts of a run that is there and was made by the same recipe, or None."""
    path = RESULTS / "quality" / f"{name}_{recipe}_{seed}.json"
    found = json.loads(path.read_text()) if path.exists() else None
    return found if found and found["recipe"] == RECIPES[recipe] else None


def train_all(name, file, columns, options, folder):
    """Sets: results/quality/<name>_<recipe>_<seed>.json of each run that is not there."""
    data = with_genes(anndata.read_h5ad(file), columns[0], columns=columns[1:])
    path = str(Path(folder) / f"{name}.h5ad")
    data.write_h5ad(path)
    worker = Worker([sys.executable, str(HERE / "workers/ours.py")], options.threads)
    if options.attempt:
        for seed in options.seeds:
            print(f"{name}, {options.attempt}", end=", ", flush=True)
            run(worker, path, data.obs, columns, PRESETS["fast"] | parsed(options.attempt), seed, options, 1)
        return worker.close()
    for seed in options.seeds:
        for recipe in options.recipes:
            if options.rerun or not kept(name, recipe, seed):
                print(f"{name}, {recipe}", end=", ", flush=True)
                found = run(worker, path, data.obs, columns, RECIPES[recipe], seed, options, EVERY[recipe])
                to = RESULTS / "quality" / f"{name}_{recipe}_{seed}.json"
                to.parent.mkdir(parents=True, exist_ok=True)
                to.write_text(json.dumps({"data": name, "columns": columns, "cells": data.n_obs,
                                          "genes": data.n_vars, **found}, indent=1) + "\n")
    worker.close()


def report(threads):
    """Sets: results/quality.md and, where the peer's environment is there to draw it, results/quality.png."""
    runs = [json.loads(path.read_text()) for path in sorted((RESULTS / "quality").glob("*.json"))]
    runs = [found | {"name": next(name for name, recipe in RECIPES.items() if recipe == found["recipe"])}
            for found in runs if found["recipe"] in RECIPES.values()]
    if not runs:
        return
    text = quality_table(runs, RECIPES)
    (RESULTS / "quality.md").write_text(text)
    print("\n" + text)
    if has_peer():
        worker = Worker([peer_python(), str(HERE / "workers/curves.py")], threads)
        worker.ask("curves", panels=quality_panels(runs), to=str(RESULTS / "quality.png"))
        worker.close()


def main():
    options = arguments()
    with tempfile.TemporaryDirectory() as folder:
        for name, file, *columns in data_sets(options) if not options.report else ():
            train_all(name, file, tuple(columns), options, folder)
    if not options.attempt:
        report(options.threads)


if __name__ == "__main__":
    main()
