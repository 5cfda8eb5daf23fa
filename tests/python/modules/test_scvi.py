"""scVI's options: each against the same thing said otherwise."""

import numpy as np
import pytest
from examples import opened, probe, small_data, trained

from latome.backend import torch
from latome.data.minibatches import covariates_of
from latome.data.registry import Columns, open_data
from latome.errors import FieldError, SettingError
from latome.fit import initialise
from latome.modules.expression import log_softplus
from latome.modules.scvi import ScviSettings

SMALL = {"n_hidden": 12, "n_latent": 3}


def made(data, **settings):
    return initialise(ScviSettings(**SMALL, **settings), data, seed=1).module.eval()


def decoded(module, cells, z):
    return module.generative({"z": z}, cells).likelihood["x"]


def test_log_softplus_where_softplus_underflows():
    x = torch.tensor([-800.0, -100.0, -20.0, -15.0, -14.9, 0.0, 3.0, 90.0], requires_grad=True)
    expected = np.log(np.log1p(np.exp(x.detach().double().numpy()[2:])))
    np.testing.assert_allclose(log_softplus(x).detach()[2:], expected, rtol=1e-5)
    np.testing.assert_array_equal(log_softplus(x).detach()[:2], x.detach()[:2])
    log_softplus(x).sum().backward()
    assert x.grad.isfinite().all() and (x.grad > 0).all()


def test_size_factors_scale_the_mean_and_totals_do_not_count():
    adata = small_data()
    adata.obs["size"] = np.linspace(0.5, 2, 90)
    data = open_data(adata, Columns(batch="batch", size_factor="size"))
    module = made(data, gene_likelihood="nb")
    cells, z = probe(data), torch.randn(7, 3)
    counts = decoded(module, cells, z)
    logits = module.decoder(z, cells["categories"], cells["continuous"])["logits"].value()
    expected = torch.nn.functional.softplus(logits) * torch.tensor(np.linspace(0.5, 2, 90)[:7, None].astype("f4"))
    torch.testing.assert_close(counts.rate, expected)
    torch.testing.assert_close(decoded(module, cells | {"total": 2 * cells["total"]}, z).rate, expected)
    doubled = decoded(module, cells | {"size_factor": 2 * cells["size_factor"]}, z)
    torch.testing.assert_close(doubled.rate, 2 * expected)
    torch.testing.assert_close(doubled.rho, counts.rho)


def test_data_without_the_models_size_factor_are_refused():
    adata = small_data()
    adata.obs["size"] = 1.0
    data = open_data(adata, Columns(size_factor="size"))
    with pytest.raises(FieldError, match="no column 'size'"):
        open_data(small_data(), registry=data.registry)
    for values, problem in ((0.0, "not positive"), (np.nan, "missing"), ("x", "not numeric")):
        adata.obs["size"] = values
        with pytest.raises(FieldError, match=problem):
            open_data(adata, Columns(size_factor="size"))


def test_an_embedded_batch_enters_as_a_learnt_vector():
    data = opened(categorical=("kit",), continuous=("age",))
    module = made(data, batch_representation="embedding", embedding_dim=4, encode_covariates=True)
    linear = module.decoder.hidden.linears[0]
    assert linear.continuous.shape == (12, 1 + 4) and len(linear.tables) == 1      # age and the vector; the kit
    cells, z = probe(data), torch.randn(7, 3)
    vector = module.embedding.weight[cells["batch"]]
    seen = torch.cat([z, cells["continuous"], vector], 1)
    weight = torch.cat([linear.weight, linear.continuous], 1)
    expected = seen @ weight.T + linear.bias + linear.tables[0][cells["categories"][:, 1]]
    found = linear(z, cells["categories"], torch.cat([cells["continuous"], vector], 1))
    torch.testing.assert_close(found, expected)
    other = cells | {"batch": 1 - cells["batch"], "categories": cells["categories"] * torch.tensor([0, 1])}
    assert (decoded(module, other, z).rho - decoded(module, cells, z).rho).abs().max() > 1e-6
    same = cells | {"categories": torch.stack([1 - cells["batch"], cells["categories"][:, 1]], 1)}
    torch.testing.assert_close(decoded(module, same, z).rho, decoded(module, cells, z).rho)       # not by its code


def test_a_logistic_normal_latent_reaches_the_decoder_as_shares():
    data = opened()
    module = made(data, latent_distribution="ln")
    cells = probe(data)
    terms, posterior, latents = module.explain(cells)
    torch.testing.assert_close(latents["z"].sum(1), torch.ones(7))
    q = posterior["z"]
    expected = 0.5 * (q.variance + q.mean**2 - 1 - q.variance.log()).sum(1)
    torch.testing.assert_close(terms.divergence["z"].value, expected)
    torch.testing.assert_close(module.draw(posterior, "mean")["z"], q.mean.softmax(1))


@pytest.mark.parametrize(("setting", "transform"), [(True, np.log1p), (False, np.asarray)])
def test_the_encoder_sees_logarithms_or_the_counts(setting, transform):
    data = opened()
    module = made(data, log_variational=setting)
    x = torch.tensor(transform(data.source.csr[:7].toarray()).astype("f4"))
    torch.testing.assert_close(module.inference(probe(data))["z"].mean, module.encoder(x).mean)


def test_softplus_variances():
    data = opened()
    module = made(data, var_activation="softplus")
    encoder, x = module.encoder, probe(data)["x"].log1p()
    h = encoder.hidden(x)
    torch.testing.assert_close(encoder(x).variance, torch.nn.functional.softplus(encoder.log_variance(h)) + 1e-4)


def test_latents_are_decoded_without_counts():
    data = opened(continuous=("age",))
    module = made(data)
    z = torch.randn(5, 3)
    cells = covariates_of(data, [3, 1, 4, 1, 5])
    assert "x" not in cells
    whole = probe(data, 6)
    rows = torch.tensor([3, 1, 4, 1, 5])
    expected = decoded(module, {name: value[rows] for name, value in whole.items() if name != "x"}, z)
    torch.testing.assert_close(decoded(module, cells, z).rate, expected.rate)
    np.testing.assert_allclose(cells["total"], data.source.csr.sum(1).A1[[3, 1, 4, 1, 5]])


def test_a_preset_yields_to_what_is_said():
    assert ScviSettings.make(for_mapping=True) == ScviSettings(
        n_layers=2, encode_covariates=True, use_batch_norm="none", use_layer_norm="both")
    assert ScviSettings.make(for_mapping=True, n_layers=3).n_layers == 3
    assert ScviSettings.make(for_mapping=False) == ScviSettings()
    with pytest.raises(SettingError, match="for_mapping"):
        ScviSettings.make(for_mapping="yes")


def test_normal_values_are_learnt():
    generator = np.random.default_rng(0)
    adata = small_data()
    adata.X = np.log1p(adata.X.toarray()) + generator.random((90, 30)).astype("f4") * 0.1
    data = open_data(adata, Columns(batch="batch"), allow_noninteger=True)
    fitted = trained(data, ScviSettings(**SMALL, gene_likelihood="normal"), max_epochs=40)
    history = fitted.history.to_dict()["reconstruction_loss_train"]
    assert np.isfinite(history).all() and history[-1] < history[0] - 5
