"""The compatibility table: keywords of a script are mapped, ignored with a warning, or refused."""

import warnings

import pytest

from latome.errors import SettingError
from latome.faces.keywords import model_settings, training_options
from latome.modules.scvi import SCVI, ScviSettings

MAPPED = [  # keywords of train(), options of ours
    ({}, {}), ({"max_epochs": 7, "batch_size": 64}, {"max_epochs": 7, "batch_size": 64}),
    ({"max_epochs": None, "train_size": None}, {}), ({"early_stopping": True, "early_stopping_patience": 3},
                                                     {"early_stopping": True, "early_stopping_patience": 3}),
    ({"plan_kwargs": {"lr": 1e-2, "n_epochs_kl_warmup": None, "n_steps_kl_warmup": 100, "weight_decay": 0}},
     {"lr": 1e-2, "n_epochs_kl_warmup": None, "n_steps_kl_warmup": 100, "weight_decay": 0.0}),
    ({"check_val_every_n_epoch": 5}, {"check_val_every_n_epoch": 5}), ({"plan_kwargs": None}, {}),
    ({"accelerator": "cpu", "devices": 1}, {"device": "cpu"}), ({"accelerator": "gpu"}, {"device": "cuda"}),
    ({"accelerator": "gpu", "devices": 1}, {"device": "cuda:0"}), ({"accelerator": "cuda", "devices": [2]},
                                                                   {"device": "cuda:2"}),
    ({"accelerator": "mps", "devices": 1}, {"device": "mps"}), ({"devices": "auto"}, {"device": "auto"}),
]


@pytest.mark.parametrize(("keywords", "expected"), MAPPED)
def test_mapped(keywords, expected):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = training_options(keywords).to_json()
    defaults = training_options({}).to_json()
    assert found == defaults | expected


IGNORED = ["logger", "enable_progress_bar", "load_sparse_tensor", "log_every_n_steps", "simple_progress_bar",
           "precision"]


@pytest.mark.parametrize("name", IGNORED)
@pytest.mark.parametrize("where", [None, "plan_kwargs", "datasplitter_kwargs"])
def test_ignored_with_a_warning(name, where):
    keywords = {name: True} if where is None else {where: {name: True}}
    with pytest.warns(UserWarning, match=f"`{name}` changes nothing here and is ignored") as caught:
        assert training_options(keywords) == training_options({})
    assert len(caught) == 1


REFUSED = [
    ({"callbacks": []}, r"train\(\) has no argument `callbacks`", "not supported"),
    ({"limit_train_batches": 3}, r"train\(\) has no argument `limit_train_batches`", ""),
    ({"max_epoch": 3}, "no argument `max_epoch`", "Did you mean `max_epochs`"),
    ({"lr": 1e-3}, r"train\(\) has no argument `lr`", ""),
    ({"plan_kwargs": {"learning_rate": 1}}, "plan_kwargs has no argument `learning_rate`", ""),
    ({"plan_kwargs": {"n_epochs_kl_warm": 1}}, "plan_kwargs has no", "Did you mean `n_epochs_kl_warmup`"),
    ({"batch_size": 1}, "`batch_size` cannot be 1", "at least 3"), ({"plan_kwargs": {"lr": -1}}, "`lr` cannot be", ""),
]


@pytest.mark.parametrize(("keywords", "problem", "hint"), REFUSED)
def test_refused(keywords, problem, hint):
    with pytest.raises(SettingError, match=problem) as caught:
        training_options(keywords)
    assert hint in caught.value.hint and caught.value.hint


@pytest.mark.parametrize(("keywords", "expected"), [
    ({}, {}), ({"n_latent": 20, "gene_likelihood": "nb"}, {"n_latent": 20, "gene_likelihood": "nb"}),
    ({"gene_likelihood": "negative_binomial"}, {"gene_likelihood": "nb"}),
    ({"latent_distribution": "normal", "log_variational": True, "var_activation": None, "extra_encoder_kwargs": {}},
     {}),
])
def test_settings_of_a_model(keywords, expected):
    assert model_settings(SCVI, keywords) == ScviSettings(**{"continuous_in": "first", **expected})


@pytest.mark.parametrize(("keywords", "problem"), [
    ({"latent_distribution": "ln"}, "`latent_distribution` = 'ln' is not supported"),
    ({"log_variational": False}, "`log_variational` = False is not supported"),
    ({"gene_likelihood": "normal"}, "`gene_likelihood` cannot be 'normal'"), ({"n_hiden": 3}, "no setting 'n_hiden'"),
])
def test_settings_that_are_not_supported(keywords, problem):
    with pytest.raises(SettingError, match=problem) as caught:
        model_settings(SCVI, keywords)
    assert caught.value.hint
