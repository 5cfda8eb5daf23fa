"""A linear layer with covariate tables equals one linear layer over concatenated one-hots."""

import math

import pytest

from latome.backend import torch
from latome.nn import CovariateLinear

SIZES = {"none": (), "batch alone": (3,), "several": (3, 4), "a single category": (1,),
         "a single one among others": (2, 1, 5)}


def inputs(sizes, d, m=9, n_in=6):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(m, n_in, generator=generator)
    codes = [torch.randint(0, size, (m,), generator=generator) for size in sizes]
    return x, torch.stack(codes, 1) if sizes else None, torch.randn(m, d, generator=generator) if d else None


def assembled(layer, sizes, d):
    """torch's own layer over [x, continuous, one-hots], with the weights of `layer`."""
    tables = iter(layer.tables)
    columns = [layer.weight] + ([layer.continuous] if d else [])
    columns += [next(tables).T if size > 1 else torch.zeros(layer.bias.shape[0], 1) for size in sizes]
    weight = torch.cat(columns, 1)
    linear = torch.nn.Linear(weight.shape[1], weight.shape[0])
    linear.load_state_dict({"weight": weight.detach(), "bias": layer.bias.detach()})
    return linear


@pytest.mark.parametrize("d", [0, 2])
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_equals_one_hots(sizes, d):
    torch.manual_seed(0)
    layer = CovariateLinear(6, 5, sizes, d)
    x, categories, continuous = inputs(sizes, d)
    one_hots = [torch.nn.functional.one_hot(categories[:, j], size).float() for j, size in enumerate(sizes)]
    wide = torch.cat([x, *([continuous] if d else []), *one_hots], 1)
    linear = assembled(layer, sizes, d)
    torch.testing.assert_close(layer(x, categories, continuous), linear(wide))
    assert len(layer.tables) == sum(size > 1 for size in sizes)        # no table for a single category
    assert [tuple(t.shape) for t in layer.tables] == [(size, 5) for size in sizes if size > 1]


def test_gradients_are_those_of_one_hots():
    torch.manual_seed(0)
    layer = CovariateLinear(6, 5, (3, 1, 4), 2)
    x, categories, continuous = inputs((3, 1, 4), 2)
    layer(x, categories, continuous).square().sum().backward()
    linear = assembled(layer, (3, 1, 4), 2)
    one_hots = [torch.nn.functional.one_hot(categories[:, j], size).float() for j, size in enumerate((3, 1, 4))]
    linear(torch.cat([x, continuous, *one_hots], 1)).square().sum().backward()
    parts = linear.weight.grad.split([6, 2, 3, 1, 4], 1)
    torch.testing.assert_close(layer.weight.grad, parts[0])
    torch.testing.assert_close(layer.continuous.grad, parts[1])
    torch.testing.assert_close(layer.tables[0].grad, parts[2].T)
    torch.testing.assert_close(layer.tables[1].grad, parts[4].T)
    torch.testing.assert_close(layer.bias.grad, linear.bias.grad)


def test_samples_in_front():
    layer = CovariateLinear(6, 5, (3,), 2)
    x, categories, continuous = inputs((3,), 2)
    stack = torch.stack([x, x + 1, -x])
    torch.testing.assert_close(layer(stack, categories, continuous)[2], layer(-x, categories, continuous))


def test_starts_as_a_linear_layer_of_the_whole_width():
    torch.manual_seed(0)
    layer = CovariateLinear(50, 400, (5, 1), 4)
    bound = 1 / math.sqrt(50 + 5 + 4)                                   # the single category has no column
    for p in layer.parameters():
        assert p.abs().max() <= bound
        assert abs(p.std().item() - bound / math.sqrt(3)) < 0.1 * bound
