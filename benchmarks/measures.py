"""How a row is measured: each function returns {"figures": {side: [{figure: value}, ...]}, ...facts}.

A round is one dict of figures, smaller is better; the rounds of both sides stand side by side.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import anndata
import numpy as np
from counts import covariates_of, simulated, write_counts, write_vectors
from growth import draw_growth, measure_growth
from real import chosen_file
from rounds import ENGINE, HERE, Worker, in_turn, peer_python

__all__ = ["MEASURES", "Bench"]

WARM_UP = 1000                                         # seed of what is not counted


@dataclass
class Bench:
    """What all rows share: threads, rounds, a folder for files, and one for results."""

    threads: int
    rounds: int
    folder: Path
    results: Path

    def rounds_of(self, row):
        return min(self.rounds, row.most or self.rounds)

    def worker(self, side, script, *arguments, environment=None):
        """A worker of a side: R, the peer's Python, or ours."""
        python = peer_python() if side == "scvi-tools" else sys.executable
        command = ["Rscript", "--no-init-file"] if script.endswith(".R") else [python]
        return Worker([*command, str(HERE / "workers" / script), *arguments], self.threads, environment)

    def pair(self, row):
        """{side: worker} over the interface that both have; ours with the row's environment."""
        return {side: self.worker(side, "model.py", {"latome": "latome", "scvi-tools": "scvi"}[side],
                                  environment=row.environment if side == "latome" else None) for side in row.sides}


def opened(row, bench):
    """({side: worker with the row's counts open}, facts)."""
    paths = write_counts(row.counts, bench.folder)
    workers = bench.pair(row)
    about = {side: worker.ask("open", train=paths["train"], heldout=paths["heldout"], threads=bench.threads,
                              **covariates_of(row.counts)) for side, worker in workers.items()}
    return workers, {"about": about, "filled": paths["filled"]}


def close(workers):
    for worker in workers.values():
        worker.close()


def train(row, bench):
    """Seconds a cell of whole train(), and after each the ELBO of the cells kept back.

    Options: epochs, batch_size, likelihood; products, of ours alone.
    """
    workers, facts = opened(row, bench)
    options = {"epochs": 2} | row.options
    products = options.pop("products", None)
    own = {"latome": {"plan_kwargs": {"products": products}} if products else {}}
    elbos = {side: [] for side in workers}

    def measure(side, turn):
        found = workers[side].ask("train", seed=turn, **options | own.get(side, {}))
        elbos[side].append(workers[side].ask("elbo")["elbo"])
        return {"seconds a cell": found["seconds"] / found["cells"]}

    for side, worker in workers.items():
        worker.ask("train", seed=WARM_UP, **options | own.get(side, {}) | {"epochs": 1})
    figures = in_turn(row.sides, bench.rounds_of(row), measure)
    close(workers)
    return {"figures": figures, "elbos": elbos, **facts}


def question(row, bench):
    """Seconds of a call of a trained model. Options: method, arguments."""
    workers, facts = opened(row, bench)

    def measure(side, turn):
        return {"seconds": workers[side].ask("ask", **row.options)["seconds"]}

    for side, worker in workers.items():
        worker.ask("train", seed=WARM_UP, epochs=1)
        measure(side, WARM_UP)
    figures = in_turn(row.sides, bench.rounds_of(row), measure)
    close(workers)
    return {"figures": figures, **facts}


def reading(row, bench):
    """Seconds a cell of reading shuffled minibatches of 128. Options: compression, theirs: their minibatches."""
    path = write_counts(row.counts, bench.folder, row.options["compression"])
    scripts = {"latome": "read_ours.py", "scvi-tools": "read_peer.py"}
    workers = {side: bench.worker(side, script) for side, script in scripts.items()}
    about = {side: worker.ask("open", path=path["train"]) for side, worker in workers.items()}
    most = {"latome": 0, "scvi-tools": row.options["theirs"]}

    def measure(side, turn):
        found = workers[side].ask("read", seed=turn, size=128, most=most[side])
        return {"seconds a cell": found["seconds"] / found["cells"]}

    for side in workers:
        measure(side, WARM_UP)
    figures = in_turn(row.sides, bench.rounds_of(row), measure)
    close(workers)
    return {"figures": figures, "about": about, "filled": path["filled"]}


def fresh(row, bench):
    """Time and memory of a fresh process to the end of its first epoch. Options: flags of workers/first_epoch.py."""
    path = write_counts(row.counts, bench.folder)
    scripts = {"latome": (sys.executable, "latome"), "scvi-tools": (peer_python(), "scvi")}

    def measure(side, turn):
        begin = time.perf_counter()
        found = first_epoch(*scripts[side], path["train"], bench.threads, flags=row.options.get("flags", ()))
        return found | {"seconds": time.perf_counter() - begin}

    for side in row.sides if row.most is None else ():
        measure(side, WARM_UP)                         # files are in the system's cache from here on
    figures = in_turn(row.sides, bench.rounds_of(row), measure)
    return {"figures": figures, "about": {}, "filled": path["filled"]}


def first_epoch(python, package, path, threads, *, epochs=1, flags=()):
    """What a fresh process tells of itself; see workers/first_epoch.py."""
    environment = {**os.environ, "PYTHONPATH": str(ENGINE), "OMP_NUM_THREADS": str(threads)}
    command = [python, str(HERE / "workers/first_epoch.py"), package, path, str(threads), str(epochs)]
    done = subprocess.run([*command, *flags], env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def quality(row, bench):
    """Our whole train() with the preset against 400 of their epochs, each half of a whole train() of two.

    Options: data, a name of real.py, or None for simulated counts.
    """
    path, words, batch = chosen_file(row.options["data"], bench.folder, row.counts)
    workers = bench.pair(row)
    about = {side: worker.ask("open", train=path, heldout=None, threads=bench.threads, batch=batch)
             for side, worker in workers.items()}
    epochs = 2                                         # of each of their train()

    def measure(side, turn):
        if side == "latome":
            return {"seconds": workers[side].ask("train", seed=turn, epochs=None, preset="fast")["seconds"]}
        return {"seconds": workers[side].ask("train", seed=turn, epochs=epochs)["seconds"] / epochs * 400}

    for worker in workers.values():
        worker.ask("train", seed=WARM_UP, epochs=1)
    figures = in_turn(row.sides, bench.rounds_of(row), measure)
    close(workers)
    return {"figures": figures, "about": about, "data": words}


def from_r(row, bench):
    """Seconds from an object of counts to its latent and its model, and of the training within. Options: epochs."""
    os.environ.setdefault("RETICULATE_PYTHON", sys.executable)
    data = simulated(row.counts)
    data.write_h5ad(bench.folder / "whole.h5ad")
    write_vectors(data, bench.folder)
    workers = {"Python": bench.worker("latome", "ours.py"), "R": bench.worker("R", "ours.R")}
    workers["Python"].ask("open", path=str(bench.folder / "whole.h5ad"), batch="batch", threads=bench.threads)
    about = workers["R"].ask("open", folder=str(bench.folder), batch="batch")

    def measure(side, turn, epochs=row.options["epochs"]):
        threads = {"threads": bench.threads} if side == "R" else {}
        found = workers[side].ask("whole", seed=turn, epochs=epochs, likelihood="zinb", batch_size=128, **threads)
        return {"seconds": found["seconds"], "training": found["training"]}

    for side in workers:
        measure(side, WARM_UP, epochs=1)
    figures = in_turn(row.sides, bench.rounds_of(row), measure)
    close(workers)
    return {"figures": figures, "about": {"R": about}, "filled": data.X.nnz / np.prod(data.shape)}


def conversion(row, bench):
    """Seconds of as_anndata() of a Seurat object, and of the expression that transposes. Options: its size."""
    os.environ.setdefault("RETICULATE_PYTHON", sys.executable)
    worker = bench.worker("R", "convert.R")
    about = worker.ask("make", **row.options)
    verbs = {"latome": "swap", "transposing": "transpose"}

    def measure(side, turn):
        return {"seconds": worker.ask(verbs[side])["seconds"]}

    for side in row.sides:
        measure(side, WARM_UP)
    figures = in_turn(row.sides, bench.rounds_of(row), measure)
    worker.close()
    return {"figures": figures, "about": {"R": about}}


def growth(row, bench):
    """Cost a cell and memory for each number of cells, in memory and from disk. Options: sizes, cells in all."""
    base = anndata.read_h5ad(write_counts(row.counts, bench.folder)["train"])
    found = measure_growth(base, row.options, bench.folder, lambda path, epochs, flags: first_epoch(
        sys.executable, "latome", path, bench.threads, epochs=epochs, flags=flags))
    draw_growth(found, bench)
    return {"figures": {}, "growth": found}


MEASURES = {function.__name__: function for function in (train, question, reading, fresh, quality, from_r, conversion,
                                                         growth)}
