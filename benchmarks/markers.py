"""Cell types from marker genes alone by CellAssign, ours and scvi-tools', against known types.

    python benchmarks/markers.py --data mixology_singlecells.h5ad --labels cell_line --markers markers_tian_20_73 \
        --drop demuxlet_cls=DBL --batch batch
    python benchmarks/markers.py --data pbmc3k.h5ad --labels cell_type --markers cellassign_example_TME.csv \
        --match "B cells=B" "T cells=Naive CD4 T,Memory CD4 T" "Cytotoxic T cells=CD8 T"

Markers are genes x types of 0 and 1: a name in varm of the data, or a .csv whose first column names the genes. Cells
whose type has no markers are left out. Size factors are a cell's counts over all genes, divided by their mean.
"""

import sys
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from predicted import LOWER, MEASURES, judge_labels, likeliest, reliability_panel
from sides import Task, draw, load, parser_of, read_counts, write_comparison

SIZE = "size_factor"
BEGUN = {"means": "latome begins at the genes' mean counts, all types alike, with the learning rate 0.01, as it does "
                  "by default in R and in the engine; scvi-tools begins at random, with {lr}, as it does by default.",
         "random": "Both sides begin at random, with the learning rate {lr}."}
ENDING = {"means": "", "random": "_random_start"}      # of the names of the results


def arguments():
    parser = parser_of(__doc__, epochs=400)
    parser.add_argument("--labels", required=True, help="column of obs: the true types")
    parser.add_argument("--markers", required=True, help="a name in varm, or a .csv of genes x types")
    parser.add_argument("--match", nargs="+", default=[], metavar="TYPE=LABEL,LABEL",
                        help="labels that are a type of the markers; by default those of its name")
    parser.add_argument("--batch", help="column of obs, a covariate")
    parser.add_argument("--lr", type=float, default=3e-3, help="learning rate from a random start")
    parser.add_argument("--start", choices=["means", "random"], default="means",
                        help="of ours: at the genes' mean counts with its own learning rate, or at random like theirs")
    parser.add_argument("--batch-size", type=int, default=1024, help="cells of a minibatch; likewise")
    return parser.parse_args()


def marker_table(data, markers):
    """The 0/1 table, genes x types, of the genes of the data that are a marker of some type."""
    if markers in data.varm:
        table = pd.DataFrame(data.varm[markers], index=data.var_names)
    elif Path(markers).exists():
        table = pd.read_csv(markers, index_col=0)
    else:
        sys.exit(f"No file and no varm '{markers}'. In varm: {list(data.varm)}.")
    table = table.loc[[gene for gene in data.var_names if gene in table.index]]
    return table.loc[table.any(axis=1)].astype(int)


def types_of(labels, table, match):
    """(n,) the type of the markers that each cell's label is, missing where none; and the table of those types."""
    if match:
        parts = (part.split("=", 1) for part in match)
        label_to_type = {label: name for name, names in parts for label in names.split(",")}
    else:
        label_to_type = {name: name for name in table.columns}
    unknown = sorted(set(label_to_type.values()) - set(table.columns))
    if unknown:
        sys.exit(f"The markers have no type {unknown}: {list(table.columns)}.")
    table = table[[name for name in table.columns if name in label_to_type.values()]]
    return labels.astype(str).map(label_to_type), table.loc[table.any(axis=1)]


def prepare(data, options):
    """(AnnData of the marker genes and the cells that have a type, with size factors; the markers; types (n,))."""
    types, table = types_of(data.obs[options.labels], marker_table(data, options.markers), options.match)
    total = np.asarray(data.X.sum(1)).ravel()
    keep = types.notna().to_numpy()
    obs = pd.DataFrame({SIZE: total[keep] / total[keep].mean()}, index=data.obs_names[keep])
    if options.batch:
        obs[options.batch] = data.obs[options.batch].astype(str).to_numpy()[keep]
    chosen = anndata.AnnData(data[keep, table.index].X.copy(), obs=obs, var=pd.DataFrame(index=table.index),
                             varm={"markers": table})
    return chosen, table, types[keep].to_numpy()


def judge(table, truth):
    """What `judge_labels` finds, and how often each true type is taken for which."""
    return judge_labels(table, truth) | {"confusion": pd.crosstab(truth, likeliest(table)[0]).to_dict("index")}


def note_of(name, design, table, truth, runs, start):
    """What the table shows, in words."""
    return (
        f"{len(truth):,} cells of {len(table.columns)} types ({', '.join(table.columns)}), {len(table)} marker genes, "
        f"{design['entries']} markings, from `{design['markers']}`; "
        f"{'batch column `' + design['batch'] + '`' if design['batch'] else 'no batches'}; at most {design['epochs']} "
        f"epochs of minibatches of {design['batch_size']}, early stopping; size factors "
        f"over all genes. {BEGUN[start].format(lr=design['lr'])} "
        f"{'; '.join(f'{k}: {v}' for k, v in MEASURES.items())}. The commonest type is "
        f"{pd.Series(truth).value_counts(normalize=True).iloc[0]:.1%} of the cells.\n\n"
        + "\n\n".join(f"Taken for, {side}, seed {found[0]['seed']}: {words(found[0]['confusion'])}."
                      for side, found in runs.items())
        + f"\n\n![Share right against probability](markers_{name}{ENDING[start]}.png)")


def words(confusion):
    """What the true types are taken for, in words."""
    return "; ".join(f"{true}: " + ", ".join(f"{name} {count:.0f}" for name, count in row.items() if count)
                     for true, row in confusion.items())


def main():
    options = arguments()
    name, data = read_counts(options, [options.labels, options.batch])
    name = options.name or f"{name}_{Path(options.markers).stem}"
    chosen, table, truth = prepare(data, options)
    design = {"labels": options.labels, "markers": Path(options.markers).name, "types": list(table.columns),
              "match": options.match, "dropped": options.drop, "batch": options.batch, "epochs": options.epochs,
              "lr": options.lr, "batch_size": options.batch_size, "entries": int(table.to_numpy().sum()),
              "measures": MEASURES}
    print(f"{name}: {chosen.n_obs} cells, {len(table)} marker genes of {len(table.columns)} types", flush=True)
    request = {"epochs": options.epochs, "batch": options.batch, "size": SIZE, "markers": "markers",
               "lr": options.lr, "batch_size": options.batch_size, "start": options.start}
    task = Task(name, "cellassign", chosen, design, "mark", request,
                lambda to, seed: judge(load(to).loc[chosen.obs_names], truth), options)
    runs = task.runs()
    if options.only:
        return
    result = f"markers_{name}{ENDING[options.start]}"
    write_comparison(result, f"Marker genes: CellAssign on {name}", task, runs,
                     note_of(name, design, table, truth, runs, options.start), lower=LOWER)
    draw(result, [reliability_panel(f"CellAssign on {name}", runs)], options.threads)


if __name__ == "__main__":
    main()
