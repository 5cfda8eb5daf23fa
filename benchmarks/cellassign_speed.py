"""CellAssign of latome against scvi-tools': whole train() against whole train(), in turn, at 8 and at 20 cell types.

    python benchmarks/cellassign_speed.py                 about 6 minutes on two idle cores
    python benchmarks/cellassign_speed.py --rounds 2 --epochs 2 --types 8 --print

Both train on the same simulated counts of the marker genes, with the same size factors, epochs, minibatches of 1,024
and validation after each epoch. The objective, the mean of E log p(x, type), is computed for both by the same code on
cells that neither has seen: the peer's model is read by latome. Sets: results/cellassign_speed.json and .md.
"""

import argparse
import os
import sys
import tempfile
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
from rounds import (
    ENGINE,
    HERE,
    Worker,
    cores,
    describe_machine,
    in_turn,
    markdown_table,
    peer_python,
    quartiles,
    write_results,
)

sys.path.insert(0, str(ENGINE))

from latome.analysis.labels import label_probabilities  # noqa: E402 (the path above comes first)
from latome.analysis.likelihood import elbo  # noqa: E402
from latome.data.registry import open_data  # noqa: E402
from latome.data.simulate import simulate  # noqa: E402
from latome.io.readers import read_model  # noqa: E402

#: {cell types: (markers of each, epochs, ratio that is asked for)}
DESIGNS = {8: (12, 12, 8), 20: (8, 5, 18)}
CELLS, HELD_OUT, GENES = 3000, 1000, 2000


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--epochs", type=int, help="by default 12 of 8 types, 5 of 20")
    parser.add_argument("--types", type=int, nargs="+", choices=DESIGNS, default=list(DESIGNS))
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--print", action="store_true", help="keep no result")
    return parser.parse_args()


def make_counts(n_types, n_markers):
    """(AnnData to train on, AnnData kept back): counts of marker genes, size factors of all genes, varm["markers"]."""
    every = simulate(CELLS + HELD_OUT, GENES, n_types=n_types, n_batches=1, seed=n_types, depth=3000.0)
    total = np.asarray(every.X.sum(1)).ravel()
    every.obs["size"] = total / total.mean()
    chosen = [every.var_names[every.var["marker_of"] == kind][:n_markers] for kind in every.obs["cell_type"].unique()]
    table = pd.DataFrame({f"type {i + 1}": [int(gene in set(genes)) for gene in np.concatenate(chosen)]
                          for i, genes in enumerate(chosen)}, index=np.concatenate(chosen))
    adata = every[:, table.index].copy()
    adata.varm["markers"] = table
    return adata[:CELLS].copy(), adata[CELLS:].copy()


def start(package, python, path, threads):
    worker = Worker([python, str(HERE / "workers" / "cellassign.py"), package], threads)
    return worker, worker.ask("open", train=str(path), markers="markers", size="size", threads=threads)["versions"]


def judged(folder, heldout):
    """(mean objective a cell, accuracy) of a saved model on cells kept back."""
    fit = read_model(folder, "")
    data = open_data(heldout, registry=fit.registry)
    found = label_probabilities(fit.module, data).argmax(1)
    truth = pd.Categorical(heldout.obs["cell_type"], heldout.obs["cell_type"].unique()).codes
    counts = pd.crosstab(found, truth).to_numpy()
    return {"objective": float(elbo(fit.module, data)), "accuracy": counts.max(1).sum() / counts.sum()}


def run(n_types, options, scratch):
    """(figures {side: [round]}, versions) of one design."""
    n_markers, epochs, _ = DESIGNS[n_types]
    train, heldout = make_counts(n_types, n_markers)
    path = Path(scratch) / f"{n_types}.h5ad"
    train.write_h5ad(path)
    sides = {"latome": sys.executable, "scvi": peer_python()}
    workers, versions = {}, {}
    for package, python in sides.items():
        workers[package], versions[package] = start(package, python, path, options.threads)
        workers[package].ask("train", seed=0, epochs=1)                # what is loaded once

    def measure(package, turn):
        folder = Path(scratch) / f"{package}_{n_types}"
        answer = workers[package].ask("train", seed=turn + 1, epochs=options.epochs or epochs, folder=str(folder))
        return answer | judged(folder, heldout)

    found = in_turn(list(sides), options.rounds, measure)
    for worker in workers.values():
        worker.close()
    return found, versions


def line(n_types, found):
    """A row of the table."""
    seconds, processor, objective, accuracy = (
        {side: np.array([turn[name] for turn in turns]) for side, turns in found.items()}
        for name in ("seconds", "processor", "objective", "accuracy"))
    difference = objective["latome"] - objective["scvi"]
    error = difference.std(ddof=1) / np.sqrt(len(difference)) if len(difference) > 1 else np.nan
    ratios = [spread(of["scvi"] / of["latome"], 1) for of in (seconds, processor)]
    return [n_types, n_types * DESIGNS[n_types][0], spread(seconds["latome"], 2), spread(seconds["scvi"], 2), *ratios,
            DESIGNS[n_types][2], f"{objective['latome'].mean():.3f}", f"{objective['scvi'].mean():.3f}",
            f"{difference.mean():+.3f} +- {error:.3f}",
            f"{accuracy['latome'].mean():.3f}, {accuracy['scvi'].mean():.3f}"]


def spread(values, digits):
    """Median and quartiles in words."""
    low, middle, high = (f"{value:.{digits}f}" for value in quartiles(values))
    return f"{middle} ({low} to {high})"


def report(runs, options, load):
    """Sets: results/cellassign_speed.json and .md; prints the table alone where no result is to be kept."""
    header = ["types", "marker genes", "latome, s", "scvi-tools, s", "ratio", "ratio of processor seconds", "asked for",
              "objective, latome", "objective, scvi-tools", "difference", "accuracy of both"]
    table = markdown_table(header, [line(n_types, found) for n_types, (found, _) in runs.items()])
    if options.print:
        return print("\n" + table)
    epochs = ", ".join(f"{options.epochs or DESIGNS[n][1]} of {n} types" for n in runs)
    note = (f"{CELLS:,} simulated cells, {options.rounds} rounds in turn, {options.threads} threads; medians and "
            f"quartiles. Epochs: {epochs}. Objective: mean E log p(x, type) of {HELD_OUT:,} cells kept from both, in "
            "nats a cell; higher is better. "
            f"Load of the machine before and after: {load[0]:.1f}, {os.getloadavg()[0]:.1f}.")
    write_results("cellassign_speed", {
        "title": "CellAssign: seconds of train()", "machine": describe_machine(), "date": date.today().isoformat(),
        "note": note, "versions": next(iter(runs.values()))[1],
        "rounds": {str(n): found for n, (found, _) in runs.items()}}, table)


def main():
    options = arguments()
    load, runs = os.getloadavg(), {}
    with tempfile.TemporaryDirectory() as scratch:
        for n_types in options.types:
            runs[n_types] = run(n_types, options, scratch)
            report(runs, options, load)


if __name__ == "__main__":
    main()
