"""The rows of the table of speeds: what is measured on which counts, and what it must and aims to reach.

Every figure is smaller-is-better (seconds, seconds a cell, bytes); the ratio is theirs / ours, round by round.
"""

from dataclasses import dataclass, field, replace

__all__ = ["ROWS", "Counts", "Goal", "Row", "rows_named", "smaller"]


@dataclass(frozen=True)
class Counts:
    """Simulated counts: their size, the share kept from both sides for the ELBO, and covariates beside the batch."""

    cells: int = 20000
    genes: int = 2000
    types: int = 8
    categorical: int = 0
    continuous: int = 0
    kept: float = 0.1


@dataclass(frozen=True)
class Goal:
    """A figure that is compared, in words, with the ratios it must and aims to reach; None: shown, not judged.

    `shown` is how the sides' medians read: "cells/s" (of seconds a cell), "s", "MB" (of bytes).
    """

    figure: str
    must: float | None
    aim: float | None
    shown: str = "s"
    words: str = ""


@dataclass(frozen=True)
class Row:
    """One benchmark.

    Arguments
    ---------
    name : of its file of results, and for --rows.
    what : in words, for the table.
    measure : which function of measures.py runs it.
    goals : what it must reach.
    counts : what it is measured on.
    options : arguments of that function; see there.
    environment : variables of our worker's environment.
    needs : instruction sets of which the processor must have one.
    most : rounds at most; a figure of memory hardly changes from round to round.
    sides : ours, theirs.
    """

    name: str
    what: str
    measure: str
    goals: tuple
    counts: Counts = Counts()
    options: dict = field(default_factory=dict)
    environment: dict = field(default_factory=dict)
    needs: tuple = ()
    most: int | None = None
    sides: tuple = ("latome", "scvi-tools")


def rate(must, aim):
    return (Goal("seconds a cell", must, aim, "cells/s"),)


def seconds(must, aim):
    return (Goal("seconds", must, aim),)


def asked(method, **arguments):
    return {"method": method, "arguments": arguments}


COVARIATES = Counts(8000, 4000, categorical=2, continuous=10)
TABLE = Counts(8000, 2000, types=6, kept=0.05)         # for tables of differential expression
FEW = Counts(4000, 2000, types=4, kept=0.05)
ON_DISK = Counts(20000, 2000, kept=0.01)

ROWS = (
    Row("zinb", "scVI zinb, batch 128", "train", rate(4.5, 8)),
    Row("nb", "scVI nb, batch 128", "train", rate(5.5, 9), options={"likelihood": "nb"}),
    Row("bf16", "scVI zinb, bfloat16 products", "train", rate(6.5, 11), options={"products": "bfloat16"},
        needs=("amx_bf16", "avx512_bf16")),
    Row("batch_1024", "scVI zinb, batch 1,024", "train", rate(5.5, 9), options={"batch_size": 1024}),
    Row("covariates", "10 continuous + 2 categorical covariates", "train", rate(4, 8), COVARIATES, {"epochs": 1}),
    Row("not_compiled", "scVI zinb, no compiled code", "train", rate(1.8, 2.5), environment={"LATOME_KERNELS": "off"}),
    Row("genes_200", "200 genes", "train", rate(5, 9), Counts(20000, 200)),
    Row("genes_20000", "20,000 genes", "train", rate(4.5, 7), Counts(4000, 20000), {"epochs": 1}),
    Row("latent", "latent", "question", seconds(3, 5), options=asked("get_latent_representation")),
    Row("expression", "normalized expression", "question", seconds(3, 5),
        options=asked("get_normalized_expression", return_numpy=True)),
    Row("elbo", "ELBO", "question", seconds(5, 8), options=asked("get_elbo")),
    Row("marginal", "marginal likelihood", "question", seconds(5.5, 9),
        options=asked("get_marginal_ll", indices=list(range(500)), n_mc_samples=100)),
    Row("de", "differential expression, all groups", "question", seconds(5, 10), TABLE,
        asked("differential_expression", groupby="cell_type", mode="change", silent=True)),
    Row("de_batch", "differential expression, all groups, batch-corrected", "question", seconds(10, 20), FEW,
        asked("differential_expression", groupby="cell_type", mode="change", batch_correction=True, silent=True)),
    Row("read_gzip", "reading gzip h5ad, shuffled minibatches", "reading", rate(20, 50), ON_DISK,
        {"compression": "gzip", "theirs": 6}),
    Row("read_plain", "reading plain h5ad, shuffled minibatches", "reading", rate(10, 18), ON_DISK,
        {"compression": None, "theirs": 30}),
    Row("start", "start-up: a fresh process to the end of the first epoch, 2,000 cells", "fresh",
        (Goal("seconds", 2, 4, words="time"), Goal("resident", 1 / 0.6, 1 / 0.4, "MB", "resident memory at its end"),
         Goal("peak", None, None, "MB", "peak resident memory")), Counts(2000, 2000, kept=0.0)),
    Row("quality", "wall time to the default recipe's quality, preset \"fast\"", "quality", seconds(8, 30),
        options={"data": "pbmc_3batch"}),
    Row("memory", "peak memory over start, 80k cells in memory", "fresh", (Goal("over", 1, 2, "MB"),),
        Counts(80000, 2000, kept=0.0), {"flags": ["warm"]}, most=3),
    Row("from_r", "the same training driven from R, against from Python", "from_r",
        (Goal("training", 0.9, 1.0, words="training"), Goal("seconds", 0.9, 1.0, words="from object to object")),
        Counts(20000, 2000, kept=0.0), {"epochs": 8}, sides=("R", "Python")),
    Row("conversion", "conversion from Seurat, against the transposing expression", "conversion", seconds(10, 20),
        options={"cells": 20000, "genes": 2000, "nonzeros": 2_000_000}, sides=("latome", "transposing")),
    Row("growth", "growth with the number of cells", "growth", (), Counts(20000, 2000, kept=0.0),
        {"sizes": [5000, 10000, 20000, 50000, 100000, 200000], "cells": 200000}, most=1, sides=("latome",)),
)


def rows_named(names=None):
    """The rows of a comma-separated list of names, in the order of the table; None for all.

    Raises ValueError for a name that there is not.
    """
    if names is None:
        return list(ROWS)
    wanted, known = [name.strip() for name in names.split(",")], [row.name for row in ROWS]
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise ValueError(f"There is no row {', '.join(unknown)}. Rows: {', '.join(known)}.")
    return [row for row in ROWS if row.name in wanted]


def smaller(row):
    """The same row with so little work that it only shows that it runs."""
    counts = replace(row.counts, cells=min(row.counts.cells, 1200), genes=max(100, row.counts.genes // 10),
                     kept=min(1, row.counts.kept * 2))
    options = dict(row.options)
    options |= {"epochs": 1} if "epochs" in options else {}
    options |= {"sizes": [600, 1200], "cells": 1200} if "sizes" in options else {}
    options |= {"data": None} if "data" in options else {}
    options |= {"cells": 1000, "genes": 200, "nonzeros": 10000} if "nonzeros" in options else {}
    return replace(row, counts=counts, options=options)
