"""Hypotheses from two arrays of samples: the tables of scvi-tools, closed forms, and distributions of known truth."""

import ast
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from latome.analysis.differential import bayes
from latome.analysis.differential.mixture import mixture_means
from latome.errors import SettingError

HERE = Path(__file__).resolve().parent
COMMITTED = HERE.parents[1] / "fixtures"               # some genes, and no run that estimates anything from all of them
WHOLE = Path(os.environ.get("LATOME_DATA", HERE.parents[4] / "shared" / "data")).parent / "fixtures" / "scvi-tools"
NAMES = {"proba_m1": "prob_m1", "proba_m2": "prob_m2", "proba_de": "prob_de", "proba_not_de": "prob_not_de",
         "lfc_std": "lfc_sd"}


def read(folder):
    """({run: (arguments, {column: values})}, inputs) of distributions.npz in a folder."""
    described = json.loads((folder / "distributions.json").read_text())["arrays"]
    with np.load(folder / "distributions.npz") as stored:
        arrays = {name[3:]: stored[name] for name in stored.files if name.startswith("de_")}
    runs = {}
    for name, values in arrays.items():
        if "__" in name and not name.endswith("delta_spread"):
            run, column = name.split("__")
            arguments = ast.literal_eval(re.search(r"\{.*\}", described["de_" + name]["what"]).group())
            runs.setdefault(run, (arguments, {}))[1][column] = values
    return runs, arrays


RUNS, ARRAYS = read(COMMITTED)
FIRST, SECOND = ARRAYS["rho1"], ARRAYS["rho2"]


def compute(arrays, mode, delta=0.25, pseudocounts=None, threshold_counts=0.01, test_mode="three",
            cred_interval_lvls=()):
    """Everything in one go, estimates fed into what follows from them."""
    first, second = arrays["rho1"], arrays["rho2"]
    if mode == "vanilla":
        return bayes.vanilla(first, second)
    if pseudocounts is None:
        counts, n = arrays["counts"], int(arrays["n1"])
        means = counts[:n].mean(0), counts[n:].mean(0)
        pseudocounts = bayes.pseudocounts_of((first.max(0), second.max(0)), means, threshold_counts)
    if delta is None:
        delta = bayes.delta_of(bayes.log_fold_change(first, second, pseudocounts).mean(0))
    found = bayes.change(first, second, delta=delta, pseudocounts=pseudocounts, test_mode=test_mode,
                         levels=cred_interval_lvls)
    return found | {"delta": delta, "pseudocounts": pseudocounts}


def ours(column):
    interval = re.fullmatch(r"lfc_confidence_interval_(.+)_(min|max)", column)
    if interval:
        return f"lfc_{'low' if interval[2] == 'min' else 'high'}_{interval[1]}"
    return NAMES.get(column, column)


def agree(arrays, arguments, expected):
    found = compute(arrays, **arguments)
    for column, values in expected.items():
        np.testing.assert_allclose(found[ours(column)], values, rtol=1e-6, atol=1e-8, err_msg=column)


@pytest.mark.parametrize("run", ["vanilla", "change_delta0.5_pseudo1e-5", "change_delta0.25_pseudo1e-3_two"])
def test_the_tables_of_scvi_tools(run):
    agree(ARRAYS, *RUNS[run])


def test_all_its_tables():
    if not (WHOLE / "distributions.npz").exists():
        pytest.skip("no whole distributions.npz beside LATOME_DATA")
    runs, arrays = read(WHOLE)
    assert len(runs) == 6
    for arguments, expected in runs.values():
        agree(arrays, arguments, expected)


def test_its_estimates_of_the_pseudocount_and_of_delta():
    """From what its samples of 40 genes come to: their maxima, mean counts, and mean changes."""
    with np.load(HERE / "estimates.npz") as known:
        for threshold, expected in known["pseudocounts"]:
            found = bayes.pseudocounts_of(known["maxima"], known["means"], threshold)
            assert found == pytest.approx(expected, rel=1e-6)
        assert bayes.delta_of(known["changes"]) == pytest.approx(float(known["delta"]), rel=1e-6)


@pytest.mark.parametrize("run", [run for run in RUNS if run != "vanilla"])
def test_single_precision_says_the_same(run):
    arguments, expected = RUNS[run]
    found = bayes.change(FIRST.astype("f4"), SECOND.astype("f4"), delta=float(expected["delta"]),
                         pseudocounts=float(expected["pseudocounts"]), test_mode=arguments.get("test_mode", "three"))
    np.testing.assert_allclose(found["prob_de"], expected["proba_de"], atol=1 / len(FIRST))
    np.testing.assert_allclose(found["lfc_mean"], expected["lfc_mean"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("n", [2, 801])
@pytest.mark.parametrize("options", [{}, {"test_mode": "two", "levels": (0.5, 0.9)}], ids=str)
def test_samples_gene_by_gene_say_the_same(options, n):
    """float32 samples side by side in memory take a road of their own, where there are compiled kernels."""
    rng = np.random.default_rng(7)
    first, second = (rng.gamma(2, 1e-4, (11, n)).astype("f4").T for _ in range(2))        # (s, g)
    found, expected = (bayes.change(*(one.astype(kind, order=order) for one in (first, second)), delta=0.25,
                                    pseudocounts=1e-5, **options) for kind, order in (("f4", "F"), ("f8", "C")))
    assert list(found) == list(expected)
    for column in expected:
        edge = 1.01 / n if column.startswith("prob") else 20 / n if column == "bayes_factor" else 1e-5
        np.testing.assert_allclose(found[column], expected[column], rtol=1e-4, atol=edge if n > 2 else 1e-5,
                                   err_msg=column)


def log_normal(mean, sd, n, rng):
    """Samples of expression of one gene whose log2 is normal."""
    return 2 ** rng.normal(mean, sd, (n, 1))


@pytest.mark.parametrize("shift, sd", [(0.0, 0.2), (0.6, 0.3), (-1.0, 0.5)])
def test_probabilities_and_summaries_of_a_normal_change(shift, sd):
    rng = np.random.default_rng(0)
    first, second = log_normal(shift, sd, 40000, rng), log_normal(0, sd, 40000, rng)
    change = stats.norm(shift, sd * np.sqrt(2))                         # of the difference of two normals
    found = {mode: bayes.change(first, second, delta=0.25, pseudocounts=0.0, test_mode=mode, levels=(0.5, 0.9))
             for mode in ("three", "two")}
    up, down = change.sf(0.25), change.cdf(-0.25)
    assert found["three"]["prob_de"] == pytest.approx([max(up, down)], abs=0.01)
    assert found["two"]["prob_de"] == pytest.approx([up + down], abs=0.01)
    one = found["three"]
    assert one["lfc_mean"] == pytest.approx([shift], abs=0.01) and one["lfc_median"] == pytest.approx([shift], abs=0.02)
    assert one["lfc_sd"] == pytest.approx([change.std()], rel=0.02)
    for level in (0.5, 0.9):                                            # the shortest interval of a normal is central
        ends = [one[f"lfc_{end}_{level}"][0] for end in ("low", "high")]
        assert ends == pytest.approx(change.interval(level), abs=0.15)
        assert ends[1] - ends[0] == pytest.approx(np.ptp(change.interval(level)), rel=0.03)
    assert bayes.vanilla(first, second)["prob_m1"] == pytest.approx([change.sf(0)], abs=0.01)


def test_a_gene_that_varies_alike_in_both_sets():
    rng = np.random.default_rng(1)
    first, second = log_normal(0, 3, 20000, rng), log_normal(0, 3, 20000, rng)
    ask = {"delta": 0.25, "pseudocounts": 0.0}
    assert bayes.change(first, second, **ask)["prob_de"] < 0.52
    assert bayes.change(first, second, **ask, test_mode="two")["prob_de"] > 0.9


def test_pseudocounts_hide_changes_far_below_them_but_not_their_size():
    rng = np.random.default_rng(2)
    first, second = 1e-8 * log_normal(3, 0.1, 1000, rng), 1e-8 * log_normal(0, 0.1, 1000, rng)
    bare = bayes.change(first, second, delta=0.25, pseudocounts=0.0)
    hidden = bayes.change(first, second, delta=0.25, pseudocounts=1e-5)
    assert bare["prob_de"] == 1 and hidden["prob_de"] == 0
    assert hidden["lfc_mean"] == pytest.approx(np.log2(9 / 2), abs=0.05)       # a thousandth of it is added: 1e-8


def test_samples_that_underflow_to_zero_stay_finite():
    first, second = np.zeros((5, 1), dtype=np.float32), np.full((5, 1), 1e-3, dtype=np.float32)
    for pseudocounts in (0.0, 1e-10, 1e-5):
        found = bayes.change(first, second, delta=0.25, pseudocounts=pseudocounts, levels=(0.9,))
        assert all(np.isfinite(values).all() for values in found.values())
        assert found["prob_de"] == 1


def test_highest_density_against_all_intervals():
    samples = np.sort(np.random.default_rng(3).gamma(1.5, size=(3, 101)), axis=1)
    low, high = bayes.highest_density(samples, 0.8)
    for row, a, b in zip(samples, low, high, strict=True):
        assert ((row >= a) & (row <= b)).sum() == 81                    # floor(0.8 n) steps: one more sample
        assert b - a == min(row[i + 80] - row[i] for i in range(21))


@pytest.mark.parametrize("level", [1e-9, 1 - 1e-9])
def test_extreme_levels(level):
    samples = np.arange(4.0)[None, :]
    low, high = bayes.highest_density(samples, level)
    assert 0 <= low[0] <= high[0] <= 3


def test_pseudocounts_by_hand():
    maxima = np.array([0.5, 1e-4, 3e-4]), np.array([0.6, 2e-4, 1e-4])
    means = np.array([5.0, 0.001, 0.0]), np.array([4.0, 0.5, 0.009])
    # the first set has two genes hardly seen: 0.9 quantile 1e-4 + 0.9 x 2e-4; the second has one: 1e-4
    assert bayes.pseudocounts_of(maxima, means, 0.01) == pytest.approx(2.8e-4 / 3)
    assert bayes.pseudocounts_of(maxima, (means[0] + 1, means[1] + 1), 0.01) == 1e-10


def test_own_functions_of_change():
    def difference(first, second, pseudocounts):
        return first - second

    def upward(changes):
        return changes > 0.01, np.zeros_like(changes, dtype=bool)

    found = bayes.change(FIRST, SECOND, delta=0.25, pseudocounts=0.0, change_fn=difference, m1_domain_fn=upward)
    np.testing.assert_allclose(found["prob_de"], (FIRST - SECOND > 0.01).mean(0))
    np.testing.assert_allclose(found["lfc_mean"], (FIRST - SECOND).mean(0))


def test_mixture_means_of_three_groups():
    rng = np.random.default_rng(4)
    values = np.concatenate([rng.normal(mean, 0.2, 700) for mean in (-2, 0, 1.5)])
    np.testing.assert_allclose(mixture_means(values), [-2, 0, 1.5], atol=0.05)
    assert bayes.delta_of(values) == pytest.approx(0.6 * 1.75, abs=0.03)
    assert bayes.delta_of(0.001 * values) == 0.1                        # its floor


def test_mixture_means_as_scikit_learn_finds_them():
    mixture = pytest.importorskip("sklearn.mixture")
    for seed in range(6):
        rng = np.random.default_rng(seed)
        values = np.concatenate([rng.normal(0, 0.1, 1500), rng.normal(1.2, 0.4, 200), rng.normal(-1.5, 0.5, 150)])
        theirs = mixture.GaussianMixture(3, random_state=seed).fit(values[:, None])
        np.testing.assert_allclose(mixture_means(values), np.sort(theirs.means_.ravel()), atol=0.06)


def test_too_few_genes_for_a_mixture():
    with pytest.raises(SettingError, match="cannot be estimated from 2 genes"):
        bayes.delta_of(np.array([0.1, 0.2]))
    assert bayes.delta_of(np.zeros(5)) == 0.1
