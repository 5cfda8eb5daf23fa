"""References that scvi-tools trained: new cells get the registry that it gives them, and the reference stays."""

from pathlib import Path

import numpy as np
import pytest
from examples import options
from queries import answers, equal, with_registry

from latome.backend import torch
from latome.data.registry import open_data
from latome.data.sources import read_h5ad
from latome.fit import train
from latome.io import scvi_tools
from latome.surgery import learns, map_query

CASE = Path(__file__).resolve().parents[1] / "fixtures" / "scvi_query"


@pytest.fixture(scope="module")
def opened():
    """(reference, its data, AnnData of the query) of the case."""
    fit = scvi_tools.read(CASE / "model_ref")
    data = open_data(read_h5ad(CASE / "model_ref" / "adata.h5ad"), registry=fit.registry)
    return fit, data, read_h5ad(CASE / "model" / "adata.h5ad")


def test_registry_and_shapes_are_those_of_scvi_tools(opened):
    fit, _, query = opened
    theirs = scvi_tools.read(CASE / "model_init")
    mapped, _ = map_query(fit, query[:, ::-1].copy())
    assert mapped.registry == theirs.registry
    ours, peers = mapped.module.state_dict(), theirs.module.state_dict()
    assert {name: value.shape for name, value in ours.items()} == {name: value.shape for name, value in peers.items()}
    for name, n in mapped.held.items():
        assert torch.equal(ours[name][:n] if ours[name].dim() else ours[name],
                           peers[name][:n] if ours[name].dim() else peers[name]), name
    grown = {name for name, n in mapped.held.items() if n is not None}
    assert grown == {f"{network}.hidden.linears.{i}.tables.0" for network in ("encoder", "decoder") for i in range(2)}


def test_it_stays_bit_equal_while_the_query_is_trained(opened):
    fit, data, query = opened
    before = answers(fit, data)
    mapped, cells = map_query(fit, query)
    assert learns(mapped)
    train(mapped, cells, options(max_epochs=10))
    assert equal(answers(mapped, with_registry(data, mapped)), before)
    assert np.isfinite(mapped.history.last("elbo_train"))
