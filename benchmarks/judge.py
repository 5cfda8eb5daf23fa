"""The table and the curves of time to quality, from the facts of the runs."""

import numpy as np
from rounds import markdown_table

__all__ = ["paired", "quality_panels", "quality_table", "reached"]

LEAST = {"ELBO": 1.0, "reconstruction": 1.0}           # nats a cell; of the other measures 0.01
COLOURS = {"default": "tab:blue", "fast": "tab:orange"}


def values_of(run):
    """{measure: value}, higher is better."""
    metrics = {name: run["metrics"][name] for name in ("k-NN accuracy", "batch mixing", "NMI", "ARI")}
    return {"ELBO": run["elbo"], "reconstruction": -run["reconstruction"], **metrics}


def paired(ours, theirs, least):
    """Whether `ours` is not worse than `theirs`, seed by seed; both see the same cells of a seed.

    Returns {"ours", "theirs": mean, "difference", "error": its standard error over seeds (0 of one), "margin",
    "not_worse"}: the difference is at least minus max(least, 2 errors).
    """
    differences = np.subtract(ours, theirs)
    error = differences.std(ddof=1) / np.sqrt(len(differences)) if len(differences) > 1 else 0.0
    margin = max(least, 2 * error)
    return {"ours": float(np.mean(ours)), "theirs": float(np.mean(theirs)), "difference": float(differences.mean()),
            "error": float(error), "margin": float(margin), "not_worse": bool(differences.mean() >= -margin)}


def reached(curve, level):
    """(seconds, epoch) at which a curve first reaches an ELBO, or None."""
    return next(((point["seconds"], point["epoch"]) for point in curve if point["elbo"] >= level), None)


def by_seed(runs, data):
    """({seed: run of the default}, {seed: run of the preset}) of the seeds that have both."""
    found = [{run["seed"]: run for run in runs if (run["data"], run["name"]) == (data, name)} for name in COLOURS]
    seeds = sorted(set(found[0]) & set(found[1]))
    return tuple({seed: side[seed] for seed in seeds} for side in found)


def quality_table(runs, recipes):
    """Markdown: each measure of both recipes by data set, and the seconds."""
    rows, notes = [], []
    for data in dict.fromkeys(run["data"] for run in runs):
        default, fast = by_seed(runs, data)
        if not default:
            continue
        for name in values_of(next(iter(fast.values()))):
            c = paired(*([values_of(run)[name] for run in side.values()] for side in (fast, default)),
                       LEAST.get(name, 0.01))
            form = ".2f" if name in LEAST else ".3f"
            rows.append([data, name, f"{c['theirs']:{form}}", f"{c['ours']:{form}}", f"{c['difference']:+{form}}",
                         f"{c['error']:{form}}", f"{c['margin']:{form}}", "yes" if c["not_worse"] else "**no**"])
        seconds = [float(np.mean([run["seconds"] for run in side.values()])) for side in (default, fast)]
        rows.append([data, "seconds of training", *(f"{s:.1f}" for s in seconds),
                     f"{seconds[0] / seconds[1]:.1f} times less", "", "", ""])
        times = [reached(fast[seed]["curve"], default[seed]["curve"][-1]["elbo"]) for seed in fast]
        until = f"{np.mean([time for time, _ in times]):.1f}" if all(times) else "not by all"
        rows.append([data, "seconds to the last ELBO of the default", f"{seconds[0]:.1f}", until, "", "", "", ""])
        any_run = next(iter(fast.values()))
        notes.append(f"{data}: {any_run['cells']:,} cells x {any_run['genes']:,} genes, batch column "
                     f"`{any_run['columns'][0]}`, labels `{any_run['columns'][1]}`, seeds "
                     f"{', '.join(map(str, fast))}, {any_run['threads']} threads")
    words = "; ".join(f"{name}: {', '.join(f'{k} = {v}' for k, v in recipe.items())}"
                      for name, recipe in recipes.items())
    machine = ", ".join(f"{key}: {value}" for key, value in runs[0]["machine"].items())
    header = ["data", "measure", "default", "fast", "difference", "its error", "margin", "not worse"]
    return "\n\n".join([
        "# Time to quality: the preset \"fast\" beside the default recipe", markdown_table(header, rows),
        "Means over seeds; higher is better (the reconstruction is the log-likelihood of the counts given draws of the "
        "posterior). ELBO, at weight 1 of the KL divergence, and reconstruction are nats a cell, of the tenth of the "
        "cells that was kept out, the same on both sides; the other measures are those of `metrics.py`. Differences "
        "are taken seed by seed; not worse: above minus the margin, which is 1 nat (0.01 of the other measures) or "
        "twice the error. Seconds are of trainings that also drew these curves.",
        f"{words}. {'; '.join(notes)}.", "![ELBO and reconstruction of the cells kept out](quality.png)",
        f"Machine: {machine}."]) + "\n"


def quality_panels(runs):
    """Panels for workers/curves.py: ELBO and reconstruction of the cells kept out against time, a row a data set."""
    panels = []
    for data in dict.fromkeys(run["data"] for run in runs):
        here = [run for run in runs if run["data"] == data]
        for key, words, sign in (("elbo", "ELBO", 1), ("reconstruction", "log-likelihood", -1)):
            last = [sign * run["curve"][-1][key] for run in here]
            curves = [{"name": f"{run['name']}, seed {run['seed']}", "x": [p["seconds"] for p in run["curve"]],
                       "y": [sign * p[key] for p in run["curve"]], "color": COLOURS[run["name"]],
                       "alpha": 0.8 if run["seed"] == here[0]["seed"] else 0.4} for run in here]
            panels.append({"title": f"{data}: {words} of cells kept out", "x": "seconds of training",
                           "y": "nats a cell", "log": "x", "curves": curves, "floor": min(last) - 60})
    return panels
