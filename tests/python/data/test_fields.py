"""Columns become codes: which categories there are, in which order, and what is refused."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from examples import small_data

from latome.data.fields import Columns, categories_of, continuous_values, encode, obsm_values
from latome.errors import FieldError

NA = np.nan

#: column of six cells, expected categories, expected codes
ENCODED = {
    "text": (list("bacabc"), ["a", "b", "c"], [1, 0, 2, 0, 1, 2]),
    "factor with an order of its own and an unused level": (
        pd.Categorical(list("bacabc"), categories=list("zcba")), ["a", "b", "c"], [1, 0, 2, 0, 1, 2]),
    "ordered factor": (pd.Categorical(list("bacabc"), categories=list("cba"), ordered=True),
                       ["a", "b", "c"], [1, 0, 2, 0, 1, 2]),
    "whole numbers sort as numbers": ([10, 9, 2, 2, 10, 9], ["2", "9", "10"], [2, 1, 0, 0, 2, 1]),
    "whole floats lose their point": ([1.0, 2.0, 1.0, 10.0, 2.0, 1.0], ["1", "2", "10"], [0, 1, 0, 2, 1, 0]),
    "fractions keep it": ([0.5, 1.5, 0.5, 1.5, 0.5, 0.5], ["0.5", "1.5"], [0, 1, 0, 1, 0, 0]),
    "fractions of float32": (np.array([0.1, 0.2, 0.1, 0.2, 0.1, 0.1], np.float32), ["0.1", "0.2"], [0, 1, 0, 1, 0, 0]),
    "logical": ([True, False, True, True, False, False], ["False", "True"], [1, 0, 1, 1, 0, 0]),
    "nullable whole numbers": (pd.array([3, 1, 3, 1, 1, 3], dtype="Int64"), ["1", "3"], [1, 0, 1, 0, 0, 1]),
    "nullable text": (pd.array(list("bababa"), dtype="string"), ["a", "b"], [1, 0, 1, 0, 1, 0]),
    "1 and 1.0 are one category": (pd.array([1, 1.0, 2, 2.0, 1, 2], dtype=object), ["1", "2"], [0, 0, 1, 1, 0, 1]),
    "1 and '1' too": (pd.array([1, "1", "b", "b", 1, 1.0], dtype=object), ["1", "b"], [0, 0, 1, 1, 0, 0]),
    "mixed types sort as text": (pd.array([2, "b", "a", "b", 2, 10], dtype=object), ["10", "2", "a", "b"],
                                 [1, 3, 2, 3, 1, 0]),
    "one category": (["x"] * 6, ["x"], [0] * 6),
}


def table(values):
    return pd.DataFrame({"column": values}, index=[f"cell{i}" for i in range(6)])


@pytest.mark.parametrize("name", ENCODED)
def test_categories_and_codes(name):
    values, categories, codes = ENCODED[name]
    obs = table(values)
    assert categories_of(obs, "column", "batch") == categories
    found = encode(obs, "column", "batch", categories)
    assert found.tolist() == codes and found.dtype == np.int64


def test_a_file_brings_text_where_memory_had_numbers():
    """Category names are text, so the registry of numbers knows the same column read as text."""
    known = categories_of(table([1, 2, 10, 1, 2, 10]), "column", "batch")
    for values in (list("121212"), [1.0, 2.0] * 3, pd.Categorical(["2", "1"] * 3), [2, 1] * 3):
        found = encode(table(values), "column", "batch", known)
        assert [known[code] for code in found] == [str(v).removesuffix(".0") for v in values]


@pytest.mark.parametrize(("values", "unlabeled", "categories", "codes"), [
    (list("abcabc"), "b", ["a", "c"], [0, -1, 1, 0, -1, 1]),
    ([1, -1, 2, 1, -1, 2], -1, ["1", "2"], [0, -1, 1, 0, -1, 1]),
    ([1.0, -1.0, NA, 1.0, -1.0, 2.0], "-1", ["1", "2"], [0, -1, -1, 0, -1, 1]),
    (list("aaabbb"), "none", ["a", "b"], [0, 0, 0, 1, 1, 1]),
    (["none"] * 6, "none", [], [-1] * 6),
])
def test_a_value_that_stands_for_a_missing_one(values, unlabeled, categories, codes):
    obs, unlabeled = table(values), Columns(unlabeled=unlabeled).unlabeled
    assert categories_of(obs, "column", "labels", allow_missing=True, missing_as=unlabeled) == categories
    assert encode(obs, "column", "labels", categories, allow_missing=True, missing_as=unlabeled).tolist() == codes


@pytest.mark.parametrize("missing", [None, NA, pd.NA], ids=["None", "nan", "NA"])
def test_missing_values(missing):
    obs = table(pd.array(["a", missing, "b", missing, "a", "a"], dtype=object))
    with pytest.raises(FieldError, match="'column' has 2 missing values") as caught:
        categories_of(obs, "column", "batch")
    assert caught.value.field == "batch"
    with pytest.raises(FieldError, match="2 missing values"):
        encode(obs, "column", "batch", ["a", "b"])
    assert categories_of(obs, "column", "labels", allow_missing=True) == ["a", "b"]
    assert encode(obs, "column", "labels", ["a", "b"], allow_missing=True).tolist() == [0, -1, 1, -1, 0, 0]


def test_an_unseen_category_is_named_but_an_unused_level_is_not():
    values = pd.Categorical(list("aabbab"), categories=list("abz"))
    assert encode(table(values), "column", "batch", ["a", "b"]).tolist() == [0, 0, 1, 1, 0, 1]
    with pytest.raises(FieldError, match="not trained on: 'b'") as caught:
        encode(table(values), "column", "batch", ["a", "c"])
    assert "'a', 'c'" in caught.value.hint and "'z'" not in caught.value.problem


@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "uint8", "Int64", "Float64"])
def test_continuous_covariates_are_left_as_they_are(dtype):
    obs = table(pd.array([0, 1, 2, 3, 200, 5], dtype=dtype)).assign(other=[-0.5] * 6)
    found = continuous_values(obs, ("column", "other"))
    np.testing.assert_array_equal(found, [[v, -0.5] for v in (0, 1, 2, 3, 200, 5)])
    assert found.dtype == np.float32
    assert continuous_values(obs, ()).shape == (6, 0)


@pytest.mark.parametrize(("values", "message"), [
    (list("abcabc"), "not numeric"), ([True, False] * 3, "not numeric"), ([1, 2, NA, 4, 5, 6], "missing or infinite"),
    ([1, 2, np.inf, 4, 5, 6], "missing or infinite"), (pd.array([1, None, 2, 3, 4, 5], dtype="Int64"), "missing or"),
    (pd.Categorical([1, 2, 3, 1, 2, 3]), "not numeric"), ([1e300, 2, 3, 4, 5, 6], "missing or infinite"),
])
def test_what_is_no_continuous_covariate(values, message):
    with pytest.raises(FieldError, match=message) as caught:
        continuous_values(table(values), ("column",))
    assert "'column'" in caught.value.problem and caught.value.hint


def test_roles_travel_as_plain_containers():
    columns = Columns("counts", "donor", "type", ["a", "b"], "age", [["proteins", "adt"]])
    assert columns.categorical == ("a", "b") and columns.continuous == ("age",)
    assert Columns.from_json(columns.to_json()) == columns
    assert Columns.from_json(Columns().to_json()) == Columns()
    assert Columns(categorical=pd.Index(["a", "b"]), continuous=None) == Columns(categorical=("a", "b"))


def test_two_columns_of_one_name():
    obs = pd.concat([table([1] * 6), table([2] * 6)], axis=1)
    with pytest.raises(FieldError, match="2 columns named 'column'"):
        categories_of(obs, "column", "batch")


@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix, lambda v: pd.DataFrame(v, columns=["p", "q"])],
                         ids=["array", "sparse", "table"])
def test_matrices_of_obsm(form):
    adata = small_data(5, 8)
    values = np.arange(10.0).reshape(5, 2)
    made = form(values)
    if isinstance(made, pd.DataFrame):
        made.index = adata.obs_names
    adata.obsm["adt"] = made
    found, names = obsm_values(adata, "adt")
    np.testing.assert_array_equal(found, values)
    assert found.dtype == np.float32 and names == (["p", "q"] if isinstance(made, pd.DataFrame) else ["0", "1"])
    with pytest.raises(FieldError, match="no matrix 'atd'") as caught:
        obsm_values(adata, "atd")
    assert "'adt'" in caught.value.hint
