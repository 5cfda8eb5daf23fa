"""scvi-tools as a worker: the latent of its SCVI. Runs in the peer's own environment."""

import logging
import time
import warnings

import anndata
import numpy as np
import scvi
import torch
from lines import serve

warnings.filterwarnings("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
scvi.settings.verbosity = logging.ERROR


def embed(path, batch, seed, epochs, warmup, threads, to):
    """Train a new zinb model; its latent, the posterior means, as an array at `to`.

    The KL divergence counts fully after `warmup` epochs. Also the seconds of train(), the rows kept for validation
    and their ELBO.
    """
    torch.set_num_threads(threads)
    data = anndata.read_h5ad(path)
    scvi.settings.seed = seed
    scvi.model.SCVI.setup_anndata(data, batch_key=batch)
    model = scvi.model.SCVI(data)
    begin = time.perf_counter()
    model.train(max_epochs=epochs, accelerator="cpu", enable_progress_bar=False,
                plan_kwargs={"n_epochs_kl_warmup": warmup})
    seconds = time.perf_counter() - begin
    rows = np.sort(model.validation_indices)
    np.save(to, model.get_latent_representation())
    value = -abs(float(model.get_elbo(indices=rows)))
    return {"seconds": seconds, "validation": rows.tolist(), "elbo": value,
            "versions": {"scvi-tools": scvi.__version__, "torch": torch.__version__}}


serve({"embed": embed})
