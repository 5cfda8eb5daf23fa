"""Jobs: folders that R writes for another machine to run, and reads back."""

import numpy as np
import pandas as pd

from latome.bridge.answers import answers, as_list, columns_of, given, told, unpacked
from latome.bridge.training import roles
from latome.io import archive
from latome.jobs import folder as jobs

__all__ = ["read_job", "write_job"]


@answers
def write_job(data, folder, kind, settings, columns, options, seed, allow_noninteger=False, groups=None, note=None,
              document=None, weights=None):
    """Write a job of an AnnData's cells; with a document and weights one that maps them onto that model."""
    model = None if document is None else unpacked(document, weights)
    job = jobs.write_job(data, folder, kind, dict(settings or {}), roles(columns) if model is None else None,
                         dict(options or {}), model=model, seed=seed, allow_noninteger=bool(allow_noninteger),
                         groups=as_list(groups), note=given(note))
    return {"folder": str(job.folder), "verb": job.verb, "n_cells": job.n_cells, "n_genes": job.n_genes}


@answers
def read_job(folder):
    """The results of a job: model, summary, names of the cells and their latent, the table of genes if there is one."""
    job = jobs.Job.open(folder)
    fit, cells, z = job.results()
    document, weights = archive.pack(fit)
    table = job.folder / jobs.TABLE
    found = pd.read_csv(table, float_precision="round_trip", dtype={"gene": str, "group1": str, "group2": str},
                        na_values={}, keep_default_na=False) if table.exists() else None
    return {"document": document, "weights": bytearray(weights), "latent": np.asfortranarray(z, dtype=np.float64),
            "cells": cells, "verb": job.verb, "note": job.note, **told(fit, z),
            "table": None if found is None else columns_of(numbers(found))}


def numbers(table):
    """A table of which all but the names are numbers; empty is not a number."""
    names = ("gene", "group1", "group2", "comparison")
    return table.assign(**{name: pd.to_numeric(table[name]) for name in table
                           if name not in names and table[name].dtype == object})
