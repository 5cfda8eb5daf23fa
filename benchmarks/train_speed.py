"""Whole train() of scVI against whole train() of scvi-tools' SCVI: cells per second, in turn, in one run.

    python benchmarks/train_speed.py                        20,000 x 2,000 simulated counts, zinb, one batch column
    python benchmarks/train_speed.py --data X.h5ad --batch donor

Both sides train the same model with the same hyperparameters on the same cells; a tenth of the cells is kept from
both, and the ELBO of those says whether the two learn equally well.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import anndata
import numpy as np
from rounds import HERE, Worker, cores, describe_machine, in_turn, markdown_table, peer_python, quartiles, write_results

from latome.data.simulate import simulate

SIDES = ("latome", "scvi-tools")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="an .h5ad file of raw counts instead of simulated ones")
    parser.add_argument("--batch", default="batch", help="column of obs")
    parser.add_argument("--cells", type=int, default=20000)
    parser.add_argument("--genes", type=int, default=2000)
    parser.add_argument("--likelihood", default="zinb", choices=["zinb", "nb", "poisson"])
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=2, help="of each train()")
    parser.add_argument("--rounds", type=int, default=7, help="at least 2")
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--only", choices=SIDES, help="one side alone")
    parser.add_argument("--name", default="train_speed", help="of the files in results/")
    return parser.parse_args()


def counts(options):
    """The data, and in words what they are."""
    if options.data:
        return anndata.read_h5ad(options.data), Path(options.data).name
    extra = options.cells // 9                                         # the tenth that is kept from both
    data = simulate(options.cells + extra, options.genes, 8, 4, depth=options.genes / 18, seed=0)
    return data, "simulated counts, 8 types, 4 batches"


def split(data, folder):
    """Write the cells to train on and those kept from both; the paths."""
    order = np.random.default_rng(0).permutation(data.n_obs)
    cut = data.n_obs // 10
    paths = []
    for name, rows in {"train": order[cut:], "heldout": order[:cut]}.items():
        paths.append(str(Path(folder) / f"{name}.h5ad"))
        data[np.sort(rows)].copy().write_h5ad(paths[-1])
    return paths


def main():
    options = arguments()
    sides = [options.only] if options.only else list(SIDES)
    scripts = {"latome": [sys.executable, HERE / "workers/ours.py"]}
    if "scvi-tools" in sides:
        scripts["scvi-tools"] = [peer_python(), HERE / "workers/peer.py"]
    data, words = counts(options)
    with tempfile.TemporaryDirectory() as folder:
        train, heldout = split(data, folder)
        workers = {side: Worker(list(map(str, scripts[side])), options.threads) for side in sides}
        about = {side: workers[side].ask("open", train=train, heldout=heldout, batch=options.batch,
                                         threads=options.threads) for side in sides}
        design = {"likelihood": options.likelihood, "batch_size": options.batch_size}
        for side in sides:
            workers[side].ask("train", seed=1000, epochs=1, **design)  # warms up; not counted
        elbos = {side: [] for side in sides}

        def measure(side, turn):
            answer = workers[side].ask("train", seed=turn, epochs=options.epochs, **design)
            elbos[side].append(workers[side].ask("elbo")["elbo"])
            return answer["cells"] / answer["seconds"]

        speeds = in_turn(sides, options.rounds, measure)
        for worker in workers.values():
            worker.close()
    report(options, data, words, about, speeds, elbos)


def report(options, data, words, about, speeds, elbos):
    header = ["", "cells/s, median", "quartiles", "held-out ELBO, mean", "its sd over seeds", "versions"]
    rows = []
    for side, values in speeds.items():
        low, median, high = quartiles(values)
        versions = ", ".join(f"{name} {version}" for name, version in about[side]["versions"].items())
        rows.append([side, f"{median:,.0f}", f"{low:,.0f} to {high:,.0f}", f"{np.mean(elbos[side]):.2f}",
                     f"{np.std(elbos[side], ddof=1) if len(elbos[side]) > 1 else 0:.2f}", versions])
    result = {"title": f"Training speed: scVI, {options.likelihood}, {words}", "speeds": speeds, "elbos": elbos,
              "about": about, "machine": describe_machine(), "options": vars(options)}
    if len(speeds) == 2:
        result["ratio"] = quartiles(np.divide(speeds["latome"], speeds["scvi-tools"]))
        low, median, high = result["ratio"]
        difference = np.mean(elbos["latome"]) - np.mean(elbos["scvi-tools"])
        error = np.sqrt(sum(np.var(values, ddof=1) / len(values) for values in elbos.values()))
        result["elbo_difference"] = [difference, error]
        rows.append(["**ratio**, round by round", f"**{median:.2f}**", f"{low:.2f} to {high:.2f}",
                     f"difference {difference:+.2f}", f"its standard error {error:.2f}", ""])
    filled = data.X.nnz / np.prod(data.shape) if hasattr(data.X, "nnz") else (data.X != 0).mean()
    result["note"] = (
        f"{data.n_obs * 9 // 10:,} cells x {data.n_vars:,} genes, {filled:.1%} non-zero, minibatches of "
        f"{options.batch_size}, float32, one covariate (the batch), {options.epochs} epochs, whole train() in "
        f"processes that had trained before, {options.threads} threads each, {options.rounds} rounds in turn. "
        f"ELBO per cell, higher is better, on {data.n_obs // 10:,} cells kept from both.")
    write_results(options.name, result, markdown_table(header, rows))


if __name__ == "__main__":
    main()
