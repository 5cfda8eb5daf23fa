"""Blocks, encoders and decoders: what enters which layer, shapes, and samples in front."""

import pytest

from latome.backend import torch
from latome.nn import ExpressionDecoder, FullyConnected, NormalEncoder
from latome.nn.blocks import Inputs

COVARIATES = Inputs((2, 3), 2)


def covariates(m):
    generator = torch.Generator().manual_seed(2)
    categories = torch.stack([torch.randint(0, size, (m,), generator=generator) for size in (2, 3)], 1)
    return categories, torch.randn(m, 2, generator=generator)


def used(network):
    """A network whose running statistics are no longer 0 and 1."""
    network.train()
    for seed in range(3):
        torch.manual_seed(seed)
        network(torch.randn(20, 5) * 2 + 1, *covariates(20))
    return network.eval()


NORMS = [(batch, layer) for batch in (True, False) for layer in (True, False)]


@pytest.mark.parametrize(("batch_norm", "layer_norm"), NORMS)
def test_equals_its_recipe(batch_norm, layer_norm):
    """Two layers, written out: linear, batch norm (eps 1e-3), layer norm, ReLU."""
    torch.manual_seed(0)
    network = used(FullyConnected(5, 8, 2, COVARIATES, batch_norm=batch_norm, layer_norm=layer_norm, dropout=0.5))
    x, (categories, continuous) = torch.randn(7, 5), covariates(7)
    h = x
    for i, linear in enumerate(network.linears):
        h = linear(h, categories, continuous if i == 0 else None)
        if batch_norm:
            norm = network.batch_norms[i]
            h = (h - norm.running_mean) / (norm.running_var + 1e-3).sqrt() * norm.weight + norm.bias
        if layer_norm:
            h = (h - h.mean(1, keepdim=True)) / (h.var(1, keepdim=True, unbiased=False) + 1e-5).sqrt()
        h = h.clamp_min(0)
    torch.testing.assert_close(network(x, categories, continuous), h)


@pytest.mark.parametrize(("batch_norm", "layer_norm"), NORMS)
def test_samples_in_front_are_each_their_own(batch_norm, layer_norm):
    torch.manual_seed(0)
    network = used(FullyConnected(5, 8, 2, COVARIATES, batch_norm=batch_norm, layer_norm=layer_norm))
    x, given = torch.randn(3, 2, 7, 5), covariates(7)
    found = network(x, *given)
    assert found.shape == (3, 2, 7, 8)
    for i in range(3):
        for j in range(2):
            torch.testing.assert_close(found[i, j], network(x[i, j], *given))


@pytest.mark.parametrize(("every", "continuous_every", "tables", "slopes"), [
    (True, False, [2, 2, 2], [True, False, False]), (False, False, [2, 0, 0], [True, False, False]),
    (True, True, [2, 2, 2], [True, True, True]), (False, True, [2, 0, 0], [True, True, True]),
])
def test_which_layers_receive_covariates(every, continuous_every, tables, slopes):
    network = FullyConnected(5, 8, 3, Inputs((2, 3), 2, every, continuous_every))
    assert [len(linear.tables) for linear in network.linears] == tables
    assert [linear.continuous is not None for linear in network.linears] == slopes


def test_dropout_only_in_training():
    torch.manual_seed(0)
    network = FullyConnected(5, 200, 1, dropout=0.3, batch_norm=False)
    x = torch.ones(1, 5)
    whole = network.eval()(x)
    assert torch.equal(network(x), whole)
    alive = whole > 0
    dropped = torch.stack([network.train()(x) for _ in range(50)])[:, alive]
    kept = dropped != 0
    assert abs(kept.float().mean() - 0.7) < 0.05
    torch.testing.assert_close(dropped[kept], (whole[alive] / 0.7).expand_as(dropped)[kept])


@pytest.mark.parametrize("m", [1, 7])
@pytest.mark.parametrize("n_layers", [1, 3])
def test_encoder(m, n_layers):
    torch.manual_seed(0)
    encoder = NormalEncoder(5, 4, 8, n_layers, COVARIATES, dropout=0.1).eval()
    q = encoder(torch.randn(m, 5), *covariates(m))
    assert q.mean.shape == q.variance.shape == (m, 4)
    assert (q.variance >= 1e-4).all()
    with torch.no_grad():
        encoder.log_variance.bias.fill_(-100)
    assert (encoder(torch.randn(m, 5), *covariates(m)).variance >= 1e-4).all()


@pytest.mark.parametrize("m", [1, 7])
@pytest.mark.parametrize(("gate", "dispersion", "names"), [
    (False, False, {"logits"}), (True, False, {"logits", "gate"}), (True, True, {"logits", "gate", "log_theta"})])
def test_decoder(m, gate, dispersion, names):
    decoder = ExpressionDecoder(4, 30, 8, 2, COVARIATES, gate=gate, cell_dispersion=dispersion).eval()
    given = covariates(m)
    found = decoder(torch.randn(m, 4), *given)
    assert set(found) == names and all(value.value().shape == value.shape == (m, 30) for value in found.values())
    stacked = decoder(torch.randn(2, m, 4), *given)
    assert all(value.value().shape == value.shape == (2, m, 30) for value in stacked.values())


def test_covariates_change_the_answer_where_they_enter():
    torch.manual_seed(0)
    decoder = ExpressionDecoder(4, 30, 8, 1, COVARIATES).eval()
    z, (categories, continuous) = torch.randn(6, 4), covariates(6)
    base = decoder(z, categories, continuous)["logits"].value()
    other = categories.clone()
    other[:, 1] = (other[:, 1] + 1) % 3
    assert not torch.equal(decoder(z, other, continuous)["logits"].value(), base)
    assert not torch.equal(decoder(z, categories, continuous + 1)["logits"].value(), base)
    plain = ExpressionDecoder(4, 30, 8, 1).eval()
    assert torch.equal(plain(z, categories, continuous)["logits"].value(), plain(z)["logits"].value())
