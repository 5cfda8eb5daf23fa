"""What goes wrong in Python, in one table: what is done, which error, what it says is wrong, what to do."""

import re
import warnings

import anndata
import numpy as np
import pandas as pd
import pytest
from examples import SMALL, opened, options, small_data, trained, untrained

from latome.analysis.expression import normalized_expression
from latome.analysis.latent import latent
from latome.data.registry import Columns, open_data
from latome.errors import ArchiveError, FieldError, QueryError, SettingError, TrainingError
from latome.fit import fit, initialise, start
from latome.io import archive
from latome.model import SCVI
from latome.modules.scvi import ScviSettings
from latome.training.options import TrainingOptions


class Case:
    """What a bad input may be made from: an AnnData, and a folder."""

    def __init__(self, folder):
        self.folder = folder
        self.adata = small_data()
        self.registry = open_data(self.adata, Columns(batch="batch")).registry

    def with_counts(self, change):
        """The data with changed counts, opened."""
        x = self.adata.X.toarray().astype(np.float64)
        changed = change(x)
        return open_data(anndata.AnnData(x if changed is None else changed, self.adata.obs, self.adata.var))

    def with_column(self, values, name="column", **columns):
        """The data with another column, opened."""
        self.adata.obs[name] = values
        return open_data(self.adata, Columns(**columns))

    def open(self, **columns):
        return open_data(self.adata, Columns(**columns))

    def query(self, adata):
        return open_data(adata, registry=self.registry)

    def train(self, n=90, **given):
        data = opened(small_data(n))
        return start(untrained(data), data, options(**given))


def put(row, column, value):
    def change(x):
        x[row, column] = value
    return change


def some(values, missing=None):
    """90 values of a column, the first missing."""
    return pd.array([missing, *np.resize(values, 89)], dtype=object)


def gene_by_gene(case):
    case.adata.X = case.adata.X.tocsc()
    case.adata.write_h5ad(case.folder / "cells.h5ad")
    return open_data(anndata.read_h5ad(case.folder / "cells.h5ad", backed="r"))


def twice_named(case):
    case.adata.var_names = ["gene_1", *case.adata.var_names[:-1]]
    return open_data(case.adata)


def damaged(case):
    archive.save(untrained(), case.folder)
    path = case.folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:500])
    return SCVI.load(case.folder, adata=False)


def pickled(case):
    (case.folder / "model.safetensors").write_bytes(b"\x80\x04\x95\x0f\x00\x00\x00\x00\x00\x00\x00cposix\nsystem\n.")
    return archive.load(case.folder)


def other_class(case):
    class OTHER(SCVI):
        kind = "other"

    archive.save(untrained(), case.folder)
    return OTHER.load(case.folder, adata=False)


def unseen(case):
    case.adata.obs["batch"] = ["lab_9"] + ["batch_1"] * 89
    return case.query(case.adata)


def other_genes(case):
    data = open_data(case.adata[:, :20].copy(), Columns(batch="batch"))
    return start(initialise(SMALL, open_data(case.adata, Columns(batch="batch"))), data, options())


#: what is done, error, what is wrong, what to do
TABLE = {
    # counts
    "negative counts": (lambda c: c.with_counts(put(3, 4, -1)), FieldError, "X holds negative values", "layer of raw"),
    "NaN": (lambda c: c.with_counts(put(3, 4, np.nan)), FieldError, "X holds missing or infinite", "Give raw counts"),
    "infinite": (lambda c: c.with_counts(put(0, 0, np.inf)), FieldError, "X holds missing or infinite", "raw counts"),
    "not whole": (lambda c: c.with_counts(np.log1p), FieldError, "not whole numbers", "layer of raw.*allow_noninteger"),
    "text": (lambda c: c.with_counts(lambda x: x.astype(str)), FieldError, "values of type <U.*, not numbers",
             "raw counts"),
    "an empty cell": (lambda c: c.with_counts(put(6, slice(None), 0)), FieldError,
                      r"1 cells have no counts in the 30 genes used \(the first is cell 7\)", "Remove these cells"),
    "no cells": (lambda c: open_data(c.adata[:0].copy()), FieldError, "0 cells and 30 genes", "at least one"),
    "no genes": (lambda c: open_data(c.adata[:, :0].copy()), FieldError, "90 cells and 0 genes", "at least one"),
    "selected genes without counts": (
        lambda c: open_data(anndata.AnnData(np.eye(90, 30) + np.eye(90, 30, -30) + np.eye(90, 30, -60)), genes=["4"]),
        FieldError, "87 cells have no counts in the 1 genes used", "use more genes"),
    "no X": (lambda c: open_data(anndata.AnnData(obs=c.adata.obs, var=c.adata.var)), FieldError, "no X",
             "Name the layer"),
    "a wrong layer": (lambda c: c.open(layer="raw"), FieldError, "no layer 'raw'", "There is none"),
    "a file written gene by gene": (gene_by_gene, FieldError, "gene by gene", r"adata.to_memory\(\)"),
    "a table, not an AnnData": (lambda c: SCVI.setup_anndata(c.adata.to_df()), FieldError,
                                "type DataFrame, not AnnData",
                                "read_h5ad"),
    "a path, not an AnnData": (lambda c: SCVI.setup_anndata("cells.h5ad"), FieldError, "type str, not AnnData",
                               "read_h5ad"),
    # genes
    "gene names twice": (twice_named, FieldError, "1 gene names occur more than once, such as 'gene_1'",
                         "var_names_make_unique"),
    "unknown genes": (lambda c: open_data(c.adata, genes=["gene_1", "CD4", "CD8"]), FieldError,
                      "2 of 3 genes are not in the data: 'CD4', 'CD8'", "genes such as 'gene_1'"),
    "a gene asked for twice": (lambda c: open_data(c.adata, genes=["gene_1", "gene_1"]), FieldError,
                               "names some twice", "once"),
    "no gene asked for": (lambda c: open_data(c.adata, genes=[]), FieldError, "list of genes is empty", "Leave it out"),
    # columns
    "a column that is not there": (lambda c: c.open(batch="bacth"), FieldError, "no column 'bacth'",
                                   "Did you mean 'batch'"),
    "a missing batch": (lambda c: c.with_column(some(list("ab")), batch="column"), FieldError,
                        "'column' has 1 missing values", "remove those cells"),
    "cell names for a batch": (lambda c: c.with_column(list(c.adata.obs_names), batch="column"), FieldError,
                               "'column' has 90 categories for 90 cells", "a cell name"),
    "a number for a categorical covariate": (lambda c: c.open(categorical=("age",)), FieldError,
                                             "'age' has 90 categories", "continuous covariates"),
    "text for a continuous covariate": (lambda c: c.open(continuous=("kit",)), FieldError,
                                        "'kit' is of type .*, not numeric",
                                        "categorical covariate"),
    "a missing continuous value": (lambda c: c.with_column([np.nan] + [1.5] * 89, continuous=("column",)), FieldError,
                                   "'column' has missing or infinite", "Fill them in"),
    "a covariate twice": (lambda c: c.open(categorical=("kit", "kit")), FieldError, "the same column twice: kit, kit",
                          "once"),
    "the batch as a covariate too": (lambda c: c.open(batch="batch", categorical=("batch",)), FieldError,
                                     "'batch' is given two roles", "once"),
    "a category taken for a number too": (
        lambda c: c.with_column([1.5, 2.5] * 45, categorical=("column",), continuous=("column",)), FieldError,
        "'column' is given two roles", "once"),
    "a covariate called batch": (lambda c: c.open(batch="kit", categorical=("batch",)), FieldError,
                                 "cannot be called 'batch'", "Rename"),
    "a position for a column": (lambda c: c.open(batch=1), FieldError, "no column '1'", "There is 'cell_type'"),
    # questions
    "a category the model never saw": (unseen, FieldError, "not trained on: 'lab_9'", "Known: 'batch_1', 'batch_2'"),
    "a query without its batch": (lambda c: c.query(anndata.AnnData(c.adata.X, var=c.adata.var)), FieldError,
                                  "no column 'batch'", "There is none"),
    "genes missing from a query": (lambda c: c.query(c.adata[:, 2:].copy()), QueryError,
                                   "2 of 30 genes are not in the data: 'gene_1', 'gene_2'",
                                   "each gene it was trained on"),
    "a mask of another length": (lambda c: latent(untrained().module, opened(), indices=np.ones(3, bool)), QueryError,
                                 "3 entries for 90 cells", "one for each cell"),
    "a row that is not there": (lambda c: latent(untrained().module, opened(), indices=[90]), QueryError,
                                "outside 0 to 89", "count from 0"),
    "an unknown batch to decode": (lambda c: normalized_expression(untrained().module, opened(), transform_batch="x"),
                                   QueryError, "no batch 'x'", "There is 'batch_1'"),
    "data of other genes": (other_genes, QueryError, "not opened against this model", "registry=fit.registry"),
    # settings
    "no latent": (lambda c: ScviSettings.make(n_latent=0), SettingError, "`n_latent` cannot be 0", "at least 1"),
    "half a latent": (lambda c: ScviSettings.make(n_latent=2.5), SettingError, "a whole number, not 2.5", "at least 1"),
    "an unknown setting": (lambda c: ScviSettings.make(n_laten=3), SettingError, "no setting 'n_laten'",
                           "Did you mean 'n_latent'"),
    "an unknown likelihood": (lambda c: ScviSettings.make(gene_likelihood="zimb"), SettingError,
                              "`gene_likelihood` cannot be 'zimb'", "Did you mean 'zinb'"),
    "dispersion by label without labels": (lambda c: untrained(settings=ScviSettings(dispersion="gene-label")),
                                           FieldError,
                                           "'gene-label' needs labels", "Name the column"),
    "a model that does not exist": (lambda c: initialise("scvo", opened()), SettingError, "no model 'scvo'",
                                    "Known: scvi"),
    "a negative seed": (lambda c: untrained(seed=-1), SettingError, "`seed` cannot be -1", "at least 0"),
    "a text for a seed": (lambda c: untrained(seed="one"), SettingError, "`seed` must be a whole number, not 'one'",
                          "at least 0"),
    # training
    "more than the whole": (lambda c: TrainingOptions(train_size=1.5), SettingError, "`train_size` cannot be 1.5",
                            "at most 1"),
    "training and validation beyond the whole": (lambda c: TrainingOptions(train_size=0.9, validation_size=0.3),
                                                 SettingError,
                                                 "more than the whole", "add up to at most 1"),
    "a minibatch of one": (lambda c: TrainingOptions(batch_size=1), SettingError, "`batch_size` cannot be 1",
                           "at least 3"),
    "two cells": (lambda c: c.train(2, train_size=1.0), TrainingError, "2 of 2 cells are left", "at least 3"),
    "early stopping without validation": (lambda c: c.train(train_size=1.0, early_stopping=True), SettingError,
                                          "no validation cells", "train_size below 1"),
    "a device that does not exist": (lambda c: c.train(device="cuda:63"), SettingError, "no device 'cuda:63'", "'cpu'"),
    "a device of no kind": (lambda c: c.train(device="gpux"), SettingError, "`device` cannot be 'gpux'",
                            "auto, cpu, cuda"),
    "a learning rate beyond reason": (lambda c: fit(SMALL, opened(), options(lr=1e9)), TrainingError,
                                      "infinite or NaN in epoch 1", "Lower the learning rate"),
    # files
    "a damaged file": (damaged, ArchiveError, "model.safetensors is damaged", "anew"),
    "a pickle under another name": (pickled, ArchiveError, "is damaged", "anew"),
    "a folder that is not there": (lambda c: archive.load(c.folder / "absent"), ArchiveError, "no folder",
                                   "Check the path"),
    "a folder without a model": (lambda c: archive.load(c.folder), ArchiveError, "holds no model.safetensors",
                                 "in which the model was saved"),
    "a model already there": (lambda c: [archive.save(untrained(), c.folder) for _ in range(2)], ArchiveError,
                              "already holds a model", "overwrite"),
    "a model of another class": (other_class, ArchiveError, "holds a scvi model, not other", "its own class"),
    # the object face
    "a model before its set-up": (lambda c: SCVI(c.adata), FieldError, "not set up for SCVI",
                                  r"SCVI.setup_anndata\(adata"),
    "a model without data": (lambda c: SCVI(), FieldError, "needs an AnnData", "setup_anndata"),
}


@pytest.mark.parametrize("name", TABLE)
def test_bad_input(name, tmp_path):
    act, error, problem, hint = TABLE[name]
    case = Case(tmp_path)
    with pytest.raises(error) as caught, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        act(case)
    assert type(caught.value) is error
    assert re.search(problem, caught.value.problem), caught.value.problem
    assert re.search(hint, caught.value.hint), caught.value.hint
    assert str(caught.value) == f"{caught.value.problem}\n{caught.value.hint}"


def test_an_untrained_model_warns_but_answers():
    adata = small_data()
    SCVI.setup_anndata(adata)
    with pytest.warns(UserWarning, match="has not been trained"):
        assert np.isfinite(SCVI(adata, n_hidden=12).get_latent_representation()).all()


def test_the_table_is_long_enough_and_good_input_passes(tmp_path):
    assert len(TABLE) >= 30
    case = Case(tmp_path)
    assert case.open(batch="batch", categorical=("kit",), continuous=("age",)).warnings == []
    assert case.query(case.adata).n_cells == 90 and trained(max_epochs=1).trained
