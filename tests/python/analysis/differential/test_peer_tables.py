"""The tables that scvi-tools 1.4.2 gives for a model of its own, from 60,000 draws, and ours for the same model.

peer_tables.npz: columns by gene, in the order of the data, of `differential_expression(**RUNS[run])` of the model in
fixtures/scvi_zinb.
"""

from pathlib import Path

import numpy as np
import pytest

from latome.analysis.differential import comparisons_of, differential_expression
from latome.backend import torch
from latome.data.registry import open_data
from latome.data.sources import read_h5ad
from latome.io.readers import read_model

HERE = Path(__file__).resolve().parent
MODEL = HERE.parents[1] / "fixtures" / "scvi_zinb" / "model"
RUNS = {
    "rest": {"groupby": "cell_type", "group1": "Mono", "pseudocounts": 1e-4},
    "batches": {"groupby": "cell_type", "group1": "B", "group2": "T", "delta": 0.1, "pseudocounts": 1e-5,
                "batch_correction": True},
    "two": {"idx1": "cell_type == 'NK'", "idx2": "cell_type != 'NK'", "test_mode": "two", "pseudocounts": 1e-4,
            "batchid1": ["b1"], "batchid2": ["b0"], "batch_correction": True},
    "vanilla": {"groupby": "cell_type", "group1": "T", "group2": "NK", "mode": "vanilla"},
}
WHO = ("groupby", "group1", "group2", "idx1", "idx2")
DRAWS = 20000
#: Their column: ours, and how far apart they may be: Monte-Carlo error, which the ends of an interval have most of.
COLUMNS = {
    "proba_de": ("prob_de", 0.025), "proba_not_de": ("prob_not_de", 0.025), "proba_m1": ("prob_m1", 0.025),
    "lfc_mean": ("lfc_mean", 0.04), "lfc_median": ("lfc_median", 0.06), "lfc_std": ("lfc_sd", 0.05),
    "lfc_confidence_interval_0.9_min": ("lfc_low", 0.3), "lfc_confidence_interval_0.9_max": ("lfc_high", 0.3),
    "raw_mean1": ("mean_1", 1e-4), "raw_mean2": ("mean_2", 1e-4), "raw_normalized_mean1": ("norm_mean_1", 1e-2),
    "raw_normalized_mean2": ("norm_mean_2", 1e-2), "non_zeros_proportion1": ("pct_1", 1e-6),
    "non_zeros_proportion2": ("pct_2", 1e-6),
}


@pytest.fixture(scope="module")
def model():
    return read_model(MODEL), read_h5ad(MODEL / "adata.h5ad")


@pytest.mark.parametrize("run", RUNS)
def test_the_same_model_gives_the_same_table(model, run):
    fit, adata = model
    asked = dict(RUNS[run])
    comparisons = comparisons_of(adata.obs, **{name: asked.pop(name) for name in WHO if name in asked})
    torch.manual_seed(0)
    found = differential_expression(fit.module, open_data(adata, registry=fit.registry), comparisons,
                                    n_samples_overall=DRAWS, **asked).set_index("gene").loc[adata.var_names]
    with np.load(HERE / "peer_tables.npz") as stored:
        theirs = {name.split("__")[1]: stored[name] for name in stored.files if name.startswith(run + "__")}
    assert {"scale1", "raw_mean1", "proba_m1" if run == "vanilla" else "proba_de"} <= set(theirs)
    for column, (name, tolerance) in COLUMNS.items():
        if column in theirs and name in found:
            np.testing.assert_allclose(found[name], theirs[column], atol=tolerance, err_msg=column)
    for column in ("scale1", "scale2"):
        np.testing.assert_allclose(found[column], theirs[column], rtol=0.03, err_msg=column)
