"""Integration by scVI and by scvi-tools' SCVI: are cell types as distinct, and batches as mixed, in our latent?

    python benchmarks/integration.py --data kang_ifnb.h5ad --batch stim --labels cell_type

Both train on the same genes (`latome.data.select_genes`, chosen within batches) and the same split, with the same
hyperparameters and a KL warm-up over half of the epochs; every seed is another split and other weights. The measures
are those of `metrics.py`. The peer's runs are kept in peer/ and used again unless --rerun; ours are made anew.
"""

import argparse
import hashlib
import json
import sys
import tempfile
from pathlib import Path

import anndata
import numpy as np
from metrics import MEASURES, compare, measure
from real import with_genes
from rounds import HERE, RESULTS, Worker, describe_machine, has_peer, markdown_table, peer_python, write_results

PEER = HERE / "peer"
KEPT = 200_000         # bytes: a seed's latent larger than this is kept for the first seed alone
FACTS = ("metrics", "elbo", "seconds", "versions")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="an .h5ad file of raw counts")
    parser.add_argument("--batch", required=True, help="column of obs")
    parser.add_argument("--labels", required=True, help="column of obs: the cell types, to measure by")
    parser.add_argument("--unlabelled", default="unknown", help="label of cells that are left out of the measures")
    parser.add_argument("--genes", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rerun", action="store_true", help="run the peer again")
    parser.add_argument("--no-figure", action="store_true")
    parser.add_argument("--name", help="of the files; by default that of the data")
    return parser.parse_args()


def prepare(options, folder):
    """The cells with the chosen genes, written into `folder`: (obs, path, the design in JSON-able facts)."""
    data = anndata.read_h5ad(options.data)
    missing = [column for column in (options.batch, options.labels) if column not in data.obs]
    if missing:
        sys.exit(f"`obs` has no column {missing}. Columns: {list(data.obs.columns)}.")
    chosen = with_genes(data, options.batch, options.genes)
    genes = list(chosen.var_names)
    path = str(Path(folder) / "chosen.h5ad")
    chosen.write_h5ad(path)
    design = {"cells": data.n_obs, "genes": len(genes), "genes_sha256": digest("\n".join(genes)),
              "batch": options.batch, "labels": options.labels, "unlabelled": options.unlabelled,
              "likelihood": "zinb", "epochs": options.epochs, "kl_warmup": max(1, options.epochs // 2),
              "measures": MEASURES}
    return data.obs, path, design


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Runner:
    """Trains one side and measures its latents; its process starts when first needed.

    Arguments
    ---------
    command : of the worker.
    path, obs, design : what `prepare` returns.
    """

    def __init__(self, command, path, obs, design, threads):
        self.command, self.path, self.obs, self.design, self.threads = command, path, obs, design, threads
        self.worker = None

    def run(self, seed, to):
        """The facts of one run; its latent, (n, k) float32, lies at `to`."""
        self.worker = self.worker or Worker(list(map(str, self.command())), self.threads)
        found = self.worker.ask("embed", path=self.path, batch=self.design["batch"], seed=seed, to=str(to),
                                epochs=self.design["epochs"], warmup=self.design["kl_warmup"], threads=self.threads)
        labels, batches = self.obs[self.design["labels"]], self.obs[self.design["batch"]]
        known = (labels.notna() & (labels.astype(str) != self.design["unlabelled"])).to_numpy()
        found["metrics"] = measure(np.load(to)[known], labels[known].astype(str), batches[known].astype(str))
        found["split"] = digest(",".join(map(str, found.pop("validation"))))
        print(f"{list(found['versions'])[0]}, seed {seed}: " + ", ".join(
            f"{name} {value:.3f}" for name, value in found["metrics"].items())
            + f", ELBO {found['elbo']:.2f}, {found['seconds']:.0f} s", flush=True)
        return found

    def close(self):
        if self.worker:
            self.worker.close()


def peer_run(runner, name, seed, options, folder):
    """The peer's facts for this seed: those kept, or of a run, which are then kept; and the path of its latent."""
    facts, latent = PEER / f"{name}_scvi_{seed}.json", PEER / f"{name}_scvi_{seed}.npz"
    if facts.exists() and not options.rerun:
        found = json.loads(facts.read_text())
        if found["design"] == runner.design:
            return found, latent
        differing = [key for key, value in runner.design.items() if found["design"].get(key) != value]
        sys.exit(f"{facts.name} was made with other options ({', '.join(differing)}): add --rerun, or --name.")
    to = folder / f"theirs_{seed}.npy"
    found = {"data": name, "model": "scVI", "seed": seed, "design": runner.design, **runner.run(seed, to),
             "threads": options.threads, "machine": describe_machine()}
    PEER.mkdir(exist_ok=True)
    facts.write_text(json.dumps(found, indent=1) + "\n")
    z = np.load(to).astype(np.float16)
    if seed == options.seeds[0] or z.nbytes <= KEPT:
        np.savez_compressed(latent, z=z)
    return found, latent


def main():
    options = arguments()
    name = options.name or Path(options.data).stem
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        obs, path, design = prepare(options, folder)
        ours = Runner(lambda: [sys.executable, HERE / "workers/ours.py"], path, obs, design, options.threads)
        theirs = Runner(lambda: [peer_python(), HERE / "workers/peer.py"], path, obs, design, options.threads)
        runs, latents = {"latome": [], "scvi-tools": []}, {}
        for seed in options.seeds:
            found, latent = peer_run(theirs, name, seed, options, folder)
            runs["scvi-tools"].append(found)
            runs["latome"].append(ours.run(seed, folder / f"ours_{seed}.npy"))
            if not latents and latent.exists():
                np.save(folder / "theirs.npy", np.load(latent)["z"])
                latents = {f"latome, seed {seed}": str(folder / f"ours_{seed}.npy"),
                           f"scvi-tools, seed {seed}": str(folder / "theirs.npy")}
        ours.close()
        theirs.close()
        report(name, options, obs, design, runs)
        if latents and not options.no_figure:
            draw(name, options, obs, latents)


def report(name, options, obs, design, runs):
    """Sets: results/integration_<name>.json and .md; prints the table."""
    seeds = {side: [{key: run[key] for key in FACTS} for run in found] for side, found in runs.items()}
    compared = {measure: compare(*([run["metrics"][measure] for run in found] for found in runs.values()))
                for measure in MEASURES}
    rows = [[measure, *(f"{c[side]:.3f}" for side in ("ours", "theirs")), f"{c['difference']:+.3f}",
             f"{c['error']:.3f}", f"{c['margin']:.3f}", "yes" if c["not_worse"] else "**no**"]
            for measure, c in compared.items()]
    means = {key: {side: np.mean([run[key] for run in found]) for side, found in runs.items()}
             for key in ("elbo", "seconds")}
    for key, words, form in (("elbo", "ELBO of validation cells", ".2f"), ("seconds", "seconds of training", ".0f")):
        left, right = means[key].values()
        rows.append([words, f"{left:{form}}", f"{right:{form}}", f"{left - right:+{form}}", "", "", ""])
    same = all(a["split"] == b["split"] for a, b in zip(*runs.values(), strict=True))
    measured = int((obs[design["labels"]].notna() & (obs[design["labels"]].astype(str) != design["unlabelled"])).sum())
    picture = f"\n\n![UMAP of both latents](integration_{name}.png)" if not options.no_figure else ""
    versions = [", ".join(f"{key} {value}" for key, value in found[0]["versions"].items()) for found in runs.values()]
    note = (
        f"Means over seeds {', '.join(map(str, options.seeds))}; higher is better. Not worse: the difference is above "
        f"minus the margin, which is 0.01 or twice the standard error of the difference. {design['cells']:,} cells "
        f"({measured:,} of them with a label: measured), {design['genes']:,} genes, {design['epochs']} epochs, KL "
        f"warm-up over {design['kl_warmup']}, zinb, batch column `{design['batch']}`, labels `{design['labels']}`. "
        f"{'The same' if same else '**Different**'} validation cells on both sides. Seconds are not a measurement of "
        "speed: the peer's may come from another day or machine.\n\n"
        + "; ".join(f"{key}: {value}" for key, value in MEASURES.items()) + " (`benchmarks/metrics.py`).\n\n"
        f"Versions: {'; '.join(versions)}.{picture}")
    result = {"title": f"Integration: scVI on {name}", "design": design, "seeds": options.seeds, "runs": seeds,
              "compared": compared, "same_split": same, "machine": describe_machine(), "note": note}
    write_results(f"integration_{name}", result,
                  markdown_table(["", "latome", "scvi-tools", "difference", "its error", "margin", "not worse"], rows))


def draw(name, options, obs, latents):
    """Sets: results/integration_<name>.png, where the peer's environment is there to draw it."""
    if not has_peer():
        return print("No figure: it is drawn in the peer's environment (benchmarks/setup_peer.sh).")
    worker = Worker([peer_python(), str(HERE / "workers/draw.py")], options.threads)
    colourings = {column: obs[column].astype(str).tolist() for column in (options.labels, options.batch)}
    to = RESULTS / f"integration_{name}.png"
    worker.ask("umaps", latents=latents, colourings=colourings, to=str(to))
    worker.close()
    print(f"Figure: {to.relative_to(HERE.parent)}, {to.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
