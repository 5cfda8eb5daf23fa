"""Cells of a set whose latent representation lies apart from the others'."""

import numpy as np

from latome.backend import torch
from latome.errors import QueryError

__all__ = ["without_outliers"]


def without_outliers(rows, z):
    """The rows (m',) of a set that lie within an ellipse that holds nine tenths of its cells.

    Arguments
    ---------
    rows : (m,) rows of the data.
    z : (m, k) the means of their latents.

    Sets of fewer than 2 k cells are too small to tell, and returned whole. Raises QueryError without scikit-learn.
    """
    try:
        from sklearn.covariance import EllipticEnvelope  # here: an optional package, and slow to load
    except ImportError as error:
        raise QueryError("filter_outlier_cells", problem="Finding outlier cells needs the package scikit-learn.",
                         hint="Install it with: pip install scikit-learn") from error
    if len(rows) < 2 * z.shape[1]:
        return rows
    seed = int(torch.randint(2**31, (1,)))
    return np.asarray(rows)[EllipticEnvelope(random_state=seed).fit_predict(z) == 1]
