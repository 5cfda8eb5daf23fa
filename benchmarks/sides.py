"""The same task done by latome and by scvi-tools, seed by seed; what the peer found is kept, and the two compared."""

import argparse
import hashlib
import json
import sys
import tempfile
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from metrics import compare
from rounds import HERE, RESULTS, Worker, describe_machine, has_peer, markdown_table, peer_python, write_results

__all__ = ["SHADES", "Task", "draw", "load", "parser_of", "read_counts", "seed_curves", "write_comparison"]

PEER = HERE / "peer"
SIDES = {"scvi-tools": "scvi", "latome": "latome"}     # name -> package
SHADES = {"scvi-tools": "tab:orange", "latome": "tab:blue"}


def parser_of(doc, required=True, **defaults):
    """The options that all such scripts have; `defaults` replace those here. `required`: whether --data is."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=required, help="an .h5ad file of raw counts")
    parser.add_argument("--name", help="of the files; by default that of the data")
    parser.add_argument("--drop", nargs="+", default=[], metavar="COLUMN=VALUE", help="cells to leave out")
    parser.add_argument("--cells", type=int, help="at most so many cells, drawn at random, always the same")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rerun", action="store_true", help="run the peer again")
    parser.add_argument("--only", choices=["latome", "scvi-tools"], help="run this side; no table is written")
    parser.set_defaults(**defaults)
    return parser


def read_counts(options, columns):
    """(name of the files, the cells that are asked for); ends the script where `obs` lacks one of the columns."""
    data = anndata.read_h5ad(options.data)
    dropped = [part.split("=", 1) for part in options.drop]
    missing = [c for c in [*columns, *(column for column, _ in dropped)] if c is not None and c not in data.obs]
    if missing:
        sys.exit(f"`obs` has no column {missing}. Columns: {list(data.obs.columns)}.")
    keep = np.ones(data.n_obs, dtype=bool)
    for column, value in dropped:
        keep &= (data.obs[column].astype(str) != value).to_numpy()
    rows = np.flatnonzero(keep)
    if options.cells and options.cells < len(rows):
        rows = np.sort(np.random.default_rng(0).permutation(rows)[:options.cells])
    return options.name or Path(options.data).stem, data[rows].copy()


def digest(names):
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]


def load(path):
    """Probabilities that a worker left: a data frame cells x categories."""
    found = np.load(path)
    return pd.DataFrame(found["probabilities"], index=found["rows"], columns=found["columns"])


class Task:
    """A verb of workers/tasks.py, done by both sides.

    Arguments
    ---------
    name : of the data.   model : in the names of the files of peer/, <name>_<model>_<seed>.json.
    data : the AnnData that goes to the workers.
    design : what decides the result, in JSON-able facts; a kept run of another design is refused.
    verb, request : what the worker is asked, beside path, seed, threads and to.
    judge : path of the worker's answer, seed -> {"metrics": {name: value}, ...facts for the figure}.
    suffix : of the file that the worker leaves.
    """

    def __init__(self, name, model, data, design, verb, request, judge, options, suffix=".npz"):
        self.name, self.model, self.options, self.judge = name, model, options, judge
        self.verb, self.request, self.suffix = verb, request, suffix
        self.design = {"cells": data.n_obs, "genes": data.n_vars, "genes_sha256": digest(data.var_names),
                       "cells_sha256": digest(data.obs_names), **design}
        self.data = data

    def runs(self):
        """{side: [facts of each seed]}."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "cells.h5ad"
            self.data.write_h5ad(path)
            chosen = [self.options.only] if self.options.only else list(SIDES)
            return {side: self._side(side, path) for side in chosen}

    def _side(self, side, path):
        worker, found = None, []
        for seed in self.options.seeds:
            kept = self._kept(side, seed)
            if kept is None:
                worker = worker or Worker(self._command(side), self.options.threads)
                kept = self._run(worker, side, path, seed)
            found.append(kept)
        if worker is not None:
            worker.close()
        return found

    def _command(self, side):
        python = sys.executable if side == "latome" else peer_python()
        return [python, str(HERE / "workers/tasks.py"), SIDES[side]]

    def _kept(self, side, seed):
        """What the peer found with this seed before, or None."""
        facts = self._facts(seed)
        if side == "latome" or self.options.rerun or not facts.exists():
            return None
        found = json.loads(facts.read_text())
        differing = [key for key, value in self.design.items() if found["design"].get(key) != value]
        if differing:
            sys.exit(f"{facts.name} was made with other options ({', '.join(differing)}): add --rerun, or --name.")
        return found

    def _facts(self, seed):
        return PEER / f"{self.name}_{self.model}_{seed}.json"

    def _run(self, worker, side, path, seed):
        to = path.parent / f"{side}_{seed}{self.suffix}"
        request = self.request(seed) if callable(self.request) else self.request
        told = worker.ask(self.verb, path=str(path), seed=seed, threads=self.options.threads, to=str(to), **request)
        found = {"data": self.name, "model": self.model, "seed": seed, "design": self.design, **told,
                 **self.judge(to, seed), "threads": self.options.threads, "machine": describe_machine()}
        print(f"{side}, seed {seed}: " + ", ".join(f"{k} {v:.3f}" for k, v in found["metrics"].items())
              + ", " + ", ".join(f"{k} {v:.0f} s" for k, v in found["seconds"].items()), flush=True)
        if side != "latome":
            PEER.mkdir(exist_ok=True)
            self._facts(seed).write_text(json.dumps(found, indent=1) + "\n")
        return found


def compared_rows(runs, lower, neutral):
    """(rows of the table, {measure: what `compare` says}).

    Measures in `lower` are better when they are lower; of those in `neutral` neither is better.
    """
    rows, compared = [], {}
    for name in runs["latome"][0]["metrics"]:
        ours, theirs = ([run["metrics"][name] for run in runs[side]] for side in ("latome", "scvi-tools"))
        sign = -1 if name in lower else 1
        c = compared[name] = compare([sign * v for v in ours], [sign * v for v in theirs])
        rows.append([name + (" (lower is better)" if name in lower else ""), f"{np.mean(ours):.3f}",
                     f"{min(ours):.3f} to {max(ours):.3f}", f"{np.mean(theirs):.3f}",
                     f"{min(theirs):.3f} to {max(theirs):.3f}", f"{sign * c['difference']:+.3f}",
                     *([""] * 2 if name in neutral else [f"{c['margin']:.3f}", "yes" if c["not_worse"] else "**no**"])])
    return rows, compared


def write_comparison(name, title, task, runs, note, lower=(), neutral=()):
    """Sets: results/<name>.json and .md; prints the table. `lower`, `neutral`: see `compared_rows`."""
    rows, compared = compared_rows(runs, lower, neutral)
    header = ["", "latome", "its seeds", "scvi-tools", "its seeds", "difference", "margin", "not worse"]
    seconds = "; ".join(f"{side}: " + ", ".join(
        f"{part} {np.mean([run['seconds'][part] for run in found]):.0f} s" for part in found[0]["seconds"])
        for side, found in runs.items())
    versions = "; ".join(", ".join(f"{k} {v}" for k, v in found[0]["versions"].items()) for found in runs.values())
    design = {key: value for key, value in task.design.items() if not key.endswith("sha256")}
    note = (f"Means over seeds {', '.join(map(str, task.options.seeds))}. Not worse: the difference is on the wrong "
            "side by less than the margin, which is 0.01 or twice the standard error of the difference. " + note
            + f"\n\nSeconds of training, which are not a measurement of speed (other days, other company): {seconds}."
            f"\n\nVersions: {versions}.")
    keep = ("metrics", "seconds", "epochs")
    result = {"title": title, "design": design, "seeds": task.options.seeds, "compared": compared,
              "runs": {side: [{k: run[k] for k in keep if k in run} for run in found] for side, found in runs.items()},
              "note": note, "machine": describe_machine()}
    write_results(name, result, markdown_table(header, rows))


def seed_curves(runs, x, y, **style):
    """Curves of workers/curves.py, a line for each side and seed, from run["curve"]."""
    return [{"name": side if i == 0 else None, "x": run["curve"][x], "y": run["curve"][y], "color": SHADES[side],
             "linewidth": 1, **style} for side, found in runs.items() for i, run in enumerate(found)]


def draw(name, panels, threads=1):
    """Sets: results/<name>.png, where the peer's environment is there to draw it. Panels: see workers/curves.py."""
    if not has_peer():
        return print("No figure: it is drawn in the peer's environment (benchmarks/setup_peer.sh).")
    worker = Worker([peer_python(), str(HERE / "workers/curves.py")], threads)
    worker.ask("curves", panels=panels, to=str(RESULTS / f"{name}.png"), columns=min(3, len(panels)))
    worker.close()
