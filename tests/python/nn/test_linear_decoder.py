"""A normalised linear map as one affine map, against torch's linear layer and batch normalisation in float64."""

import pytest

from latome.backend import torch
from latome.kernels.heads import Affine
from latome.nn import LinearDecoder
from latome.nn.blocks import Inputs
from latome.nn.decoders import NormalizedLinear

SIZES, N_CONTINUOUS, K, G, M = (3, 1, 2), 2, 4, 7, 50


def inputs():
    torch.manual_seed(3)
    categories = torch.stack([torch.randint(size, (M,)) for size in SIZES], 1)
    return torch.randn(M, K).double() + 2, categories, torch.randn(M, N_CONTINUOUS).double()


def pair():
    """Ours, and torch's two layers over the same columns."""
    torch.manual_seed(0)
    ours = NormalizedLinear(K, G, SIZES, N_CONTINUOUS).double()
    linear = torch.nn.Linear(K + N_CONTINUOUS + 5, G, bias=False).double()
    norm = torch.nn.BatchNorm1d(G, eps=1e-3, momentum=0.01).double()
    with torch.no_grad():
        for parameter in (ours.norm.weight, ours.norm.bias):
            parameter.add_(torch.randn(G))
        linear.weight.copy_(ours.columns().t())
    norm.load_state_dict(ours.norm.state_dict())
    return ours, torch.nn.Sequential(linear, norm)


def reference_inputs(z, categories, continuous):
    one_hot = [torch.nn.functional.one_hot(categories[:, j], SIZES[j]).double() for j in (0, 2)]
    return torch.cat([z, continuous, *one_hot], 1)


@pytest.mark.parametrize("training", [True, False])
def test_values_statistics_and_gradients(training):
    ours, theirs = pair()
    z, categories, continuous = inputs()
    if not training:
        for norm in (ours.norm, theirs[1]):
            norm.running_mean.copy_(torch.linspace(-1, 1, G))
            norm.running_var.copy_(torch.linspace(0.1, 3, G))
    ours.train(training), theirs.train(training)
    places = z.clone().requires_grad_(), z.clone().requires_grad_()
    found = ours(ours.beside(places[0], categories, continuous))
    expected = theirs(reference_inputs(places[1], categories, continuous))
    assert isinstance(found, Affine) and found.shape == (M, G)
    torch.testing.assert_close(found.value(), expected)
    for name, value in theirs[1].state_dict().items():
        torch.testing.assert_close(ours.norm.state_dict()[name], value)
    weights = torch.randn(M, G).double()
    (found.value() * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(places[0].grad, places[1].grad)
    torch.testing.assert_close(ours.norm.weight.grad, theirs[1].weight.grad)
    torch.testing.assert_close(ours.norm.bias.grad, theirs[1].bias.grad)
    linear = ours.linear
    parts = torch.cat([linear.weight.grad.t(), linear.continuous.grad.t(), *(table.grad for table in linear.tables)])
    torch.testing.assert_close(parts.t(), theirs[0].weight.grad)


def test_a_norm_that_is_not_torchs_sees_the_product():
    class Other(torch.nn.BatchNorm1d):
        """Such as one that shares its moments with other processes."""

    ours, theirs = pair()
    other = Other(G, eps=1e-3, momentum=0.01).double()
    other.load_state_dict(ours.norm.state_dict())
    ours.norm = other
    z, categories, continuous = inputs()
    torch.testing.assert_close(ours(ours.beside(z, categories, continuous)),
                               theirs(reference_inputs(z, categories, continuous)))


def test_samples_in_front():
    decoder = LinearDecoder(K, G, Inputs(SIZES, N_CONTINUOUS), gate=True).double().eval()
    z, categories, continuous = inputs()
    one = decoder(z, categories, continuous)
    assert set(one) == {"logits", "gate"}
    stacked = decoder(torch.stack([z, z + 1]), categories, continuous)
    for name, head in one.items():
        assert stacked[name].shape == (2, M, G)
        torch.testing.assert_close(stacked[name].value()[0], head.value())
        torch.testing.assert_close(stacked[name][1].value(), decoder(z + 1, categories, continuous)[name].value())
    assert set(LinearDecoder(K, G)(z.float())) == {"logits"}
