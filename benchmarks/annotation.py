"""Labels given by scANVI, ours and scvi-tools', where few cells have one and a whole batch has none.

    python benchmarks/annotation.py --data pbmc_3batch.h5ad --batch batch --labels label --hide pbmc4k_v2
    python benchmarks/annotation.py --data kang_ifnb.h5ad --batch batch --labels cell_type --hide stim

In the batch to hide no label is kept, in the others a tenth of each label's cells, drawn by the seed. Both sides train
scVI, zinb, on the same cells, genes and epochs, then scANVI from it, each with the KL warm-up over half of its epochs;
they are measured on the labels that were hidden.
"""

import sys

import numpy as np
import pandas as pd
from predicted import LOWER, MEASURES, judge_labels, measure_labels, reliability_panel
from real import with_genes
from sides import Task, draw, load, parser_of, read_counts, write_comparison

COLUMN, NONE = "label_given", "none given"


def arguments():
    parser = parser_of(__doc__)
    parser.add_argument("--batch", required=True, help="column of obs")
    parser.add_argument("--labels", required=True, help="column of obs: the cell types")
    parser.add_argument("--hide", help="the batch without labels; by default the smallest")
    parser.add_argument("--keep", type=float, default=0.1, help="share of the labels kept in the other batches")
    parser.add_argument("--unlabelled", default="unknown", help="label of cells whose label nobody knows")
    parser.add_argument("--genes", type=int, default=2000)
    parser.add_argument("--scanvi-epochs", type=int, default=20)
    parser.add_argument("--per-label", type=int, default=100, help="cells of each label in an epoch of scANVI")
    return parser.parse_args()


def keep_labels(labels, allowed, share, seed):
    """Rows whose label is kept: a share of those `allowed` (n,) bool of each label, one at least."""
    generator, kept = np.random.default_rng(seed), []
    for label in np.unique(labels[allowed]):
        rows = generator.permutation(np.flatnonzero(allowed & (labels == label)))
        kept.append(rows[: max(1, round(share * len(rows)))])
    return np.sort(np.concatenate(kept))


def judge(table, labels, hidden, apart):
    """What `judge_labels` finds of all hidden labels; the measures also of those in the batch without labels."""
    found = judge_labels(table[hidden], labels[hidden])
    alone = measure_labels(table[hidden & apart], labels[hidden & apart])
    return found | {"metrics": found["metrics"] | {f"{name}, unlabelled batch": v for name, v in alone.items()}}


def main():
    options = arguments()
    name, data = read_counts(options, [options.batch, options.labels])
    labels, batches = (data.obs[column].astype(str).to_numpy() for column in (options.labels, options.batch))
    hide = options.hide or str(pd.Series(batches).value_counts().index[-1])
    if hide not in batches:
        sys.exit(f"Column `{options.batch}` has no value '{hide}': {sorted(set(batches))}.")
    known, apart = data.obs[options.labels].notna().to_numpy() & (labels != options.unlabelled), batches == hide
    never = sorted(set(labels[known]) - set(labels[known & ~apart]))       # in the hidden batch alone: nobody can know
    known &= ~np.isin(labels, never)
    chosen = with_genes(data, options.batch, options.genes)
    given = {seed: keep_labels(labels, known & ~apart, options.keep, seed) for seed in options.seeds}
    for seed, rows in given.items():
        column = np.full(len(labels), NONE, dtype=object)
        column[rows] = labels[rows]
        chosen.obs[f"{COLUMN}_{seed}"] = pd.Categorical(column)
    design = {"batch": options.batch, "labels": options.labels, "hidden_batch": hide, "kept": options.keep,
              "epochs": options.epochs, "kl_warmup": max(1, options.epochs // 2),
              "scanvi_epochs": options.scanvi_epochs, "scanvi_kl_warmup": max(1, options.scanvi_epochs // 2),
              "per_label": options.per_label, "measures": MEASURES}

    def request(seed):
        return {"epochs": options.epochs, "batch": options.batch, "labels": f"{COLUMN}_{seed}", "unlabelled": NONE,
                "scanvi_epochs": options.scanvi_epochs, "per_label": options.per_label}

    def judged(to, seed):
        hidden = known.copy()
        hidden[given[seed]] = False
        return judge(load(to).loc[data.obs_names], labels, hidden, apart)

    task = Task(name, "scanvi", chosen, design, "annotate", request, judged, options)
    runs = task.runs()
    if options.only:
        return
    note = (f"{data.n_obs:,} cells, {chosen.n_vars:,} genes, {len(np.unique(labels[known]))} labels; "
            f"{len(given[options.seeds[0]]):,} cells keep their label ({options.keep:.0%} of each label outside batch "
            f"`{hide}`, which keeps none), {known.sum() - len(given[options.seeds[0]]):,} have theirs hidden and are "
            f"measured, {(known & apart).sum():,} of them in `{hide}`. scVI {options.epochs} epochs, scANVI from it "
            f"{options.scanvi_epochs}, KL warm-up over half of each, {options.per_label} cells of each label an epoch. "
            f"{'; '.join(f'{k}: {v}' for k, v in MEASURES.items())}."
            + (f" Not measured, as no labelled batch has them: {', '.join(never)}." if never else "")
            + f"\n\n![Share right against probability](annotation_{name}.png)")
    write_comparison(f"annotation_{name}", f"Annotation: scANVI on {name}", task, runs, note,
                     lower=(*LOWER, *(f"{name}, unlabelled batch" for name in LOWER)))
    draw(f"annotation_{name}", [reliability_panel(f"scANVI on {name}, hidden labels", runs)], options.threads)


if __name__ == "__main__":
    main()
