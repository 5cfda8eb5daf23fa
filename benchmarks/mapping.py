"""Reference mapping, ours and scvi-tools': labels of new cells by those of the reference, and time against retraining.

    python benchmarks/mapping.py --data pbmc_3batch.h5ad --batch batch --labels label --query pbmc4k_v2
    python benchmarks/mapping.py --data kang_ifnb.h5ad --batch stim donor --labels cell_type --split stim --query stim
    python benchmarks/mapping.py --data reference.h5ad --with query.h5ad --batch donor --labels cell_type

Both sides train scVI on the cells of the reference (2,000 genes chosen there; covariates in the encoder, layer norm),
map the new cells onto it by scArches, and train the same model on all cells for comparison. Labels go from the
reference to the new cells by the 15 nearest neighbours in the latent, by a random forest on the latent where
scikit-learn is there, and by a scANVI made from the reference, onto which the new cells are mapped as well.
"""

import sys

import anndata
import numpy as np
import pandas as pd
from metrics import batch_mixing, macro_f1
from real import with_genes
from scipy.spatial import cKDTree
from sides import Task, parser_of, read_counts, write_comparison

try:
    from sklearn.ensemble import RandomForestClassifier
except ImportError:                                    # its row is then missing
    RandomForestClassifier = None

NONE, BATCH, PART = "none given", "batch_of_cell", "part"
SETTINGS = {"n_layers": 2, "encode_covariates": True, "use_layer_norm": "both", "use_batch_norm": "none",
            "dropout_rate": 0.2}
MOVED = ("reference's latent moved by at most", "reference's expression moved by at most")
FASTER = "processor seconds of retraining / of mapping"


def arguments():
    parser = parser_of(__doc__, seeds=[0])
    parser.add_argument("--with", dest="other", help="an .h5ad file of the new cells, if --data holds the reference")
    parser.add_argument("--batch", required=True, nargs="+", help="columns of obs that together are the batch")
    parser.add_argument("--labels", required=True, help="column of obs: the cell types")
    parser.add_argument("--split", help="column of obs that parts the new cells from the reference; default the batch")
    parser.add_argument("--query", help="value of that column for the new cells; default the rarest")
    parser.add_argument("--unlabelled", default="unknown", help="label of cells that are left out of the measures")
    parser.add_argument("--genes", type=int, default=2000)
    parser.add_argument("--query-epochs", type=int, default=100)
    parser.add_argument("--scanvi-epochs", type=int, default=20)
    return parser.parse_args()


def all_cells(options):
    """(name of the files, all cells, (n,) bool of the new ones)."""
    columns = [*options.batch, options.labels]
    name, data = read_counts(options, columns + ([options.split] if options.split else []))
    if options.other:
        other = anndata.read_h5ad(options.other)
        genes = [gene for gene in data.var_names if gene in set(other.var_names)]
        parts = {"reference": data[:, genes], "query": other[:, genes]}
        data = anndata.concat(parts, label=PART, index_unique=" of the ")
        return name, data, (data.obs[PART] == "query").to_numpy()
    split = data.obs[options.split or options.batch[0]].astype(str)
    query = options.query or str(split.value_counts().index[-1])
    if query not in set(split):
        sys.exit(f"There is no '{query}' among {sorted(set(split))}.")
    return name, data, (split == query).to_numpy()


def prepare(data, new, options):
    """The cells for both sides: genes chosen in the reference, the batch, the label and the part of each cell."""
    data.obs[BATCH] = data.obs[options.batch].astype(str).agg(" ".join, axis=1)
    genes = with_genes(data[~new], BATCH, options.genes).var_names
    labels = data.obs[options.labels].astype(object).where(data.obs[options.labels].notna(), NONE).astype(str)
    labels = labels.where(labels != options.unlabelled, NONE)
    obs = pd.DataFrame({BATCH: data.obs[BATCH].astype(str), "label": labels,
                        PART: np.where(new, "query", "reference")}, index=data.obs_names)
    chosen = anndata.AnnData(data[:, genes].X, obs=obs, var=pd.DataFrame(index=genes))
    return chosen[np.asarray(chosen.X.sum(1)).ravel() > 0].copy()


def neighbours(old, labels, new, k=15):
    """The label of most of the k nearest cells of the reference, for each new cell; ties go to the first by name."""
    names, codes = np.unique(labels, return_inverse=True)
    nearest = cKDTree(old).query(new, k)[1]                             # (new cells, k)
    votes = (codes[nearest][:, :, None] == np.arange(len(names))).sum(1)
    return names[votes.argmax(1)]


def forest(old, labels, new, seed):
    """Labels of new cells by a random forest on the latent of the reference."""
    made = RandomForestClassifier(class_weight="balanced_subsample", random_state=seed)
    return made.fit(old, labels).predict(new)


def judge(found, obs, seconds, seed):
    """{"metrics": ...} of what a worker left: labels given to new cells that have one which the reference knows."""
    new = (obs[PART] == "query").to_numpy()
    labels = obs["label"].to_numpy()
    known = labels[~new] != NONE
    of_old = labels[~new][known]
    asked = np.isin(labels[new], of_old)
    truth = labels[new][asked]
    guesses = {f"accuracy, 15 neighbours, {kind}": neighbours(found[f"{prefix}_old"][known], of_old,
                                                              found[f"{kind}_new"][asked])
               for kind, prefix in (("mapped", "mapped"), ("projected", "mapped"), ("union", "union"))}
    if RandomForestClassifier is not None:
        guesses["accuracy, random forest, mapped"] = forest(found["mapped_old"][known], of_old,
                                                            found["mapped_new"][asked], seed)
    guesses["accuracy, scANVI"] = found["names"][found["labels"][asked].argmax(1)]
    metrics = {name: float((guess == truth).mean()) for name, guess in guesses.items()}
    metrics["macro F1, scANVI"] = macro_f1(truth, guesses["accuracy, scANVI"])
    for kind in ("mapped", "union"):
        z = np.concatenate([found[f"{kind}_old"][known], found[f"{kind}_new"][asked]]).astype(np.float64)
        codes = np.unique(np.concatenate([of_old, truth]), return_inverse=True)[1]
        metrics[f"mixing of reference and query, {kind}"] = float(batch_mixing(
            z, codes, np.repeat([0, 1], [len(of_old), len(truth)])))
    metrics |= {name: float(value) for name, value in zip(MOVED, found["moved"], strict=True)}
    return {"metrics": metrics | {FASTER: seconds["retraining"] / seconds["mapping"]}}


def main():
    options = arguments()
    name, data, new = all_cells(options)
    chosen = prepare(data, new, options)
    new = (chosen.obs[PART] == "query").to_numpy()
    design = {"reference": int((~new).sum()), "query": int(new.sum()), "batch": options.batch,
              "labels": options.labels, "epochs": options.epochs, "query_epochs": options.query_epochs,
              "scanvi_epochs": options.scanvi_epochs, "settings": SETTINGS}
    request = {"epochs": options.epochs, "batch": BATCH, "labels": "label", "unlabelled": NONE, "split": PART,
               "query": "query", "query_epochs": options.query_epochs, "scanvi_epochs": options.scanvi_epochs,
               "settings": SETTINGS}

    def judged(to, seed):
        found = dict(np.load(to))
        return judge(found, chosen.obs, dict(zip(found["parts"], found["seconds"], strict=True)), seed)

    task = Task(name, "mapping", chosen, design, "map", request, judged, options)
    runs = task.runs()
    if options.only:
        return
    moved = {side: max(run["metrics"][name] for run in found for name in MOVED) for side, found in runs.items()}
    equal = "; ".join(f"{side}: {'bit-equal' if value == 0 else f'moved by up to {value:.2g}'}"
                      for side, value in moved.items())
    note = (f"The reference before and after the query was trained: **{equal}**. {design['reference']:,} cells of the "
            f"reference, {design['query']:,} new ones, {chosen.n_vars:,} genes, {chosen.obs[BATCH].nunique()} batches; "
            f"{options.epochs} epochs of reference and union, {options.query_epochs} of the query, no weight decay "
            f"there; scANVI: {options.scanvi_epochs} epochs. Projected: the new cells before their training. Random "
            "forest: scikit-learn's, class_weight balanced_subsample. Accuracy is of new cells with a label that the "
            "reference has. scvi-tools' mapping is that of its defaults; latome trains the rows of new categories "
            "alone. The seconds below are the processor's, on one thread.")
    write_comparison(f"mapping_{name}", f"Reference mapping on {name}", task, runs, note, lower=MOVED,
                     neutral=(FASTER, "accuracy, 15 neighbours, projected"))


if __name__ == "__main__":
    main()
