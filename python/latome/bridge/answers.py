"""How values cross the border: answers, errors, warnings, and what R sends for lists and absent values."""

import functools
import traceback
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from latome.data.registry import open_data
from latome.describe import describe_fit
from latome.errors import LatomeError, QueryError
from latome.fit import check_seed
from latome.io import archive
from latome.training.session import RandomStream, use_threads

__all__ = ["answers", "as_list", "asked", "columns_of", "doubts", "for_r", "given", "is_ctrl_c", "opened", "told",
           "triplet", "unpacked"]

INTERRUPT = {"ok": False, "kind": "Interrupt", "field": None, "problem": "Interrupted.", "hint": ""}
PACKAGE = Path(__file__).parents[1]
#: reticulate before 1.41 handles SIGINT by an R function; one Ctrl-C in seven comes out of it as this RuntimeError
CTRL_C_SEEN_BY_RETICULATE = "(Unknown exception occurred)"


def ours(caught):
    """Texts of the warnings that the engine itself gave, each once; those of the packages below are not for users."""
    texts = [str(one.message) for one in caught if Path(one.filename).is_relative_to(PACKAGE)]
    return list(dict.fromkeys(texts))


def is_ctrl_c(error):
    """Whether an exception is a Ctrl-C in disguise."""
    return str(error) == CTRL_C_SEEN_BY_RETICULATE


def answers(function):
    """Turn a function's dict, or its error, into an answer."""

    @functools.wraps(function)
    def answer(*args, **kwargs):
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", UserWarning)
                found = function(*args, **kwargs)
            return {"ok": True, **found, "warnings": [*found.get("warnings", []), *ours(caught)]}
        except LatomeError as error:
            return {"ok": False, "kind": type(error).__name__, "field": error.field, "problem": error.problem,
                    "hint": error.hint}
        except KeyboardInterrupt:
            return dict(INTERRUPT)
        except MemoryError:
            return {"ok": False, "kind": "MemoryError", "field": None, "problem": "The machine is out of memory.",
                    "hint": "Use fewer genes or cells, or a smaller batch_size."}
        except Exception as error:  # noqa: BLE001 (the border: whatever it is must reach R as a value)
            if is_ctrl_c(error):
                return dict(INTERRUPT)
            return {"ok": False, "kind": type(error).__name__, "field": None,
                    "problem": f"The engine failed: {type(error).__name__}: {error}",
                    "hint": "This is a defect of latome; please report it.", "trace": traceback.format_exc()}

    return answer


def given(values):
    """The entries of a dict that were given: not None."""
    return {name: value for name, value in dict(values or {}).items() if value is not None}


def as_list(value):
    """A list of str from what R may send for a character vector."""
    if value is None:
        return []
    return [value] if isinstance(value, str) else [str(v) for v in value]


def for_r(array):
    """An array with its axes reversed, (cells, genes) to (genes, cells), in R's order: no copy of one in C order."""
    return np.asfortranarray(np.asarray(array).T)


def triplet(csr):
    """The arrays of a CSR of cells x genes, which are those of a dgCMatrix of genes x cells."""
    csr.sort_indices()
    return {"x": csr.data.astype(np.float64), "i": csr.indices.astype(np.int32), "p": csr.indptr.astype(np.int32)}


def columns_of(table):
    """{column: values} of a data frame: arrays of numbers or of bool, lists of strings."""
    return {name: table[name].tolist() if table[name].dtype == object else table[name].to_numpy() for name in table}


def unpacked(document, weights):
    """The `Fit` of a document and weights."""
    return archive.unpack(document, bytes(weights))


def asked(document, weights, data):
    """(fit, `Dataset`) of a question."""
    fit = unpacked(document, weights)
    if data is None:
        raise QueryError("data", problem="There are no data to ask about.", hint="Give the object with its counts.")
    return fit, open_data(data, registry=fit.registry, allow_noninteger=True)


@contextmanager
def opened(document, weights, data, seed=0):
    """(fit, `Dataset`) to ask, with random numbers of their own."""
    fit, dataset = asked(document, weights, data)
    with RandomStream(check_seed(seed)).active(), use_threads():
        yield fit, dataset


def doubts(fit):
    """What makes a fit's answers doubtful, in words."""
    return [] if fit.trained else ["The model has not been trained: its answers mean nothing yet."]


def told(fit, z=None):
    """Summary and history of a fit."""
    return {"summary": describe_fit(fit, z), "history": fit.history.to_dict()}
