"""Products shared out over the threads against torch's own in float64."""

import pytest

from latome.backend import torch
from latome.kernels import products
from latome.kernels.products import input_product, product, weight_product


@pytest.fixture(params=[1, 2, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("m, g, h", [(128, 2000, 128), (1, 33, 40), (100, 1003, 64), (512, 300, 30), (513, 300, 30)])
def test_values(monkeypatch, threads, m, g, h):
    monkeypatch.setattr(products, "LARGE", 0)
    torch.manual_seed(0)
    x, weight, pull = torch.randn(m, h), torch.randn(g, h), torch.randn(m, g)
    x64, weight64, pull64 = x.double(), weight.double(), pull.double()
    torch.testing.assert_close(product(x, weight).double(), x64 @ weight64.t(), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(input_product(pull, weight).double(), pull64 @ weight64, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(weight_product(pull, x).double(), pull64.t() @ x64, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("turned", ["x", "weight", "both"])
def test_any_layout_and_type(monkeypatch, turned):
    monkeypatch.setattr(products, "LARGE", 0)
    torch.manual_seed(0)
    x, weight = torch.randn(20, 30), torch.randn(50, 30)
    expected, gradient = x @ weight.t(), x.t() @ (x @ weight.t())
    x = x.t().contiguous().t() if turned != "weight" else x
    weight = weight.t().contiguous().t() if turned != "x" else weight
    torch.testing.assert_close(product(x, weight), expected)
    torch.testing.assert_close(weight_product(x, expected), gradient, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(input_product(expected, weight), expected @ weight, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(product(x.double(), weight.double()).float(), expected)
    assert product(x.bfloat16(), weight.bfloat16()).dtype == torch.bfloat16


def test_not_a_number_stays_in_its_row(monkeypatch, threads):
    monkeypatch.setattr(products, "LARGE", 0)
    x = torch.randn(5, 8)
    x[2, 3] = float("nan")
    found = product(x, torch.randn(40, 8))
    assert found[2].isnan().all() and found[[0, 1, 3, 4]].isfinite().all()
