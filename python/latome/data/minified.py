"""Minified data: what a model needs of cells once they are encoded, their counts left out or not."""

from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from latome.data.sources import closest, layer_names
from latome.errors import FieldError

__all__ = ["StoredPosterior", "minify", "stored_posterior"]

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


def minify(adata, z_mean, z_variance, totals, with_counts=False):
    """A new AnnData that remembers the posterior of each cell; `adata` is left as it is.

    Arguments
    ---------
    adata : AnnData of n cells.
    z_mean, z_variance : (n, k) of q(z | x).
    totals : (n,) library size of each cell.
    with_counts : keep the counts; otherwise X and layers are empty, of the same shape, and `raw` is left out.

    Sets, in the new object: `obsm["scvi_latent_qzm"]`, `obsm["scvi_latent_qzv"]`, `obs["observed_lib_size"]` and
    `uns["_scvi_adata_minify_type"]`, as scvi-tools reads and writes them.

    Raises FieldError when a value is missing, a variance or a total is not positive, or a shape does not fit.
    """
    stored = _checked(adata, z_mean, z_variance, totals, with_counts)
    if not with_counts:
        adata = _without_counts(adata)
    elif adata.isbacked:
        raise FieldError("adata", problem="The data are backed by a file, and cannot be copied with their counts.",
                         hint="Load them first, adata.to_memory(), or leave the counts out.")
    else:
        adata = adata.copy()
    adata.obsm[MEAN], adata.obsm[VARIANCE] = stored.mean, stored.variance
    adata.obs[TOTAL] = stored.totals.astype(np.float32)
    adata.uns[TYPE] = WITH if with_counts else WITHOUT
    return adata


def stored_posterior(adata):
    """The `StoredPosterior` of minified data, or None. Raises FieldError where a part is missing or damaged."""
    kind = adata.uns.get(TYPE)
    if kind is None:
        return None
    if str(kind) not in (WITHOUT, WITH):
        raise FieldError("adata", problem=f"The data are minified in a way that is not known: '{kind}'.",
                         hint=closest(kind, (WITHOUT, WITH)))
    for key, place, where in ((MEAN, adata.obsm, "obsm"), (VARIANCE, adata.obsm, "obsm"), (TOTAL, adata.obs, "obs")):
        if key not in place:
            raise FieldError("adata", problem=f"The data are minified, but `{where}` has no '{key}'.", hint=_ANEW)
    return _checked(adata, adata.obsm[MEAN], adata.obsm[VARIANCE], adata.obs[TOTAL], str(kind) == WITH)


_ANEW = "Minify the data again: model.minify_adata()."


def _checked(adata, mean, variance, totals, with_counts):
    n = adata.n_obs
    mean, variance = _numbers("means", mean), _numbers("variances", variance)
    totals = np.asarray(_numbers("library sizes", totals), dtype=np.float64).ravel()
    if mean.ndim != 2 or mean.shape != variance.shape or mean.shape[0] != n or mean.shape[1] == 0 or len(totals) != n:
        raise FieldError("adata", problem=f"The posterior of {n} cells has means of shape {mean.shape}, variances of "
                         f"shape {variance.shape} and {len(totals)} library sizes.",
                         hint="Means and variances are (cells, latents): "
                              "model.get_latent_representation(return_dist=True).")
    for name, values in (("variances", variance), ("library sizes", totals)):
        if not (values > 0).all():
            raise FieldError("adata", problem=f"The posterior has {name} that are not positive.", hint=_ANEW)
    return StoredPosterior(mean, variance, totals, with_counts)


def _numbers(name, values):
    """float32, all finite."""
    try:
        found = np.array(values, dtype=np.float32)
    except (TypeError, ValueError):
        found = np.array(np.nan)
    if not np.isfinite(found).all():
        raise FieldError("adata", problem=f"The {name} of the posterior are missing, infinite or no numbers.",
                         hint=_ANEW)
    return found


def _without_counts(adata):
    empty = sp.csr_matrix(adata.shape, dtype=np.float32)
    pairs = {name: {key: value.copy() for key, value in getattr(adata, name).items()}
             for name in ("obsm", "varm", "obsp", "varp")}
    made = type(adata)                                 # AnnData, which takes half a second to import
    return made(empty, adata.obs.copy(), adata.var.copy(), deepcopy(dict(adata.uns)), **pairs,
                layers={name: empty.copy() for name in layer_names(adata)})
