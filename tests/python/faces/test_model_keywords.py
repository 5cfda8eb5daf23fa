"""A model's keywords as scripts of scvi-tools write them."""

import pytest

from latome.backend import torch
from latome.errors import SettingError
from latome.faces.model_keywords import model_settings
from latome.modules.linear_scvi import LDVAE, LdvaeSettings
from latome.modules.scvi import SCVI, ScviSettings

FIRST = {"continuous_in": "first"}


@pytest.mark.parametrize(("keywords", "expected"), [
    ({}, {}), ({"n_latent": 20, "gene_likelihood": "nb"}, {"n_latent": 20, "gene_likelihood": "nb"}),
    ({"gene_likelihood": "negative_binomial"}, {"gene_likelihood": "nb"}),
    ({"latent_distribution": "ln", "log_variational": False}, {"latent_distribution": "ln", "log_variational": False}),
    ({"var_activation": None, "extra_encoder_kwargs": {}, "extra_decoder_kwargs": None}, {}),
    ({"var_activation": torch.exp}, {}), ({"var_activation": torch.nn.Softplus()}, {"var_activation": "softplus"}),
    ({"var_activation": torch.nn.functional.softplus}, {"var_activation": "softplus"}),
    ({"batch_representation": "embedding", "batch_embedding_kwargs": {"embedding_dim": 7}},
     {"batch_representation": "embedding", "embedding_dim": 7}),
    ({"continuous_in": "every", "batch_embedding_kwargs": None}, {"continuous_in": "every"}),
])
def test_settings_of_a_model(keywords, expected):
    assert model_settings(SCVI, keywords) == ScviSettings(**(FIRST | expected))


def test_what_a_model_leaves_no_choice_of():
    known = {"use_batch_norm": "both", "encode_covariates": False, "var_activation": None, "n_latent": 4}
    assert model_settings(LDVAE, known) == LdvaeSettings(n_latent=4)
    with pytest.raises(SettingError, match="`use_batch_norm` is always 'both' in LDVAE"):
        model_settings(LDVAE, {"use_batch_norm": "none"})
    with pytest.raises(SettingError, match="no setting 'embedding_dim'"):
        model_settings(LDVAE, {"batch_embedding_kwargs": {"embedding_dim": 3}})


def test_a_preset():
    assert model_settings(SCVI, {"for_mapping": True}) == ScviSettings.make(for_mapping=True, **FIRST)


@pytest.mark.parametrize(("keywords", "problem"), [
    ({"latent_distribution": "lognormal"}, "`latent_distribution` cannot be"), ({"n_hiden": 3}, "no setting 'n_hiden'"),
    ({"var_activation": torch.tanh}, "`var_activation` cannot be"), ({"var_activation": "relu"}, "cannot be 'relu'"),
    ({"extra_encoder_kwargs": {"bias": False}}, "`extra_encoder_kwargs`"),
    ({"batch_embedding_kwargs": {"dim": 3}}, r"cannot hold \['dim'\]"),
    ({"batch_embedding_kwargs": {"embedding_dim": 0}}, "`embedding_dim` cannot be 0"),
])
def test_settings_that_are_not_supported(keywords, problem):
    with pytest.raises(SettingError, match=problem) as caught:
        model_settings(SCVI, keywords)
    assert caught.value.hint
