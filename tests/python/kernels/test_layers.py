"""The compiled hidden layer against torch's own operations in float64."""

import pytest

from latome.backend import torch
from latome.kernels import layers
from latome.kernels.layers import Layer, Norm, network, sparse_linear
from latome.kernels.native import status
from latome.kernels.sparse import SparseCounts

needs_library = pytest.mark.skipif(not status()["compiled"], reason=f"no compiled kernels: {status()['problem']}")


def sparse(m, g, share=0.1, seed=0):
    torch.manual_seed(seed)
    x = (torch.rand(m, g) < share) * torch.randint(1, 50, (m, g)).float()
    return x, SparseCounts.from_dense(x)


def hidden_layer(x, *weight_and_bias, **given):
    """A network of one layer."""
    return network(x, [Layer(*weight_and_bias, **given)])


def reference(x, weight, bias, *, continuous=None, continuous_weight=None, categories=None, columns=(), tables=(),
              norm=None):
    """The same layer by torch, without dropout."""
    functional = torch.nn.functional
    y = functional.linear(x, weight, bias)
    if continuous is not None:
        y = y + functional.linear(continuous, continuous_weight)
    for column, table in zip(columns, tables, strict=True):
        y = y + table[categories[:, column]]
    if norm is not None:
        y = functional.batch_norm(y, norm.running_mean, norm.running_variance, norm.scale, norm.shift, norm.training,
                                  norm.momentum, norm.eps)
    return functional.relu(y)


def parts(m, k, h, *, covariates, norm, training, dtype, seed=1):
    """The layer's arguments with fresh parameters, in a type."""
    torch.manual_seed(seed)
    found = {"weight": torch.randn(k, h).t() / k**0.5, "bias": torch.randn(h)}
    if covariates:
        found |= {"continuous": torch.randn(m, 2), "continuous_weight": torch.randn(h, 2)}
        tables = [torch.randn(3, h), torch.randn(5, h)]
        found |= {"categories": torch.stack([torch.randint(3, (m,)), torch.zeros(m, dtype=torch.int64),
                                             torch.randint(5, (m,))], 1), "columns": [0, 2], "tables": tables}
    moments = [torch.rand(h) + 0.5, torch.randn(h), torch.randn(h), torch.rand(h) + 0.5]

    def ready(value):
        value = value.to(dtype) if value.is_floating_point() else value
        return value.requires_grad_() if value.is_floating_point() else value

    found = {name: [ready(one) for one in value] if name == "tables" else value if name == "columns" else ready(value)
             for name, value in found.items()}
    if norm:
        scale, shift, mean, variance = (moment.to(dtype) for moment in moments)
        found["norm"] = Norm(scale.requires_grad_(), shift.requires_grad_(), mean, variance,
                             torch.zeros((), dtype=torch.int64), 0.01, 1e-3, training)
    return found


def leaves(given):
    plain = [value for name, value in given.items() if name not in ("tables", "columns", "norm", "categories")]
    norm = [given["norm"].scale, given["norm"].shift] if "norm" in given else []
    return [*plain, *given.get("tables", []), *norm]


@needs_library
@pytest.mark.parametrize("m, k, h", [(128, 40, 128), (7, 30, 33), (9, 5, 1), (150, 20, 20)])
@pytest.mark.parametrize("is_sparse", [True, False])
@pytest.mark.parametrize("norm, training", [(False, True), (True, True), (True, False)])
@pytest.mark.parametrize("covariates", [True, False])
def test_value_and_gradients(m, k, h, is_sparse, norm, training, covariates):
    x, counts = sparse(m, k)
    options = {"covariates": covariates, "norm": norm, "training": training}
    ours, theirs = (parts(m, k, h, **options, dtype=dtype) for dtype in (torch.float32, torch.float64))
    x64 = x.double().requires_grad_()
    x32 = counts if is_sparse else x.clone().requires_grad_()
    found, expected = hidden_layer(x32, **ours), reference(x64, **theirs)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)
    pull = torch.randn(m, h)
    (found * pull).sum().backward()
    (expected * pull).sum().backward()
    pairs = list(zip(leaves(ours), leaves(theirs), strict=True)) + ([] if is_sparse else [(x32, x64)])
    largest = max(float(theirs.grad.abs().max()) for _, theirs in pairs)
    for mine, other in pairs:
        assert mine.grad.stride() == mine.stride() or mine.shape[0] == 1 or mine.dim() == 1 or mine is x32
        worst = float((mine.grad.double() - other.grad).abs().max())
        assert worst <= 2e-5 * max(float(other.grad.abs().max()), 1e-2 * largest)
    if norm and training:
        for name in ("running_mean", "running_variance"):
            torch.testing.assert_close(getattr(ours["norm"], name).double(), getattr(theirs["norm"], name),
                                       rtol=1e-5, atol=1e-5)
    assert not norm or int(ours["norm"].count) == int(training)


@needs_library
def test_gradients_reach_what_they_must_and_nothing_else():
    x, counts = sparse(9, 12)
    given = parts(9, 12, 8, covariates=True, norm=True, training=True, dtype=torch.float32)
    given["weight"].requires_grad_(False)
    hidden_layer(counts, **given).sum().backward()
    assert given["weight"].grad is None and given["bias"].grad is not None
    assert given["continuous"].grad.shape == (9, 2)                     # an embedded batch enters there


@needs_library
@pytest.mark.parametrize("is_sparse", [True, False])
def test_layers_one_after_the_other(is_sparse):
    """Two layers with covariates in one node, whose first takes no gradient of its weight."""
    x, counts = sparse(60, 25)
    dtypes, results = (torch.float32, torch.float64), []
    options = {"covariates": True, "norm": True, "training": True}
    pull = torch.randn(60, 12)
    for dtype in dtypes:
        first, second = (parts(60, k, h, **options, dtype=dtype, seed=h) for k, h in ((25, 17), (17, 12)))
        first["weight"].requires_grad_(False)
        if dtype is torch.float32:
            out = network(counts if is_sparse else x, [Layer(**first), Layer(**second)])
        else:
            out = reference(reference(x.double(), **first), **second)
        (out * pull).sum().backward()
        assert first["weight"].grad is None
        results.append([out.detach(), *(leaf.grad for leaf in leaves(first)[1:] + leaves(second))])
    largest = max(float(other.norm()) for other in results[1])         # a bias before a batch norm has none at all
    for mine, other in zip(*results, strict=True):
        assert float((mine.double() - other).norm()) <= 1e-5 * max(float(other.norm()), 1e-2 * largest)


@needs_library
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_do_not_change_the_result(threads):
    x, counts = sparse(1000, 300)
    given = parts(1000, 300, 128, covariates=True, norm=True, training=True, dtype=torch.float32)
    pull = torch.randn(1000, 128)
    before = torch.get_num_threads()
    results = []
    for n in (1, threads):
        torch.set_num_threads(n)
        try:
            torch.manual_seed(3)
            out = hidden_layer(counts, **given, dropout=0.3)
            gradient = torch.autograd.grad((out * pull).sum(), given["tables"][0])[0]
        finally:
            torch.set_num_threads(before)
        results.append((out.detach(), gradient))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@needs_library
def test_dropout_is_fair_and_follows_the_seed():
    torch.manual_seed(0)
    m, h, p = 2000, 256, 0.3
    weight, bias = torch.zeros(4, h).t(), torch.ones(h)
    x = torch.zeros(m, 4)

    def draw(seed):
        torch.manual_seed(seed)
        return hidden_layer(x, weight, bias, dropout=p)

    out = draw(5)
    assert set(out.unique().tolist()) == {0.0, torch.tensor(1 / (1 - p)).item()}
    kept = (out > 0).double()
    n = kept.numel()
    within = 4.5 * (p * (1 - p)) ** 0.5
    assert abs(kept.mean() - (1 - p)) < within / n**0.5
    assert (kept.mean(0) - (1 - p)).abs().max() < within / m**0.5
    assert (kept.mean(1) - (1 - p)).abs().max() < within / h**0.5
    centred = kept - kept.mean()
    for shift in (1, 2, 16, 256):                                       # neighbours do not know of each other
        flat = centred.flatten()
        assert abs((flat[shift:] * flat[:-shift]).mean()) < within**2 / n**0.5
    assert torch.equal(out, draw(5)) and not torch.equal(out, draw(6))


@needs_library
def test_dropped_units_take_no_gradient():
    torch.manual_seed(0)
    x = torch.randn(50, 6)
    weight, bias = torch.randn(6, 40).t().requires_grad_(), torch.randn(40, requires_grad=True)
    out = hidden_layer(x, weight, bias, dropout=0.5)
    out.sum().backward()
    silent = out.detach() == 0
    expected = (~silent).float().sum(0) * 2
    torch.testing.assert_close(bias.grad, expected)


@needs_library
def test_not_a_number_stays_one():
    x = torch.randn(4, 3)
    x[1, 1] = float("nan")
    out = hidden_layer(x, torch.randn(3, 5).t(), torch.zeros(5))
    assert out[1].isnan().all() and out[[0, 2, 3]].isfinite().all()


@pytest.mark.parametrize("share", [0.05, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sparse_linear_by_operations(share, dtype):
    x, counts = sparse(20, 30, share)
    counts = counts.double() if dtype is torch.float64 else counts
    weight = torch.randn(30, 7, dtype=dtype).t().requires_grad_()
    bias = torch.randn(7, dtype=dtype, requires_grad=True)
    found, expected = sparse_linear(counts, weight, bias), torch.nn.functional.linear(x.to(dtype), weight, bias)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)
    pull = torch.randn_like(expected)
    for a, b in zip(torch.autograd.grad(found, [weight, bias], pull),
                    torch.autograd.grad(expected, [weight, bias], pull), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-4)


@needs_library
def test_rows_taken_from_a_larger_minibatch():
    x, counts = sparse(40, 30)
    weight, bias = torch.randn(30, 8).t(), torch.randn(8)
    part = counts.cells(10, 25)
    torch.testing.assert_close(hidden_layer(part, weight, bias), hidden_layer(counts, weight, bias)[10:25])
    torch.testing.assert_close(hidden_layer(part, weight, bias), hidden_layer(x[10:25].contiguous(), weight, bias),
                               rtol=1e-5, atol=1e-5)


def test_float64_takes_the_road_of_torch():
    assert not layers.compiled(torch.zeros(2, 3, dtype=torch.float64), torch.zeros(4, 3, dtype=torch.float64))
    assert not layers.compiled(torch.zeros(5, 2, 3), torch.zeros(4, 3))
