"""Differential expression against planted effects: false discoveries, power, intervals; beside scvi-tools and a test.

    python benchmarks/differential.py                       simulated counts, three settings, three seeds

A gene counts as changed where the log2 ratio of its expected expression fractions in the two types, the mean over
batches, is beyond 0.25 (delta) in truth. Both models train alike; both compare types with batch correction, in "change"
mode, at a target of 5% false discoveries. The Wilcoxon test takes log(1 + counts per 10,000), and its p-values are
adjusted by Benjamini and Hochberg; its own null hypothesis is no difference at all.
"""

import argparse
import itertools
import tempfile
from pathlib import Path

import numpy as np
from rounds import (
    HERE,
    Worker,
    cores,
    describe_machine,
    has_peer,
    markdown_table,
    peer_python,
    write_results,
)
from scipy import stats

from latome.analysis.differential import comparisons_of, differential_expression
from latome.analysis.expression import normalized_expression
from latome.data.registry import Columns, open_data
from latome.data.simulate import simulate
from latome.fit import fit
from latome.modules.scvi import ScviSettings
from latome.training.options import TrainingOptions
from latome.training.session import RandomStream

DELTA, TARGET, LEVEL = 0.25, 0.05, 0.9
CELLS, DRAWS = 200, 200                                 # cells whose intervals are looked at, and draws of each
SETTINGS = {                                            # of simulate(), and the likelihood that suits its counts
    "1,000 counts a cell": ({"depth": 1000.0}, "nb"),
    "300 counts a cell": ({"depth": 300.0}, "nb"),
    "1,000 counts, a fifth lost": ({"depth": 1000.0, "zero_inflation": 0.2}, "zinb"),
}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=2000)
    parser.add_argument("--genes", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--alone", action="store_true", help="without scvi-tools")
    return parser.parse_args()


# ---- truth

def truths(adata):
    """({pair: true log2 fold changes (g,)}, true fractions (n, g))."""
    weights = {}
    for name in adata.varm["cell_type_effect"]:
        effect = adata.varm["cell_type_effect"][name].to_numpy()[:, None] + adata.varm["batch_effect"].to_numpy()
        weight = np.exp(adata.var["base"].to_numpy()[:, None] + effect)                         # (g, B)
        weights[name] = np.log2((weight / weight.sum(0)).mean(1))
    expected = adata.layers["mean"] / (1 - adata.var["dropout"].to_numpy())
    pairs = {pair: weights[pair[0]] - weights[pair[1]] for pair in itertools.combinations(weights, 2)}
    return pairs, expected / expected.sum(1, keepdims=True)


def judged(called, order, truth):
    """What a list of genes is worth: its size, false share, power; and the power of the longest good enough list."""
    changed = np.abs(truth) > DELTA
    hits = np.cumsum(changed[order]) / np.arange(1, len(order) + 1)
    good = np.flatnonzero(hits >= 1 - TARGET)
    best = changed[order[: good[-1] + 1]].sum() if good.size else 0
    return {"called": int(called.sum()), "false": float((called & ~changed).sum() / max(1, called.sum())),
            "power": float((called & changed).sum() / changed.sum()), "best": float(best / changed.sum())}


def judge_model(table, truth):
    """The same for a model's table, and how far its fold changes are from the truth."""
    table = {name: np.asarray(values) for name, values in table.items()}
    order = np.lexsort((-np.abs(table["lfc"]), -table["prob"]))
    inside = (table["low"] <= truth) & (truth <= table["high"])
    return judged(table["called"].astype(bool), order, truth) | {
        "error": float(np.sqrt(np.mean((table["lfc"] - truth) ** 2))), "inside": float(inside.mean())}


def wilcoxon(adata, pair):
    """(adjusted p-values, log2 fold changes of the mean scaled counts) of two types."""
    x = adata.X.toarray().astype(np.float64)
    scaled = 1e4 * x / x.sum(1, keepdims=True)
    groups = [scaled[(adata.obs["cell_type"] == name).to_numpy()] for name in pair]
    p = stats.mannwhitneyu(*map(np.log1p, groups), axis=0, method="asymptotic").pvalue
    change = np.subtract(*(np.log2(group.mean(0) + 1e-9) for group in groups))
    return stats.false_discovery_control(np.nan_to_num(p, nan=1.0)), change


# ---- latome

def train(data, seed, likelihood, n_hidden, options):
    """A fit; the KL divergence counts fully after half of the epochs."""
    asked = TrainingOptions(max_epochs=options.epochs, n_epochs_kl_warmup=max(1, options.epochs // 2), device="cpu",
                            threads=options.threads)
    return fit(ScviSettings(gene_likelihood=likelihood, n_hidden=n_hidden), data, asked, seed=seed)


def compare(module, data, adata, pairs, seed):
    """The tables of all pairs, in the form of the worker's."""
    found = []
    for pair in pairs:
        with RandomStream(seed).active():
            table = differential_expression(
                module, data, comparisons_of(adata.obs, "cell_type", *pair), delta=DELTA, batch_correction=True,
                fdr_target=TARGET, cred_interval_lvls=(LEVEL,), all_stats=False).set_index("gene").loc[adata.var_names]
        names = {"prob": "prob_de", "lfc": "lfc_mean", "low": "lfc_low", "high": "lfc_high", "called": "is_de"}
        found.append({name: table[column].to_numpy() for name, column in names.items()})
    return found


def draws(module, data, rows, seed):
    """(DRAWS, cells, g) draws of expression fractions."""
    with RandomStream(seed).active():
        return normalized_expression(module, data, indices=rows, n_samples=DRAWS, return_mean=False)


def covered(samples, rho):
    """Share of true fractions (cells, g) within the central interval of their draws (s, cells, g)."""
    low, high = np.quantile(samples, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return float(((low <= rho) & (rho <= high)).mean())


# ---- the comparison

def measure(name, seed, options, peer, folder):
    """Rows of results of one simulated data set: [{setting, seed, model, side, ...}]."""
    simulation, suited = SETTINGS[name]
    adata = simulate(options.cells, options.genes, 3, 2, seed=seed, differential=0.2, marker_effect=1.0, with_mean=True,
                     **simulation)
    path = str(Path(folder) / "cells.h5ad")
    adata.write_h5ad(path)
    data, (pairs, rho) = open_data(adata, Columns(batch="batch")), truths(adata)
    rows = np.sort(np.random.default_rng(seed).choice(adata.n_obs, CELLS, replace=False))
    found = []

    def add(side, model, pair, **values):
        found.append({"setting": name, "seed": seed, "side": side, "model": model, "pair": pair, **values})

    for pair, truth in pairs.items():
        q, change = wilcoxon(adata, pair)
        add("Wilcoxon", "", pair, **judged(q <= TARGET, np.argsort(q, kind="stable"), truth))
        called = (q <= TARGET) & (np.abs(change) >= DELTA)
        add("Wilcoxon, and ratio", "", pair, **judged(called, np.lexsort((q, ~(np.abs(change) >= DELTA))), truth))
    for model, design in {"default": ("zinb", 128), "suited": (suited, 32)}.items():
        fits = [train(data, seed + 1000 * i, *design, options) for i in range(2)]
        for (pair, truth), table in zip(pairs.items(), compare(fits[0].module, data, adata, pairs, seed), strict=True):
            add("latome", model, pair, **judge_model(table, truth))
        samples = [draws(one.module, data, rows, seed) for one in fits]
        add("latome", model, None, covered=covered(samples[0], rho[rows]))
        add("latome, two fits", model, None, covered=covered(np.concatenate(samples), rho[rows]))
        if peer is not None:
            found += ask_peer(peer, path, folder, seed, design, options, pairs, rows, rho, (name, model))
    return found


def ask_peer(peer, path, folder, seed, design, options, pairs, rows, rho, names):
    """The same of scvi-tools."""
    peer.ask("train", path=path, batch="batch", seed=seed, threads=options.threads, epochs=options.epochs,
             warmup=max(1, options.epochs // 2), likelihood=design[0], n_hidden=design[1])
    tables = peer.ask("compare", column="cell_type", pairs=list(pairs), fdr=TARGET)["tables"]
    about = {"setting": names[0], "seed": seed, "side": "scvi-tools", "model": names[1]}
    found = [{**about, "pair": pair, **judge_model(table, truth)}
             for (pair, truth), table in zip(pairs.items(), tables, strict=True)]
    to = str(Path(folder) / "draws.npy")
    peer.ask("draws", rows=rows.tolist(), n_samples=DRAWS, to=to)
    return [*found, {**about, "pair": None, "covered": covered(np.load(to), rho[rows])}]


def summary(found):
    """Markdown of both tables, and the figures behind them."""
    def of(setting, side, model, key):
        return [row[key] for row in found if key in row and (row["setting"], row["side"], row["model"]) ==
                (setting, side, model)]

    kinds = list(dict.fromkeys((row["setting"], row["side"], row["model"]) for row in found))
    lists, intervals, numbers = [], [], []
    for kind in kinds:
        values = {key: of(*kind, key) for key in ("called", "false", "power", "best", "error", "inside", "covered")}
        mean = {key: float(np.mean(v)) for key, v in values.items() if v}
        numbers.append({"setting": kind[0], "side": kind[1], "model": kind[2], **mean,
                        **({"worst false": max(values["false"])} if values["false"] else {})})
        if values["false"]:
            error = f"{mean['error']:.2f}" if "error" in mean else ""
            lists.append([*kind, f"{mean['called']:.0f}", f"{mean['false']:.1%}", f"{max(values['false']):.1%}",
                          f"{mean['power']:.1%}", f"{mean['best']:.1%}", error])
        if values["covered"]:
            inside = f"{mean['inside']:.1%}" if "inside" in mean else ""
            spread = f"{min(values['covered']):.1%} to {max(values['covered']):.1%}"
            intervals.append([*kind, f"{mean['covered']:.1%}", spread, inside])
    first = markdown_table(["counts", "side", "model", "genes called", "of them false", "worst list", "power",
                            "power at 5% false", "error of log2 fold changes"], lists)
    second = markdown_table(["counts", "side", "model", "true fractions within 90% intervals of a cell", "over seeds",
                             "true fold changes within `lfc_low` to `lfc_high`"], intervals)
    return first + "\n\n" + second, numbers


def calibration(options):
    settings = list(SETTINGS)
    peer = None if options.alone or not has_peer() else Worker(
        [peer_python(), str(HERE / "workers/de_peer.py")], options.threads)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for name, seed in itertools.product(settings, range(options.seeds)):
            found += measure(name, seed, options, peer, folder)
            print(f"{name}, seed {seed}: done", flush=True)
    if peer is not None:
        peer.close()
    table, numbers = summary(found)
    note = (
        f"{options.cells:,} cells x {options.genes:,} genes, 3 types, 2 batches, {options.seeds} seeds; the mean over "
        f"the 3 pairs of types and the seeds. A gene is truly changed where its expected fractions differ by more than "
        f"{DELTA} on the log2 scale; `of them false` is the share of the genes called that are not, `worst list` the "
        f"largest of these, `power` the share of changed genes that are called, `power at 5% false` that of the "
        f"longest list in each method's own order with at most 5% false. Models: `default` is scVI with zinb and 128 "
        f"units, `suited` the likelihood that the counts come from and 32 units; {options.epochs} epochs, KL warm-up "
        f"over half of them. `Wilcoxon, and ratio` also asks for an observed log2 fold change of {DELTA}. Intervals of "
        f"a cell: the central 90% of {DRAWS} draws of its normalised expression, against its true fraction, all genes "
        f"of {CELLS} cells; `two fits` pools the draws of two fits that differ in their seed. The intervals of fold "
        "changes are of random pairs of cells, so they are wider than the uncertainty of the mean change.")
    write_results("differential", {
        "title": "Differential expression on simulated counts with planted effects", "summary": numbers, "rows": found,
        "note": note, "machine": describe_machine(), "options": vars(options)}, table)


if __name__ == "__main__":
    calibration(arguments())
