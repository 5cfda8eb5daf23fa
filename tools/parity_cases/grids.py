"""Log-probabilities of the count distributions over grids of their parameters, and Bayes factors, in float64."""

import json
from pathlib import Path

import numpy as np

from latome.backend import torch
from latome.distributions import NegativeBinomial, Poisson, ZeroInflatedNegativeBinomial
from parity_cases.bayes_factors import check_bayes_factors
from parity_cases.compare import NOT_YET, Row, Tolerance, compare

__all__ = ["check_grids"]

_INPUTS = {"mu", "theta", "pi_logit", "x", "nb_tc_total_count", "nb_tc_logits", "mix_mu1", "mix_ratio", "mix_theta1"}
_STEEP = 1e4                                            # beyond it differences of log-gammas cancel: atol 1e-6


def check_grids(path):
    """Rows for distributions.json at `path` and the .npz beside it."""
    path = Path(path)
    described = json.loads(path.read_text(encoding="utf-8"))
    with np.load(path.with_suffix(".npz"), allow_pickle=False) as stored:
        expected = {name: stored[name] for name in described["arrays"]}
    tolerance = {"rtol": described["tolerance"]["rtol"], "atol": described["tolerance"]["atol"]}
    found = _recompute(expected)
    rows = []
    for name, values in expected.items():
        if name in _INPUTS or name.startswith("de_"):
            continue
        if name not in found:
            rows.append(Row(path.stem, name, None, None, NOT_YET, "no mixture of negative binomials"))
        for label, (value, theta) in found.get(name, {}).items():
            atol = tolerance["atol"]
            if theta is not None:
                atol = np.where(np.broadcast_to(theta, values.shape) >= _STEEP, max(1e-6, atol), atol)
            rows.append(compare(path.stem, name + label, value, values, Tolerance(tolerance["rtol"], atol=atol)))
    return rows + check_bayes_factors(path.stem, described, expected)


def _recompute(grid):
    """{array: {label: (values, theta or None)}}; the label "" is elementwise, the other the sparse kernel."""
    mu, theta, gate, x = (grid.get(name) for name in ("mu", "theta", "pi_logit", "x"))
    found = {}
    if "nb_log_prob" in grid:
        axes = np.ix_(mu, theta, x)
        found["nb_log_prob"] = _log_prob(NegativeBinomial, axes[2], axes[1], log_mean=axes[0], log_theta=axes[1])
    if "zinb_log_prob" in grid:
        axes = np.ix_(mu, theta, gate, x)
        found["zinb_log_prob"] = _log_prob(ZeroInflatedNegativeBinomial, axes[3], axes[1], log_mean=axes[0],
                                           log_theta=axes[1], gate=axes[2])
    if "poisson_log_prob" in grid:
        axes = np.ix_(mu, x)
        found["poisson_log_prob"] = _log_prob(Poisson, axes[1], None, log_mean=axes[0])
    if "nb_tc_log_prob" in grid:
        total, logits, x3 = np.ix_(grid["nb_tc_total_count"], grid["nb_tc_logits"], x)
        means = total * np.exp(logits)
        found["nb_tc_log_prob"] = _log_prob(NegativeBinomial, x3, total, log_mean=means, log_theta=total)
        mean = _distribution(NegativeBinomial, log_mean=means, log_theta=total)[0].mean
        found["nb_tc_mean"] = {"": (mean.numpy()[..., 0], None)}
    if "zinb_mean" in grid:
        axes = np.ix_(mu, theta, gate)
        zinb = _distribution(ZeroInflatedNegativeBinomial, log_mean=axes[0], log_theta=axes[1], gate=axes[2])[0]
        found["zinb_mean"] = {"": (zinb.mean.numpy(), None)}
    if "nb_variance" in grid:
        axes = np.ix_(mu, theta)
        nb = _distribution(NegativeBinomial, log_mean=axes[0], log_theta=axes[1])[0]
        found["nb_variance"] = {"": ((nb.mean + nb.mean**2 / nb.theta).numpy(), None)}
    return found


def _distribution(kind, *more, **parameters):
    """The distribution on the full grid, and `more` arrays broadcast to it; means and thetas are given as they are."""
    arrays = [np.log(value) if name.startswith("log_") else value for name, value in parameters.items()]
    full = [torch.tensor(value.copy()) for value in np.broadcast_arrays(*arrays, *more)]
    given = dict(zip(parameters, full, strict=False))
    return kind(**given), *full[len(given):]


def _log_prob(kind, x, theta, **parameters):
    whole, counts = _distribution(kind, x, **parameters)
    flat = kind(**{name: value.reshape(-1, 1) for name, value in _given(whole, parameters).items()})
    kernel = flat.log_prob(counts.reshape(-1, 1)).reshape(counts.shape)     # each point a cell with one gene
    return {"": (whole.elementwise_log_prob(counts).numpy(), theta), " (kernel)": (kernel.numpy(), theta)}


def _given(distribution, parameters):
    kept = {"log_mean": distribution.log_mean_, "log_theta": distribution.log_theta, "gate": distribution.gate}
    return {name: kept[name] for name in parameters}
