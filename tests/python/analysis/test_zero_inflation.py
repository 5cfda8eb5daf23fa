"""The table of zero inflation against scipy's Beta distribution."""

import numpy as np
import pytest
import scipy.stats as st
from examples import opened, untrained

from latome.analysis.zero_inflation import zero_inflation
from latome.errors import QueryError
from latome.modules.autozi import AutoziSettings

COLUMNS = ["alpha", "beta", "prob_zero_inflated", "is_zero_inflated"]


@pytest.mark.parametrize(("by", "role"), [("gene", None), ("gene-batch", "batch"), ("gene-label", "labels")])
def test_the_table(by, role):
    fitted = untrained(opened(labels="cell_type"), AutoziSettings(n_hidden=12, n_latent=3, zero_inflation=by))
    table = zero_inflation(fitted.module, fitted.registry)
    column = by.removeprefix("gene").removeprefix("-")
    assert list(table) == ["gene", *([column] if column else []), *COLUMNS]
    names = fitted.registry.categories[role] if role else [None]
    assert list(table["gene"]) == [gene for gene in fitted.registry.genes for _ in names]
    logits = {name: getattr(fitted.module, f"{name}_logit").detach().double().numpy() for name in ("alpha", "beta")}
    for place, row in table.iterrows():
        gene = fitted.registry.genes.index(row["gene"])
        where = gene if role is None else (names.index(row[column]), gene)
        alpha, beta = (1 / (1 + np.exp(-logits[name][where])) for name in ("alpha", "beta"))
        probability = st.beta.cdf(0.5, alpha, beta)
        np.testing.assert_allclose([row["alpha"], row["beta"], row["prob_zero_inflated"]], [alpha, beta, probability],
                                   rtol=1e-5, err_msg=str(place))
        assert row["is_zero_inflated"] == (probability > 0.5)


def test_other_models_do_not_decide():
    fitted = untrained()
    with pytest.raises(QueryError, match="scVI does not decide"):
        zero_inflation(fitted.module, fitted.registry)
