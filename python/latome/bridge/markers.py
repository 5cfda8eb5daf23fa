"""CellAssign, trained on the markers that R sends."""

import numpy as np
import pandas as pd

from latome.bridge.answers import answers, as_list, given
from latome.bridge.training import begun, roles
from latome.compose.cellassign import for_markers
from latome.fit import check_seed
from latome.training.options import TrainingOptions

__all__ = ["start_markers"]


@answers
def start_markers(data, genes, types, matrix, settings, columns, options, seed, allow_noninteger=False):
    """A trainer of CellAssign, as `start` gives one; `matrix` is of genes x types, row by row, 1 for a marker."""
    genes, types = as_list(genes), as_list(types)
    markers = pd.DataFrame(np.asarray(matrix).reshape(len(genes), len(types)), index=genes, columns=types)
    fit, dataset = for_markers(data, markers, roles(columns), settings=given(settings), seed=check_seed(seed),
                               allow_noninteger=bool(allow_noninteger))
    return begun(fit, dataset, TrainingOptions.make(**dict(options or {})))
