"""Removal of nuisance factors by covariates, in our latent and in scvi-tools'.

    python benchmarks/nuisance.py
    python benchmarks/nuisance.py --data mine.h5ad --batch donor --continuous s_score g2m_score --categorical sex \
        --nuisance cycle_genes sex_genes --markers marker_genes

Without --data, counts are simulated: cell types move marker genes, a continuous factor like the cell cycle and a
categorical one like sex move others. Each side trains scVI, zinb, twice: without and with the factors as covariates.
Geary's C of a gene over the neighbours in the latent is about 1 where the latent knows nothing of it and lower where
neighbours are alike: with covariates the C of nuisance genes should rise, that of markers stay low. Gene sets are
true/false columns of var.
"""

import numpy as np
from metrics import geary, neighbours_of
from sides import SHADES, Task, draw, parser_of, read_counts, write_comparison

from latome.data.simulate import simulate

NEIGHBOURS = 30
SET = 50                                               # genes that a factor moves most are its nuisance genes
SIMULATED = {"n_cells": 2000, "n_genes": 600, "n_types": 4, "n_batches": 2, "seed": 0, "depth": 3000.0,
             "marker_effect": 1.2, "categorical": {"sex": (2, 0.8)}, "continuous": {"cycle": 0.5}}


def arguments():
    parser = parser_of(__doc__, required=False)
    parser.add_argument("--batch", help="column of obs, given to every model")
    parser.add_argument("--continuous", nargs="+", default=[], help="columns of obs: factors")
    parser.add_argument("--categorical", nargs="+", default=[], help="columns of obs: factors")
    parser.add_argument("--nuisance", nargs="+", default=[], help="columns of var: sets of genes that the factors move")
    parser.add_argument("--markers", nargs="+", default=[], help="columns of var: sets of genes to keep")
    return parser.parse_args()


def simulated(options):
    """(name, AnnData); its columns are set in `options`."""
    data = simulate(**SIMULATED)
    slope, level = data.varm["cycle_effect"]["slope"].abs(), data.varm["sex_effect"].iloc[:, 1].abs()
    marker = data.var["marker_of"].notna()
    pure = {"cycle_genes": slope * (~marker & (level == 0)), "sex_genes": level * (~marker & (slope == 0))}
    for column, effect in pure.items():
        data.var[column] = effect.rank(ascending=False) <= SET
    data.var["marker_genes"] = marker & (slope == 0) & (level == 0)
    options.batch, options.continuous, options.categorical = "batch", ["cycle"], ["sex"]
    options.nuisance, options.markers = list(pure), ["marker_genes"]
    return options.name or "simulated", data


def logs(data):
    """log1p of the counts scaled to the median total of a cell, (n, g) dense."""
    x = np.asarray(data.X.todense(), dtype=np.float64)
    total = x.sum(1, keepdims=True)
    return np.log1p(x * (np.median(total) / total))


def medians(found, sets):
    return {name: float(np.nanmedian(found[rows])) for name, rows in sets.items()}


def among_alike(groups, k, seed=0):
    """Neighbours that know the group of a cell and nothing else: k of its group at random, (n, k)."""
    generator, nearest = np.random.default_rng(seed), np.empty((len(groups), k), dtype=np.int64)
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        nearest[rows] = generator.choice(rows, (len(rows), k))
    return nearest


def panels(runs, sets):
    """For each set of genes, the share of them whose C is lower."""
    lines = {name: [] for name in sets}
    for (side, model), found in runs.items():
        for name in sets:
            values = found[0]["quantiles"][name]
            lines[name].append({"name": f"{side}, {model}", "x": values, "y": np.linspace(0, 1, len(values)).tolist(),
                                "color": SHADES[side], "linestyle": "-" if model == "with" else ":"})
    return [{"title": words(name), "x": "Geary's C", "y": "share of the genes below", "curves": curves}
            for name, curves in lines.items()]


def run_models(name, data, sets, design, options):
    """{(side, "without" or "with"): [facts of each seed]}."""
    values = logs(data)

    def judge(to, seed):
        found = geary(values, neighbours_of(np.load(to).astype(np.float64), NEIGHBOURS))
        grid = np.linspace(0, 1, 41)
        return {"metrics": medians(found, sets),
                "quantiles": {one: np.quantile(found[rows], grid).round(4).tolist() for one, rows in sets.items()}}

    runs = {}
    for model in ("without", "with"):
        factors = {kind: getattr(options, kind) if model == "with" else [] for kind in ("categorical", "continuous")}
        task = Task(name, f"scvi-{model}-factors", data, design | factors, "embed",
                    {"epochs": options.epochs, "batch": options.batch, **factors}, judge, options, suffix=".npy")
        runs |= {(side, model): found for side, found in task.runs().items()}
    return task, runs


def words(column):
    return column.replace("_", " ")


def merged(runs, sets):
    """{side: [facts of each seed]} with the measures of both models of a seed side by side."""
    def join(zero, one):
        models = {"without covariates": zero, "with covariates": one}
        return one | {"metrics": {f"{words(column)}, {model}": run["metrics"][column]
                                  for column in sets for model, run in models.items()}}

    return {side: [join(*pair) for pair in zip(runs[side, "without"], runs[side, "with"], strict=True)]
            for side in SHADES}


def note_of(name, data, sets, options):
    """What the table shows, in words."""
    truth = ""
    if not options.data:
        alike = medians(geary(logs(data), among_alike(data.obs["cell_type"].astype(str).to_numpy(), NEIGHBOURS)), sets)
        truth = (" Simulated counts: " + ", ".join(f"{k} {v}" for k, v in SIMULATED.items())
                 + ". With neighbours drawn at random from the true type, as in a latent that knows the type alone, "
                 "the medians are " + ", ".join(f"{words(one)} {value:.3f}" for one, value in alike.items()) + ".")
    genes = ", ".join(f"{words(one)} {rows.sum()}" for one, rows in sets.items())
    return (f"Median Geary's C over the genes of a set ({genes}), of log counts over the {NEIGHBOURS} nearest cells in "
            f"the latent; {data.n_obs:,} cells, {data.n_vars:,} genes. Covariates: "
            f"{', '.join([*options.continuous, *options.categorical])}; the batch is given to every model. Of nuisance "
            "genes higher is better once the covariates are given, of markers lower; without covariates there is no "
            f"better. scVI {options.epochs} epochs, KL warm-up over half.{truth}\n\n"
            f"![Geary's C of each set of genes](nuisance_{name}.png)")


def main():
    options = arguments()
    name, data = (read_counts(options, [options.batch, *options.continuous, *options.categorical]) if options.data
                  else simulated(options))
    sets = {column: data.var[column].to_numpy(dtype=bool) for column in (*options.nuisance, *options.markers)}
    design = {"batch": options.batch, "epochs": options.epochs, "kl_warmup": max(1, options.epochs // 2),
              "neighbours": NEIGHBOURS, "sets": {one: int(rows.sum()) for one, rows in sets.items()}}
    task, runs = run_models(name, data, sets, design, options)
    if options.only:
        return
    found = merged(runs, sets)
    neutral = [measure for measure in found["latome"][0]["metrics"] if measure.endswith("without covariates")]
    write_comparison(f"nuisance_{name}", "Removal of nuisance factors by covariates", task, found,
                     note_of(name, data, sets, options), neutral=neutral,
                     lower=[f"{words(one)}, with covariates" for one in options.markers])
    draw(f"nuisance_{name}", panels(runs, sets), options.threads)


if __name__ == "__main__":
    main()
