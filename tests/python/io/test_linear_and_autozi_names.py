"""LDVAE and AutoZI written for scvi-tools and read again: every tensor comes back bit for bit, under its own name."""

import numpy as np
import pytest
from examples import opened, same_weights, trained

from latome.analysis.likelihood import elbo_terms
from latome.io import names, torch_archive
from latome.io.readers import read_model
from latome.io.scvi_tools_writer import write_scvi_tools
from latome.modules.autozi import AutoziSettings
from latome.modules.linear_scvi import LdvaeSettings

SMALL = {"n_hidden": 12, "n_latent": 3}
MODELS = {
    "LinearSCVI": LdvaeSettings(**SMALL),
    "LinearSCVI, zinb": LdvaeSettings(**SMALL, gene_likelihood="zinb", dispersion="gene-batch", n_layers=2),
    "LinearSCVI, poisson": LdvaeSettings(**SMALL, gene_likelihood="poisson", use_observed_lib_size=True),
    "AUTOZI": AutoziSettings(**SMALL, beta_prior=0.7, minimal_dropout=0.05),
    "AUTOZI, by batch": AutoziSettings(**SMALL, zero_inflation="gene-batch", use_observed_lib_size=False),
    "AUTOZI, by label": AutoziSettings(**SMALL, zero_inflation="gene-label", alpha_prior=None, beta_prior=None,
                                       latent_distribution="ln"),
}


@pytest.mark.parametrize("name", MODELS)
def test_there_and_back(name, tmp_path):
    data = opened(labels="cell_type")
    fitted = trained(data, MODELS[name])
    again = read_model(write_scvi_tools(fitted, tmp_path / "model"))
    assert again.kind == fitted.kind and again.settings == fitted.settings and same_weights(again, fitted)
    for part in ("reconstruction_loss", "kl_local"):
        np.testing.assert_array_equal(*(elbo_terms(fit.module, data, draw="mean")[part] for fit in (fitted, again)))
    stored = torch_archive.read(tmp_path / "model" / "model.pt")
    assert stored["attr_dict"]["registry_"]["model_name"] == name.split(",")[0]


def test_what_their_class_always_has():
    module = trained(opened(), MODELS["LinearSCVI"]).module
    stored = set(names.spare_shapes("LinearSCVI", module))
    gate = "decoder.px_dropout_decoder.fc_layers.Layer 0."
    assert {name.removeprefix(gate) for name in stored} == {
        "0.weight", "1.weight", "1.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked"}
    tables = {entry.peer: entry.shape for entry in names.entries_of("AUTOZI", trained(
        opened(labels="cell_type"), MODELS["AUTOZI, by label"]).module)}
    assert tables["alpha_posterior_logit"] == (30, 2) and tables["alpha_prior_logit"] == (1,)
    assert tables["decoder.px_dropout_decoder.weight"] == (30, 12)
