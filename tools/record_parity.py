"""Record what scvi-tools computes with its SCVI and CellAssign, as cases for tools/parity.py.

    LATOME_PEER_PYTHON=<a Python that has scvi-tools> python tools/record_parity.py FOLDER [CASE ...]

Each case is a small model on synthetic counts, trained for a few epochs and saved with its data; the numbers are
computed on the CPU with one thread, in evaluation mode, every normal draw replaced by its mean. Nothing of latome is
needed, and nothing of scvi-tools but its public interface and the inputs and outputs of its module. Versions before
0.15 write the three files of their time (case `scvi_legacy`); those before 1.0 record fewer numbers.
"""

import argparse
import importlib.util
import inspect
import json
import os
import platform
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

N_CELLS, N_GENES, EPOCHS, STEPS, SEED = 60, 20, 3, 50, 1
SMALL = {"n_hidden": 8, "n_latent": 3}
COVARIATES = {"categorical_covariate_keys": ["one", "donor"], "continuous_covariate_keys": ["age"]}

#: {case: (arguments of setup_anndata, arguments of SCVI, how the data are minified or None)}
CASES = {
    "scvi_normal": ({"batch_key": "batch"}, {"gene_likelihood": "normal", "dispersion": "gene-batch",
                    "latent_distribution": "ln", "log_variational": False}, None),
    "scvi_embedding": ({"batch_key": "batch", **COVARIATES},
                       {"n_layers": 2, "gene_likelihood": "nb", "dispersion": "gene-cell", "encode_covariates": True,
                        "batch_representation": "embedding", "batch_embedding_kwargs": {"embedding_dim": 4},
                        "use_observed_lib_size": False}, None),
    "scvi_size_factor": ({"batch_key": "batch", "labels_key": "ct", "size_factor_key": "size_factor", **COVARIATES},
                         {"dispersion": "gene-label", "var_activation": "softplus"}, None),
    "scvi_minified": ({"batch_key": "batch"}, {}, "latent_posterior_parameters"),
    "scvi_minified_counts": ({"batch_key": "batch"}, {"gene_likelihood": "poisson", "latent_distribution": "ln"},
                             "latent_posterior_parameters_with_counts"),
    "scvi_legacy": ({"batch_key": "batch", "labels_key": "ct", **COVARIATES},
                    {"n_layers": 2, "gene_likelihood": "nb", "dispersion": "gene-batch", "encode_covariates": True,
                     "use_observed_lib_size": False, "use_layer_norm": "encoder"}, None),
}
#: {case of CellAssign: arguments of setup_anndata}
MARKER_CASES = {"cellassign_covariates": {"size_factor_key": "size_factor", "batch_key": "batch", **COVARIATES}}
WHAT = {
    "gamma": "predict(): probability of each cell type", "gamma_columns": "cell types, in order",
    "qz_mean": "posterior mean of z (before softmax for latent_distribution='ln')", "qz_var": "posterior variance of z",
    "ql_mean": "posterior mean of the log library", "ql_var": "posterior variance of the log library",
    "px_scale": "normalised expression rho (softmax or softplus head)", "px_rate": "mean of the count distribution",
    "px_r": "inverse dispersion theta after exp (broadcast as the model returns it)",
    "px_sd": "standard deviation of the normal likelihood (broadcast as the model returns it)",
    "px_dropout_logits": "zero-inflation logit",
    "reconstruction_loss": "-log p(x|z) per cell at z = posterior mean (library at its posterior mean if latent)",
    "kl_z": "KL(q(z|x)||p(z)) per cell", "kl_l": "KL(q(l)||p(l)) per cell",
    "loss_kl_weight_1": "module loss over all cells as one minibatch, kl_weight=1, every normal draw at its mean",
    "loss_kl_weight_0.25": "the same with kl_weight=0.25",
    "batch_representation": "the learnt vector of each batch",
}


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Record what scvi-tools computes, as cases for tools/parity.py.")
    parser.add_argument("folder", type=Path, help="where the cases go, a folder each")
    known = [*CASES, *MARKER_CASES]
    parser.add_argument("cases", nargs="*", default=known, help=f"of {', '.join(known)}; default: all")
    chosen = parser.parse_args(arguments)
    if unknown := set(chosen.cases) - set(known):
        parser.error(f"there is no case {', '.join(sorted(unknown))}")
    if importlib.util.find_spec("scvi") is None:
        peer = os.environ.get("LATOME_PEER_PYTHON")
        if not peer:
            parser.error("this Python has no scvi-tools: set LATOME_PEER_PYTHON to one that has")
        command = [peer, __file__, str(chosen.folder), *chosen.cases]
        return subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False).returncode
    warnings.simplefilter("ignore")
    for name in chosen.cases:
        if name in MARKER_CASES:
            record_markers(chosen.folder / name, name, MARKER_CASES[name])
        else:
            record(chosen.folder / name, name, *CASES[name])
        print(f"{chosen.folder / name}: recorded", flush=True)
    return 0


def synthetic():
    """An AnnData of negative binomial counts, three batches, and covariates of each kind."""
    import anndata
    import numpy as np
    import pandas as pd

    random = np.random.RandomState(SEED)
    counts = random.negative_binomial(3, 0.3, size=(N_CELLS, N_GENES)) * (random.rand(N_CELLS, N_GENES) < 0.7)
    counts[:, 0] += 1                                   # no cell without counts

    def column(*names):
        return pd.Categorical(random.choice(names, N_CELLS))

    obs = pd.DataFrame({
        "batch": column("b0", "b1", "b2"), "ct": column("B", "M", "NK", "T"), "one": column("only"),
        "donor": column("d1", "d2", "d3"), "age": random.randn(N_CELLS), "size_factor": random.uniform(3, 30, N_CELLS),
    }, index=[f"cell{i}" for i in range(N_CELLS)])
    genes = pd.DataFrame(index=[f"G{i}" for i in range(N_GENES)])
    return anndata.AnnData(counts.astype(np.float32), obs=obs, var=genes)


def record(folder, name, setup, init, minified):
    """Train, save and ask one model; write its case."""
    import numpy as np
    import scvi
    import torch

    torch.set_num_threads(1)
    scvi.settings.seed = SEED
    adata = synthetic()
    owner = scvi.model.SCVI if hasattr(scvi.model.SCVI, "setup_anndata") else scvi.data       # scvi.data before 0.13
    owner.setup_anndata(adata, **setup)
    functions = {"var_activation": torch.nn.functional.softplus} if "var_activation" in init else {}
    model = scvi.model.SCVI(adata, **SMALL, **{**init, **functions})
    device = {"use_gpu": False} if "use_gpu" in inspect.signature(model.train).parameters else {"accelerator": "cpu"}
    model.train(max_epochs=EPOCHS, batch_size=32, **device)
    if minified:
        model.adata.obsm["X_latent_qzm"], model.adata.obsm["X_latent_qzv"] = \
            model.get_latent_representation(return_dist=True)
        model.minify_adata(minified)
    arrays = {key: np.asarray(value) for key, value in numbers(model, minified).items()}
    kept = {"minified_data_type": minified} if minified else {}
    write(folder, model, arrays, {"case": name, "kind": "scvi", **kept}, {**SMALL, **init}, setup)


def record_markers(folder, name, setup):
    """Train, save and ask one CellAssign; write its case, and beside it the model before training."""
    import numpy as np
    import pandas as pd
    import scvi
    import torch
    from scvi.external import CellAssign

    torch.set_num_threads(1)
    scvi.settings.seed = SEED
    adata = synthetic()
    adata.obs["size_factor"] /= adata.obs["size_factor"].mean()
    marked = np.random.RandomState(SEED).rand(N_GENES, 3) < 0.3
    CellAssign.setup_anndata(adata, **setup)
    model = CellAssign(adata, pd.DataFrame(marked.astype(int), index=adata.var_names, columns=["B", "M", "T"]))
    model.is_trained_ = True                            # or it would not be saved as it is
    shutil.rmtree(folder / "model_start", ignore_errors=True)
    model.save(str(folder / "model_start"))
    # each epoch is one step over all cells: nothing is drawn, so training from that start can be repeated
    model.train(max_epochs=STEPS, train_size=1.0, early_stopping=False, accelerator="cpu")
    found = model.predict()
    arrays = {"gamma": found.to_numpy(), "gamma_columns": np.array(found.columns, dtype=str)}
    write(folder, model, arrays, {"case": name, "kind": "cellassign"}, {}, setup)


def write(folder, model, arrays, facts, init, setup):
    """Write a case: the model, the arrays, and case.json."""
    import anndata
    import numpy as np
    import scvi
    import torch

    shutil.rmtree(folder / "model", ignore_errors=True)
    model.save(str(folder / "model"), save_anndata=True)
    np.savez_compressed(folder / "expected.npz", **arrays)
    described = {
        **facts, "seed": SEED,
        "models": {"model": {"class": type(model).__name__, "folder": "model", "init_kwargs": init,
                             "setup_kwargs": setup}},
        "versions": {"scvi-tools": scvi.__version__, "torch": torch.__version__, "anndata": anndata.__version__,
                     "numpy": np.__version__, "python": platform.python_version()},
        "device": "cpu, 1 thread, float32", "tolerance": {"rtol": 1e-4, "atol_times_max_abs": 1e-5},
        "arrays": {key: {"shape": list(value.shape), "dtype": str(value.dtype), "what": WHAT[key]}
                   for key, value in arrays.items()},
    }
    (folder / "case.json").write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")


def numbers(model, minified):
    """{array: values} of a model at its posterior means, all cells as one minibatch."""
    import torch

    model.module.eval()
    tensors = next(iter(model._make_data_loader(adata=model.adata, batch_size=N_CELLS)))
    with torch.no_grad():
        found = model.module.inference(**model.module._get_inference_input(tensors))
        mean, variance = moments(found, "z")
        arrays = {"qz_mean": mean, "qz_var": variance}
        logistic = getattr(model.module, "latent_distribution", "normal") == "ln"
        found["z"] = mean.softmax(-1) if logistic else mean
        if not model.module.use_observed_lib_size and moments(found, "l") is not None:
            arrays["ql_mean"], arrays["ql_var"] = moments(found, "l")
            found["library"] = arrays["ql_mean"]
        generated = model.module.generative(**model.module._get_generative_input(tensors, found))
        arrays |= parameters(generated)
        if "px" in generated and not (minified or "").endswith("parameters"):
            arrays |= losses(model.module, tensors, found, generated)
    weights = model.module.state_dict()
    if "_embeddings_dict.batch.weight" in weights:
        arrays["batch_representation"] = weights["_embeddings_dict.batch.weight"]
    return {name: value.detach().cpu().numpy() for name, value in arrays.items()}


def moments(found, latent):
    """(mean, variance) of a normal posterior, by the names of recent and of old versions; None if there is none."""
    if found.get(f"q{latent}") is not None:
        posterior = found[f"q{latent}"]
        return posterior.loc, posterior.scale.square()
    return (found[f"q{latent}_m"], found[f"q{latent}_v"]) if found.get(f"q{latent}_m") is not None else None


def parameters(generated):
    """The parameters of the count distribution; one that is the same in all cells is stored once."""
    if "px" not in generated:                           # before 0.17
        found = {name: generated[name] for name in ("px_scale", "px_rate", "px_r")}
    elif hasattr(generated["px"], "normal_mu"):
        px = generated["px"]
        found = {"px_scale": px.normal_mu, "px_rate": px.mean, "px_sd": px.scale}
    else:
        px = generated["px"]
        found = {"px_scale": px.scale, "px_rate": px.mu if hasattr(px, "mu") else px.rate,
                 "px_r": getattr(px, "theta", None), "px_dropout_logits": getattr(px, "zi_logits", None)}
    return {name: value[0] if name == "px_r" and value.dim() == 2 and (value == value[0]).all() else value
            for name, value in found.items() if value is not None}


def losses(module, tensors, found, generated):
    """The terms of the loss, per cell, and the loss."""
    whole = module.loss(tensors, found, generated, kl_weight=1.0)
    terms = {"reconstruction_loss": whole.reconstruction_loss["reconstruction_loss"],
             "kl_z": whole.kl_local["kl_divergence_z"]}
    if found.get("ql") is not None:
        terms["kl_l"] = whole.kl_local["kl_divergence_l"]
    part = module.loss(tensors, found, generated, kl_weight=0.25)
    return {**terms, "loss_kl_weight_1": whole.loss, "loss_kl_weight_0.25": part.loss}


if __name__ == "__main__":
    sys.exit(main())
