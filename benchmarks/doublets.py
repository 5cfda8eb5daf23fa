"""Doublets found by Solo, ours and scvi-tools', against doublets that hashing or genotypes show.

    python benchmarks/doublets.py --data hashing_celllines.h5ad --truth doublet --drop doublet_true_labels=Negative
    python benchmarks/doublets.py --data kang_doublets.h5ad --truth doublet --batch batch --drop demuxlet_call=AMB

Both train scVI, zinb, on the same cells and genes, with the same epochs and KL warm-up, and then Solo in each batch.
Doublets arise within a batch, so the measures are taken batch by batch and averaged.
"""

import numpy as np
from metrics import area_under_roc, average_precision, precision_recall
from real import with_genes
from sides import Task, draw, load, parser_of, read_counts, seed_curves, write_comparison

MEASURES = {"AUROC": "chance that a doublet scores higher than a singlet",
            "average precision": "mean precision over the doublets, in the order of the scores"}


def arguments():
    parser = parser_of(__doc__)
    parser.add_argument("--truth", required=True, help="column of obs, true or false: is a doublet")
    parser.add_argument("--batch", help="column of obs: Solo runs in each")
    parser.add_argument("--genes", type=int, default=2000)
    parser.add_argument("--solo-epochs", type=int, default=400, help="at most: Solo stops early")
    parser.add_argument("--ratio", type=int, default=2, help="simulated doublets a cell")
    return parser.parse_args()


def judge(table, truth, batches):
    """{"metrics", "by_batch", "curve": precision against recall, of all batches together}."""
    scores, by_batch = table["doublet"].to_numpy(), {}
    for batch in np.unique(batches):
        rows = batches == batch
        by_batch[str(batch)] = dict(zip(MEASURES, (area_under_roc(scores[rows], truth[rows]),
                                                   average_precision(scores[rows], truth[rows])), strict=True))
    means = {name: float(np.mean([found[name] for found in by_batch.values()])) for name in MEASURES}
    recall, precision = precision_recall(scores, truth)
    grid = np.linspace(0.02, 1, 50)
    at = np.searchsorted(recall, grid - 1e-9)
    return {"metrics": means, "by_batch": by_batch,
            "curve": {"recall": grid.round(2).tolist(), "precision": precision[at].round(4).tolist()}}


def panels(name, runs, share):
    lines = seed_curves(runs, "recall", "precision")
    lines.append({"name": "by chance", "x": [0, 1], "y": [share, share], "color": "grey", "linestyle": ":"})
    return [{"title": f"Solo on {name}, each seed", "x": "share of the doublets found", "y": "share that are doublets",
             "curves": lines}]


def main():
    options = arguments()
    name, data = read_counts(options, [options.truth, options.batch])
    truth = data.obs[options.truth].astype(str).str.lower().isin(["true", "1", "doublet", "yes"]).to_numpy()
    batches = (data.obs[options.batch].astype(str).to_numpy() if options.batch else np.full(len(truth), "all"))
    chosen = with_genes(data, options.batch, options.genes)
    design = {"truth": options.truth, "batch": options.batch, "dropped": options.drop, "epochs": options.epochs,
              "kl_warmup": max(1, options.epochs // 2), "solo_epochs": options.solo_epochs, "ratio": options.ratio,
              "measures": MEASURES}
    request = {"epochs": options.epochs, "batch": options.batch, "solo_epochs": options.solo_epochs,
               "ratio": options.ratio}
    task = Task(name, "solo", chosen, design, "doublets", request,
                lambda to, seed: judge(load(to).loc[data.obs_names], truth, batches), options)
    runs = task.runs()
    if options.only:
        return
    parts = "; ".join(f"{batch}: " + ", ".join(
        f"{side} {measure} {np.mean([run['by_batch'][batch][measure] for run in found]):.3f}"
        for side, found in runs.items() for measure in MEASURES) for batch in runs["latome"][0]["by_batch"])
    note = (f"{data.n_obs:,} cells, {truth.sum():,} of them doublets by column `{options.truth}`; {chosen.n_vars:,} "
            f"genes; scVI {options.epochs} epochs, KL warm-up over half; Solo in each of {len(np.unique(batches))} "
            f"batches with {options.ratio} simulated doublets a cell, at most {options.solo_epochs} epochs. Measures "
            f"are taken in each batch and averaged. {'; '.join(f'{k}: {v}' for k, v in MEASURES.items())}. "
            f"By chance the average precision is {truth.mean():.3f}.\n\nBy batch: {parts}.\n\n"
            f"![Precision against recall](doublets_{name}.png)")
    write_comparison(f"doublets_{name}", f"Doublets: Solo on {name}", task, runs, note)
    draw(f"doublets_{name}", panels(name, runs, float(truth.mean())), options.threads)


if __name__ == "__main__":
    main()
