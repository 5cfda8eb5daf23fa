"""The same training driven from R and from Python: from an object of counts to its latent and its model, in turn.

    python benchmarks/from_r.py

R: run_scvi() on a SingleCellExperiment. Python: open_data, train, latent, pack on an AnnData of the same counts. The
R package must be installed (R_LIBS names its library); R takes the Python that runs this script.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from rounds import HERE, Worker, cores, describe_machine, in_turn, markdown_table, quartiles, write_results

from latome.data.simulate import simulate

SIDES = ("Python", "R")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=20000)
    parser.add_argument("--genes", type=int, default=2000)
    parser.add_argument("--likelihood", default="zinb", choices=["zinb", "nb", "poisson"])
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=4, help="of each training")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--name", default="from_r", help="of the files in results/")
    return parser.parse_args()


def write_counts(data, folder):
    """The same counts for both: an .h5ad, and the three vectors of a genes x cells dgCMatrix."""
    data.write_h5ad(folder / "counts.h5ad")
    data.X.data.astype(np.float64).tofile(folder / "x")
    data.X.indices.astype(np.int32).tofile(folder / "i")
    data.X.indptr.astype(np.int32).tofile(folder / "p")
    about = {"cells": data.n_obs, "genes": data.n_vars, "nnz": data.X.nnz, "batch": data.obs["batch"].tolist()}
    (folder / "about.json").write_text(json.dumps(about))


def main():
    options = arguments()
    data = simulate(options.cells, options.genes, 8, 4, depth=options.genes / 18, seed=0)
    os.environ.setdefault("RETICULATE_PYTHON", sys.executable)
    design = {"epochs": options.epochs, "likelihood": options.likelihood, "batch_size": options.batch_size}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_counts(data, folder)
        python = Worker([sys.executable, str(HERE / "workers/ours.py")], options.threads)
        r = Worker(["Rscript", "--no-init-file", str(HERE / "workers/ours.R")], options.threads)
        path = str(folder / "counts.h5ad")
        python.ask("open", train=path, heldout=path, batch="batch", threads=options.threads)
        about = r.ask("open", folder=str(folder), batch="batch")
        training = {side: [] for side in SIDES}

        def measure(side, turn, **changes):
            if side == "R":
                answer = r.ask("whole", seed=turn, threads=options.threads, **design | changes)
            else:
                answer = python.ask("whole", seed=turn, **design | changes)
            training[side].append(answer["training"])
            return answer["seconds"]

        for side in SIDES:
            measure(side, 1000, epochs=1)                              # warms up; not counted
            training[side].clear()
        whole = in_turn(SIDES, options.rounds, measure)
        python.close()
        r.close()
    report(options, data, about, whole, training)


def report(options, data, about, whole, training):
    rows, ratio = [], {}
    for words, seconds in {"whole run": whole, "training within": training}.items():
        for side in SIDES:
            low, median, high = quartiles(seconds[side])
            rows.append([f"{words}, {side}: seconds", f"{median:.2f}", f"{low:.2f} to {high:.2f}"])
        ratio[words] = quartiles(np.divide(seconds["Python"], seconds["R"]))
        low, median, high = ratio[words]
        rows.append([f"**{words}, speed from R / from Python**", f"**{median:.3f}**", f"{low:.3f} to {high:.3f}"])
    result = {"title": f"Training from R against training from Python: scVI, {options.likelihood}",
              "whole": whole, "training": training, "ratio": ratio, "about": about,
              "machine": describe_machine(), "options": vars(options)}
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    filled = data.X.nnz / np.prod(data.shape)
    result["note"] = (
        f"{data.n_obs:,} cells x {data.n_vars:,} genes, {filled:.1%} non-zero, {options.epochs} epochs of minibatches "
        f"of {options.batch_size}, {options.threads} threads, {options.rounds} rounds in turn. R's BLAS: "
        f"{about['blas']} (LAPACK {about['lapack']}). {versions}.")
    write_results(options.name, result, markdown_table(["", "median", "quartiles"], rows))


if __name__ == "__main__":
    main()
