"""Minified data: what a model needs of cells once they are encoded, without their counts."""

from dataclasses import dataclass

import numpy as np

from latome.errors import FieldError

__all__ = ["StoredPosterior", "stored_posterior"]

TYPE = "_scvi_adata_minify_type"                       # of uns; these keys are those of scvi-tools: files are exchanged
MEAN, VARIANCE, TOTAL = "scvi_latent_qzm", "scvi_latent_qzv", "observed_lib_size"
WITHOUT, WITH = "latent_posterior_parameters", "latent_posterior_parameters_with_counts"


@dataclass(frozen=True)
class StoredPosterior:
    """What minified data remember.

    Arguments
    ---------
    mean, variance : (n, k) float32 of q(z | x).
    totals : (n,) float64, library sizes.
    with_counts : whether the data hold their counts too.
    """

    mean: np.ndarray
    variance: np.ndarray
    totals: np.ndarray
    with_counts: bool


def stored_posterior(adata):
    """The `StoredPosterior` of minified data, or None. Raises FieldError where a part is missing or damaged."""
    kind = adata.uns.get(TYPE)
    if kind is None:
        return None
    if kind not in (WITHOUT, WITH):
        raise FieldError("adata", problem=f"The data are minified in a way that is not known: {kind!r}.",
                         hint=f"Known: '{WITHOUT}', '{WITH}'.")
    mean, variance = (np.asarray(adata.obsm[key], dtype=np.float32) for key in (MEAN, VARIANCE))
    totals = adata.obs[TOTAL].to_numpy(dtype=np.float64)
    return StoredPosterior(mean, variance, totals, kind == WITH)
