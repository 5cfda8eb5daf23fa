"""The protocol under stress: modules of other shapes train in the same loop."""

from dataclasses import replace

import numpy as np
import pytest
from examples import probe
from shapes import AnnotationShaped, SmallSettings, SpotShaped, TotalShaped

from latome.analysis.latent import latent
from latome.backend import torch
from latome.data.registry import Columns, open_data
from latome.data.simulate import simulate
from latome.errors import FieldError
from latome.fit import fit, initialise, start, train
from latome.modules.scvi import ScviSettings
from latome.training.options import TrainingOptions

N = 200


@pytest.fixture(scope="module")
def adata():
    data = simulate(N, 60, n_types=3, n_batches=2, seed=1)
    generator = np.random.default_rng(0)
    kind = data.obs["cell_type"].astype("category").cat.codes.to_numpy()
    proteins = generator.poisson(np.where(np.arange(3)[None] == kind[:, None], 30, 2)).astype(np.float32)
    data.obsm["adt"] = np.concatenate([proteins, proteins], 1)
    data.obsm["adt"][(data.obs["batch"] == data.obs["batch"].iloc[0]).to_numpy(), 5] = 0       # not measured there
    data.obs["known"] = data.obs["cell_type"].astype(object).where(generator.random(N) < 0.3)
    return data


def trained(module, data, epochs, **options):
    made = initialise(SmallSettings(), data, kind=module, seed=3)
    options = TrainingOptions(max_epochs=epochs, batch_size=64, n_epochs_kl_warmup=5, lr=5e-3, **options)
    return train(made, data, options)


def falls(history, name="reconstruction_loss_train"):
    values = history.to_dict()[name]
    return values[-1] < values[0] and np.isfinite(values).all()


def test_two_modalities(adata):
    data = open_data(adata, Columns(batch="batch", obsm=(("proteins", "adt"),)))
    fitted = trained(TotalShaped, data, 15, early_stopping=True)
    assert falls(fitted.history) and falls(fitted.history, "reconstruction_loss_validation")
    hidden = fitted.module.measured == 0
    assert hidden.sum() == 1                           # one protein in one batch, found by `prepare`
    unseen = (hidden[data.codes["batch"], 5]).numpy()
    torch.manual_seed(0)
    before = fitted.module.terms(probe(data, N), "mean").log_likelihood["proteins"].value
    changed = replace(data, arrays={"proteins": data.arrays["proteins"] + np.eye(6, dtype="f4")[5] * unseen[:, None]})
    cells = probe(changed, N) | {"proteins": probe(data, N)["proteins"]}
    latents = fitted.module.draw(fitted.module.inference(cells), "mean")
    torch.manual_seed(0)
    likelihood = fitted.module.generative(latents, cells).likelihood["proteins"]
    assert torch.equal(likelihood.log_prob(probe(changed, N)["proteins"]), before)      # masked: no difference
    everywhere = probe(data, N)["proteins"] + 1
    assert (likelihood.log_prob(everywhere) != before).all()


def test_the_adversary_learns_and_is_fooled(adata):
    data = open_data(adata, Columns(batch="batch", obsm=(("proteins", "adt"),)))
    made = initialise(SmallSettings(), data, kind=TotalShaped, seed=3)
    trainer = start(made, data, TrainingOptions(max_epochs=2, n_epochs_kl_warmup=100))
    before = [p.clone() for p in trainer.adversary.network.parameters()]
    trainer.advance()
    after = list(trainer.adversary.network.parameters())
    assert any((a != b).any() for a, b in zip(before, after, strict=True))
    z, batch = torch.randn(9, 4), torch.tensor([0, 1] * 4 + [0])
    fool = float(trainer.adversary.fool(z, batch, 0.25).detach())
    logits = trainer.adversary.network(z).log_softmax(1).detach()
    wrong = -logits[torch.arange(9), 1 - batch].mean()                  # two batches: the target is the wrong one
    assert fool == pytest.approx(0.75 * float(wrong), rel=1e-5)


def test_partial_labels(adata):
    data = open_data(adata, Columns(batch="batch", labels="known"))
    assert (data.codes["labels"] == -1).any()
    fitted = trained(AnnotationShaped, data, 40)
    assert falls(fitted.history) and falls(fitted.history, "classification_loss_train")
    z = torch.from_numpy(latent(fitted.module, data))
    called = fitted.module.classifier(z).argmax(1).numpy()
    truth = adata.obs["cell_type"].astype("category").cat.codes.to_numpy()
    hidden = data.codes["labels"] == -1
    assert (called == truth)[hidden].mean() > 0.8      # three types: chance is a third


def test_a_parent_hands_over_its_weights(adata):
    data = open_data(adata, Columns(batch="batch", labels="known"))
    parent = fit(ScviSettings(n_hidden=16, n_latent=4, gene_likelihood="nb"), data, TrainingOptions(max_epochs=1))
    child = initialise(SmallSettings(), data, kind=AnnotationShaped, parents={"expression": parent})
    assert torch.equal(child.module.decoder.logits.weight, parent.module.decoder.logits.weight)


def test_mixtures_by_map(adata):
    data = open_data(adata)
    fitted = trained(SpotShaped, data, 60, train_size=1.0)
    assert falls(fitted.history)
    assert float(fitted.module.weights.detach().min()) >= 0     # the constraint held after the last step
    assert fitted.history.to_dict()["kl_local_train"].max() == 0
    assert fitted.history.to_dict()["kl_global_train"].max() > 0
    moved = (fitted.module.weights != 1).any(1)
    assert moved.all()                                 # each cell has met its own parameters


def test_a_sum_is_not_a_mean(adata):
    data = open_data(adata)
    made = initialise(SmallSettings(), data, kind=SpotShaped)
    terms = made.module.terms(probe(data, 7))
    with torch.no_grad():
        total = float(made.module.loss(terms, 1.0, N))
        prior = float(sum(made.module.global_terms().values()))
        assert total == pytest.approx(float(terms.per_cell(1.0).sum()) + prior, rel=1e-6)
        made.module.reduction = "n_obs"
        scaled = float(made.module.loss(terms, 1.0, N))
        assert scaled == pytest.approx(N * float(terms.per_cell(1.0).mean()) + prior, rel=1e-6)


def test_a_module_says_which_columns_it_needs(adata):
    with pytest.raises(FieldError, match="needs `labels`"):
        initialise(SmallSettings(), open_data(adata), kind=AnnotationShaped)
    with pytest.raises(FieldError, match="needs `proteins`"):
        initialise(SmallSettings(), open_data(adata), kind=TotalShaped)
