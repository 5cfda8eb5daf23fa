"""Genes of new cells come into a model's order; what they lack is zero, and too little is refused with its cause."""

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from latome.errors import FieldError, QueryError
from latome.surgery import align_genes

GENES = ["CD3E", "CD4", "CD8A", "MS4A1", "LYZ", "GNLY"]


def cells(names, n=5, kind=sp.csr_matrix, seed=0):
    generator = np.random.default_rng(seed)
    counts = generator.poisson(1.0, (n, len(names))).astype(np.int32)
    adata = anndata.AnnData(kind(counts), var=pd.DataFrame({"chromosome": "1"}, index=names),
                            obs=pd.DataFrame({"batch": "q"}, index=[f"c{i}" for i in range(n)]))
    adata.layers["raw"] = kind(2 * counts)
    adata.obsm["X_pca"] = generator.normal(size=(n, 2))
    adata.uns["kept"] = 1
    return adata


@pytest.mark.parametrize("kind", [sp.csr_matrix, sp.csc_matrix, np.asarray])
@pytest.mark.parametrize("names", [["LYZ", "x", "CD4", "y", "CD3E", "CD8A"], GENES[::-1], ["GNLY", *GENES[:5], "z"]])
def test_each_count_is_at_its_gene(kind, names):
    adata = cells(names, kind=kind)
    before = adata.to_df().copy()
    aligned, share = align_genes(adata, GENES, min_overlap=0.5)
    assert share == np.isin(GENES, names).mean()
    assert list(aligned.var_names) == GENES and list(aligned.obs_names) == list(adata.obs_names)
    expected = before.reindex(columns=GENES, fill_value=0)
    pd.testing.assert_frame_equal(aligned.to_df(), expected, check_names=False, check_dtype=False)
    pd.testing.assert_frame_equal(aligned.to_df("raw"), 2 * expected, check_names=False, check_dtype=False)
    pd.testing.assert_frame_equal(adata.to_df(), before)
    assert sp.issparse(aligned.X) == sp.issparse(adata.X) and aligned.X.dtype == np.int32
    np.testing.assert_array_equal(aligned.obsm["X_pca"], adata.obsm["X_pca"])
    assert aligned.uns["kept"] == 1 and aligned.var["chromosome"].notna().tolist() == np.isin(GENES, names).tolist()


def test_genes_in_order_cost_nothing():
    adata = cells(GENES)
    assert align_genes(adata, GENES)[0] is adata


def test_counts_in_a_file_are_read(tmp_path):
    adata = cells(["LYZ", "x", "CD4", "CD3E"])
    adata.write_h5ad(tmp_path / "cells.h5ad")
    held = anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    aligned, share = align_genes(held, GENES)
    assert share == 0.5
    np.testing.assert_array_equal(aligned.to_df(), align_genes(adata, GENES)[0].to_df())


IDENTIFIERS = [f"ENSG{i:011d}" for i in range(6)]


@pytest.mark.parametrize(("names", "genes", "said"), [
    (["CD4", "x", "y"], GENES,
     r"1 of the model's 6 genes \(17%\); at least 50%.*'CD3E', 'CD8A', 'MS4A1' and more.*\n.*filtered"),
    (IDENTIFIERS, GENES, r"0 of the model's 6 genes.*\nThe model names genes by symbols, the data by identifiers"),
    (GENES, IDENTIFIERS, "identifiers, the data by symbols"),
    ([f"{name}.3" for name in IDENTIFIERS], IDENTIFIERS, "carry a version"),
    (["Cd3e", "Cd4", "Cd8a", "Ms4a1", "Lyz"], GENES, "upper and lower case"),
    (["HLA-A", "HLA-B"], ["HLA_A", "HLA_B"], "'_' and '-'"),
])
def test_too_few_genes_are_refused_with_the_cause(names, genes, said):
    with pytest.raises(QueryError, match=said):
        align_genes(cells(names), genes)


def test_a_column_that_holds_the_names_is_named():
    adata = cells(IDENTIFIERS)
    adata.var["symbol"] = pd.Categorical(GENES)
    with pytest.raises(QueryError, match="column 'symbol'"):
        align_genes(adata, GENES)


def test_no_gene_at_all_is_refused_whatever_is_asked():
    with pytest.raises(QueryError, match="0 of the model's 6"):
        align_genes(cells(["a", "b"]), GENES, min_overlap=0)


def test_a_gene_that_is_there_twice_is_refused():
    with pytest.warns(UserWarning, match="not unique"):
        adata = cells(["CD4", "CD4", "LYZ", "other"])
    with pytest.raises(FieldError, match="more than once, such as 'CD4'"):
        align_genes(adata, GENES, min_overlap=0)
