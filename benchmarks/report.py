"""The table of speeds: verdicts, words and Markdown, from the files of the rows that are there."""

import json

import numpy as np
from growth import growth_rows
from rounds import markdown_table, quartiles
from rows import ROWS

__all__ = ["FORMS", "elbo_words", "figure_rows", "ratio_of", "shown", "speed_table", "verdict"]

SLACK = 0.9                                            # of the goal, that the lower quartile must reach
FORMS = {"cells/s": lambda x: f"{1 / x:,.0f} cells/s", "s": lambda x: f"{x:.3g} s" if x < 1000 else f"{x:,.0f} s",
         "MB": lambda x: f"{x / 2**20:,.0f} MB"}
HEADER = ["", "latome", "the other", "ratio: median", "quartiles", "must", "aim", "", "held-out ELBO: ours, theirs"]


def ratio_of(figures, sides, figure):
    """[lower quartile, median, upper quartile] of theirs / ours, round by round."""
    ours, theirs = ([found[figure] for found in figures[side]] for side in sides)
    return quartiles(np.divide(theirs, ours))


def verdict(ratio, goal):
    """Whether the lower quartile of the ratio reaches 0.9 of the goal, in words; nothing where there is no goal."""
    if goal.must is None:
        return ""
    if ratio[0] < SLACK * goal.must:
        return "**not met**"
    return "met, and the aim" if ratio[0] >= SLACK * goal.aim else "met"


def shown(value, goal):
    return FORMS[goal.shown](value)


def elbo_words(elbos):
    """Means of both sides and their difference with its standard error, in nats a cell."""
    if not elbos:
        return ""
    ours, theirs = (np.array(values) for values in elbos.values())
    words = f"{ours.mean():.1f}, {theirs.mean():.1f}"
    if len(ours) > 1:
        error = np.sqrt(ours.var(ddof=1) / len(ours) + theirs.var(ddof=1) / len(theirs))
        words += f" ({ours.mean() - theirs.mean():+.2f} ± {error:.2f})"
    return words


def figure_rows(row, result):
    """Cells of the table: a line for each of a row's goals."""
    lines = []
    for goal in row.goals:
        ours, theirs = (np.median([found[goal.figure] for found in result["figures"][side]]) for side in row.sides)
        low, median, high = ratio = ratio_of(result["figures"], row.sides, goal.figure)
        lines.append([f"{row.what}: {goal.words}" if goal.words else row.what, shown(ours, goal), shown(theirs, goal),
                      f"**{median:.2f}**", f"{low:.2f} to {high:.2f}",
                      *("" if g is None else f"{g:.3g}" for g in (goal.must, goal.aim)), verdict(ratio, goal),
                      elbo_words(result.get("elbos"))])
    return lines


def work(row, result):
    """What the row was measured on, in words."""
    counts = result["counts"]
    options = {name: value for name, value in result["options"].items() if name != "arguments"}
    if row.measure == "conversion":
        words = f"{options['cells']:,} cells x {options['genes']:,} genes, {options['nonzeros']:,} non-zeros"
    elif "data" in result:
        words = result["data"]
    else:
        words = f"{counts['cells']:,} cells x {counts['genes']:,} genes, {result['filled']:.1%} non-zero"
        words += "".join(f", {name} {value}" for name, value in options.items())
    rounds = len(next(iter(result["figures"].values())))
    kernels = result.get("about", {}).get("latome", {}).get("kernels")
    return (f"- {row.name}: {words}; {rounds} rounds, {result['threads']} threads"
            + (f"; processor with {', '.join(result['instructions'])}" if row.needs else "")
            + (f"; compiled kernels: {kernels}" if kernels else ""))


def by_machine(results):
    """{machine in words: [names of the rows]}."""
    found = {}
    for name, result in results.items():
        words = ", ".join(f"{key}: {value}" for key, value in result["machine"].items())
        found.setdefault(words, []).append(name)
    return found


def speed_table(folder):
    """Markdown of all rows whose files are in `folder`."""
    results = {row.name: json.loads((folder / f"{row.name}.json").read_text()) for row in ROWS
               if (folder / f"{row.name}.json").exists()}
    there = [row for row in ROWS if row.name in results and row.goals]
    lines = [line for row in there for line in figure_rows(row, results[row.name])]
    parts = ["# Speed, beside scvi-tools", markdown_table(HEADER, lines),
             "Medians, and the quartiles of the ratio theirs / ours, round by round, in turn. A goal is met when the "
             "lower quartile of the ratio is at least 0.9 of it. ELBO: mean a cell over rounds, of cells kept from "
             "both sides, after the training that was timed; higher is better. `the other` is scvi-tools, or Python "
             "for training from R, or the transposing expression for conversion.",
             "## What was measured", "\n".join(work(row, results[row.name]) for row in there)]
    if "growth" in results:
        kinds = list(results["growth"]["growth"])
        header = ["cells", *(f"us a cell, {kind}" for kind in kinds), *(f"MB over the start, {kind}" for kind in kinds)]
        parts += ["## Growth", markdown_table(header, growth_rows(results["growth"]["growth"])),
                  "latome alone, each size in a fresh process that has trained something small before; the start is "
                  "the process with the data opened.",
                  "![Cost and memory against the number of cells](growth.png)"]
    told = [about.get("versions", {}) for result in results.values() for about in result.get("about", {}).values()]
    versions = sorted({f"{package} {version}" for found in told for package, version in found.items()})
    parts += [f"Versions: {', '.join(versions)}."]
    parts += [f"Machine ({', '.join(names)}): {words}." for words, names in by_machine(results).items()]
    missing = [row.name for row in ROWS if row.name not in results]
    parts += [f"Not measured: {', '.join(missing)}."] if missing else []
    return "\n\n".join(parts) + "\n"
