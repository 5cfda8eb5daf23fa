"""Every back end of the count kernels at its edges: against mpmath, entry by entry, and against itself."""

from itertools import product

import mpmath
import numpy as np
import pytest

from latome.backend import torch
from latome.kernels import compiled_counts
from latome.kernels import counts as kernels
from latome.kernels.counts import count_log_prob, evaluate
from latome.kernels.sparse import SparseCounts

KINDS = ("nb", "zinb", "poisson")
EPS32 = torch.finfo(torch.float32).eps

# ---- each entry against exact arithmetic ----------------------------------------------------------------------------

MEANS = (1e-20, 1e-6, 0.03, 2.0, 700.0, 1e6)
THETAS = (1e-10, 1e-3, 0.8, 15.0, 1e5, 1e15)
GATES = (-50.0, -3.0, 0.0, 4.0, 50.0)
COUNTS = (0.0, 1.0, 2.0, 4.0, 5.0, 17.0, 0.5, 3.75, 1234.0, 1e6)
POINTS = {
    "poisson": tuple(product(MEANS, COUNTS)),
    "nb": tuple(product(MEANS, COUNTS, THETAS)),
    "zinb": tuple(product(MEANS[1:5], COUNTS[::3], THETAS[::2], GATES)),
}


def exact(kind, log_mean, x, log_theta=None, gate=None):
    """log p(x) of the module's equations; all arguments mpmath numbers."""
    mu, eps = mpmath.exp(log_mean), mpmath.mpf(1e-8)
    if kind == "poisson":
        mu_positive = max(mu, mpmath.mpf(2) ** -126)
        return (x * mpmath.log(mu_positive) if x else 0) - mu - mpmath.loggamma(x + 1)
    theta = mpmath.exp(log_theta)
    zero = -theta * mpmath.log1p(mu / (theta + eps))
    nb = (zero + x * (mpmath.log(mu + eps) - mpmath.log(theta + mu + eps)) + mpmath.loggamma(x + theta)
          - mpmath.loggamma(theta) - mpmath.loggamma(x + 1))
    if kind == "nb":
        return nb
    return nb - soft_plus(gate) if x else soft_plus(zero - gate) - soft_plus(-gate)


def soft_plus(x):
    return mpmath.log1p(mpmath.exp(x))


def exact_with_slopes(kind, values):
    """log p and its derivatives in log_mean and what follows the count, by differences in 90 digits."""
    def moved(place, by):
        return exact(kind, *(v + by if i == place else v for i, v in enumerate(values)))

    step = mpmath.mpf(10) ** -20
    places = [i for i in range(len(values)) if i != 1]
    return [exact(kind, *values)] + [(moved(i, step) - moved(i, -step)) / (2 * step) for i in places]


@pytest.fixture(scope="module")
def truths():
    """{kind: (points (m, 2 to 4) as float32 numbers log_mean, count, log_theta, gate; truth (m, 1 + slopes))}."""
    found = {}
    with mpmath.workdps(90):
        for kind, points in POINTS.items():
            rows = np.array([(np.log(mean), *rest) for mean, *rest in points], dtype=np.float32)
            if kind != "poisson":
                rows[:, 2] = np.log(rows[:, 2])
            found[kind] = rows, np.array([exact_with_slopes(kind, [mpmath.mpf(float(v)) for v in row]) for row in rows],
                                         dtype=np.float64)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_each_entry_alone_is_near_exact_arithmetic(kind, backend, truths):
    """A cell of one gene each, so that no large entry hides a small one."""
    rows, truth = truths[kind]
    log_mean, x, log_theta, gate = (torch.tensor(rows[:, i:i + 1]) if i < rows.shape[1] else None for i in range(4))
    found = evaluate(SparseCounts.from_dense(x), kind, log_mean, None, log_theta, gate, gradient=True)
    slopes = [one for one in (found.location, found.theta, found.gate) if one is not None]
    mu, x = np.exp(rows[:, 0].astype("f8")), rows[:, 1].astype("f8")
    theta = np.exp(rows[:, 2].astype("f8")) if kind != "poisson" else np.inf
    zero = mu if kind == "poisson" else theta * np.log1p(mu / theta)
    # what is added up; float32 keeps its own share of that, and of mu, which comes from a logarithm
    size = zero + x * (1 + np.abs(rows[:, 0]) + np.log1p(x) + np.log1p(mu / theta)) + (x > 0) * np.abs(rows[:, -1])
    if kind != "poisson" and backend == "torch":
        size += x * np.abs(np.log(theta)) + np.abs(rows[:, -1])
    error = np.abs(found.value.double().numpy() - truth[:, 0])
    assert (error <= 1e-6 + 1e-5 * np.abs(truth[:, 0]) + 8 * EPS32 * size).all()
    for slope, wanted in zip(slopes, truth.T[1:], strict=True):
        error = np.abs(slope.double().numpy()[:, 0] - wanted)
        assert (error <= 1e-5 * np.abs(wanted) + 16 * EPS32 * (1 + x + zero)).all()


def test_small_counts_of_large_dispersions_keep_their_slope(backend, truths):
    """Where mu / theta vanishes, so does the slope in theta; the compiled kernels keep its digits."""
    if backend == "torch":
        pytest.skip("torch's operations subtract two numbers that are nearly equal there")
    rows, truth = truths["nb"]
    kept = (np.exp(rows[:, 2]) > 1e4) & (np.exp(rows[:, 0]) < 10) & np.isin(rows[:, 1], (0, 1, 2, 4))
    log_mean, x, log_theta = (torch.tensor(rows[kept, i:i + 1]) for i in range(3))
    found = evaluate(SparseCounts.from_dense(x), "nb", log_mean, None, log_theta, None, gradient=True)
    mean, theta = (np.exp(rows[kept, i].astype("f8")) for i in (0, 2))
    error = np.abs(found.theta[:, 0].double().numpy() - truth[kept, 2])
    assert (error <= 1e-5 * np.abs(truth[kept, 2]) + EPS32 * (rows[kept, 1] + mean) ** 2 / theta + 1e-38).all()


# ---- whole cells against float64 ------------------------------------------------------------------------------------


def problem(kind, m, g, *, form="gene", logits=True, spread=1.5, seed=0):
    """Random counts and arguments of `evaluate`, by name; cell 0 has no counts."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape, sd=1.0, shift=0.0):
        return torch.randn(*shape, generator=generator) * sd + shift

    x = torch.poisson(torch.rand(m, g, generator=generator) ** 4 * 9, generator=generator)
    x[:, 0] += 2000 * (torch.rand(m, generator=generator) < 0.2)
    x[0] = 0
    given = {"location": normal(m, g, sd=spread), "log_library": normal(m, 1, shift=6.0) if logits else None,
             "log_theta": None, "gate": normal(m, g, sd=4.0) if kind == "zinb" else None}
    rows = None
    if kind != "poisson":
        given["log_theta"] = normal(*{"gene": (g,), "row": (3, g), "cell": (m, g)}[form])
        rows = torch.arange(m) % 3 if form == "row" else None
    return SparseCounts.from_dense(x), given, rows


def float64(counts, kind, given, rows, **options):
    """The same by torch's operations in float64, which the tests of `count_log_prob` compare with autograd."""
    wide = {name: None if value is None else value.double() for name, value in given.items()}
    return evaluate(counts.double(), kind, **wide, gradient=True, theta_rows=rows, **options)


def assert_near(found, wanted, tolerance=1e-5):
    for name, one, other in zip(found._fields, found, wanted, strict=True):
        assert (one is None) == (other is None), name
        if one is not None:
            assert one.dtype == torch.float32 and one.shape == other.shape
            error, floor = (one.double() - other).abs(), other.square().mean().sqrt()
            assert (error <= tolerance * (other.abs() + floor)).all(), name


@pytest.mark.parametrize(("m", "g"), [(1, 1), (9, 1), (3, 15), (2, 16), (5, 17), (17, 33), (3, 1025), (2, 20011)])
@pytest.mark.parametrize("kind", KINDS)
def test_any_size(kind, m, g, backend):
    counts, given, rows = problem(kind, m, g)
    found = evaluate(counts, kind, **given, gradient=True)
    wanted = float64(counts, kind, given, rows)
    near = 1e-4 if backend == "torch" else 1e-6        # which adds up logarithms of large counts in float32
    np.testing.assert_allclose(found.value, wanted.value, rtol=near)
    assert_near(found._replace(value=None), wanted._replace(value=None))


@pytest.mark.parametrize("logits", [True, False])
@pytest.mark.parametrize("form", ["gene", "row", "cell"])
@pytest.mark.parametrize("kind", KINDS[:2])
def test_any_form_of_theta_and_its_sum(kind, form, logits, backend):
    counts, given, rows = problem(kind, 21, 40, form=form, logits=logits)
    found = evaluate(counts, kind, **given, gradient=True, theta_rows=rows)
    assert_near(found, float64(counts, kind, given, rows))
    summed = evaluate(counts, kind, **given, gradient=True, theta_rows=rows, theta_sum=True)
    assert summed.theta.shape == given["log_theta"].shape
    assert_near(summed, float64(counts, kind, given, rows, theta_sum=True))
    also = evaluate(counts, kind, **given, gradient=True, theta_rows=rows, theta_sum=True, sums=True)
    for name, of_cells in (("location", summed.location), ("gate", summed.gate)):
        of_all = getattr(also, f"{name}_sum")
        assert (of_all is None) == (backend == "torch" or of_cells is None)
        if of_all is not None:
            torch.testing.assert_close(of_all.double(), of_cells.double().sum(0), rtol=1e-5, atol=1e-5)
    assert_near(also._replace(location_sum=None, gate_sum=None), float64(counts, kind, given, rows, theta_sum=True))


@pytest.mark.parametrize("kind", KINDS)
def test_logits_far_apart_and_certain_gates(kind, backend):
    counts, given, rows = problem(kind, 12, 50)
    given["location"] = torch.linspace(-30, 30, 12 * 50).view(12, 50)[:, torch.randperm(50)]
    if kind == "zinb":
        given["gate"] = torch.tensor([-50.0, 50.0, 0.0, -20.0, 20.0]).repeat(12, 10)
    found = evaluate(counts, kind, **given, gradient=True)
    assert_near(found, float64(counts, kind, given, rows))


@pytest.mark.parametrize("kind", KINDS)
def test_results_may_take_the_place_of_what_they_come_from(kind, backend):
    counts, given, _ = problem(kind, 10, 70)
    wanted = evaluate(counts, kind, **given, gradient=True)
    found = evaluate(counts, kind, **given, gradient=True, overwrite=True)
    for one, other in zip(found, wanted, strict=True):
        assert one is other is None or torch.equal(one, other)


@pytest.mark.parametrize("kind", KINDS)
def test_without_gradients_the_value_is_the_same(kind, backend):
    counts, given, _ = problem(kind, 10, 70)
    found = evaluate(counts, kind, **given, gradient=False)
    assert set(found[1:]) == {None}
    torch.testing.assert_close(found.value, evaluate(counts, kind, **given, gradient=True).value, rtol=1e-6, atol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_cells_of_a_larger_minibatch(kind, backend):
    """Views of the entries and strided parameters."""
    counts, given, _ = problem(kind, 12, 40)
    whole = evaluate(counts, kind, **given, gradient=True)
    part = {name: value if value is None or name == "log_theta" else value[4:9] for name, value in given.items()}
    part["location"] = part["location"].t().contiguous().t()
    found = evaluate(counts.cells(4, 9), kind, **part, gradient=True)
    torch.testing.assert_close(found.value, whole.value[4:9])
    torch.testing.assert_close(found.location, whole.location[4:9])


@pytest.mark.parametrize("name", ["location", "log_library", "log_theta", "gate"])
@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_what_is_no_number_is_noticed(name, wrong, backend):
    """A model that diverges must not look well; an infinite gate is certainty in torch's operations."""
    if backend == "torch" and name == "gate" and wrong == float("inf"):
        pytest.skip("certainty is a finite log-probability there")
    counts, given, _ = problem("zinb", 4, 40)
    before = evaluate(counts, "zinb", **given, gradient=False).value
    given[name].view(-1)[-1] = wrong                   # of the last cell, or the last gene
    value = evaluate(counts, "zinb", **given, gradient=False).value
    assert before.isfinite().all() and not value[-1].isfinite()
    if name != "log_theta":
        assert torch.equal(value[:-1], before[:-1])


@pytest.mark.parametrize("theta_sum", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_two_threads_agree_with_one(kind, theta_sum, backend):
    counts, given, _ = problem(kind, 43, 900)
    assert 43 * 900 > compiled_counts.ALONE
    found = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found.append(evaluate(counts, kind, **given, gradient=True, theta_sum=theta_sum, sums=theta_sum))
    torch.set_num_threads(1)
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            if one is not None and backend != "torch":
                assert torch.equal(one, two)
            elif one is not None:
                torch.testing.assert_close(one, two)


def test_a_row_that_theta_lacks_is_refused(backend):
    counts, given, rows = problem("nb", 6, 5, form="row")
    with pytest.raises(IndexError, match="3 rows"):
        evaluate(counts, "nb", **given, gradient=False, theta_rows=rows - 1)


@pytest.mark.parametrize("form", ["gene", "row", "cell"])
def test_unequal_weights_of_cells(form, backend):
    """What flows back through the node of the graph, for each form of theta."""
    counts, given, rows = problem("zinb", 14, 30, form=form)
    weights = torch.linspace(-1, 2, 14)
    names = ["location", "log_library", "log_theta", "gate"]

    def gradients(dtype):
        leaves = [given[name].to(dtype).requires_grad_() for name in names]
        parts = dict(zip(["logits", *names[1:]], leaves))
        value = count_log_prob(counts.double() if dtype == torch.float64 else counts, kind="zinb", theta_rows=rows,
                               **parts)
        return torch.autograd.grad(value, leaves, weights.to(dtype))

    for one, other in zip(gradients(torch.float32), gradients(torch.float64), strict=True):
        assert one.shape == other.shape
        assert ((one - other).norm() <= 1e-5 * other.norm())


@pytest.mark.parametrize("mode", ["no_grad", "inference_mode", "no leaves"])
def test_inference_asks_for_no_gradient(mode, backend, monkeypatch):
    asked = []
    real = kernels.evaluate

    def listen(*arguments, gradient, **options):
        asked.append(gradient)
        return real(*arguments, gradient=gradient, **options)

    monkeypatch.setattr(kernels, "evaluate", listen)
    counts, given, _ = problem("zinb", 6, 30)
    parts = {"logits": given.pop("location"), **given}
    if mode != "no leaves":
        parts = {name: value.requires_grad_() for name, value in parts.items()}
    context = {"no_grad": torch.no_grad, "inference_mode": torch.inference_mode, "no leaves": torch.enable_grad}[mode]
    with context():
        value = count_log_prob(counts, kind="zinb", **parts)
    assert asked == [False] and not value.requires_grad
