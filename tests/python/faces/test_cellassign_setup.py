"""Set-up of CellAssign on markers alone: a cell may have no counts of them when its size is told."""

import anndata
import numpy as np
import pandas as pd
import pytest

from latome.errors import FieldError
from latome.external import CellAssign


def marked():
    counts = np.array([[3, 0], [0, 2], [0, 0], [1, 0], [0, 4], [2, 0]], dtype=np.float32)
    obs = pd.DataFrame({"size": [1.0, 0.5, 1.5, 1.0, 1.0, 1.0]}, index=[f"c{i}" for i in range(6)])
    return anndata.AnnData(counts, obs=obs, var=pd.DataFrame(index=["a", "b"]))


def test_cells_without_marker_counts_are_kept_when_their_size_is_told():
    data = marked()
    CellAssign.setup_anndata(data, size_factor_key="size")
    with pytest.warns(UserWarning, match="1 cells have no counts"):
        model = CellAssign(data, pd.DataFrame({"x": [1, 0], "y": [0, 1]}, index=["a", "b"]))
    model.train(max_epochs=1, accelerator="cpu", early_stopping=False, enable_progress_bar=False)
    assert list(model.predict().index) == list(data.obs_names) and np.isfinite(model.predict().to_numpy()).all()


def test_cells_without_counts_are_refused_when_counts_are_their_size():
    with pytest.raises(FieldError, match="no counts"):
        CellAssign.setup_anndata(marked())
