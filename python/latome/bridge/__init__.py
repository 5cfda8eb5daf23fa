"""What R calls. Every answer is a plain dict; errors are values, nothing is printed, nothing raises.

A model crosses as two things: `document`, a JSON text, and `weights`, safetensors bytes. Questions about cells take
them, an AnnData made by `anndata`, a dict of `options` and a seed.
"""

from latome.bridge.blocks import close, next_block
from latome.bridge.criticism import predictive_check
from latome.bridge.density import aggregated_posterior, differential_abundance
from latome.bridge.differential import differential_expression
from latome.bridge.engine import anndata, select_genes, status
from latome.bridge.expression import expression_blocks, normalized_expression
from latome.bridge.files import describe, read_model, write_model
from latome.bridge.predictive import (
    feature_correlation,
    latent_library_size,
    likelihood_parameters,
    posterior_samples,
)
from latome.bridge.questions import (
    batch_representation,
    elbo,
    latent,
    latent_moments,
    marginal_blocks,
    reconstruction_error,
)
from latome.bridge.steps import proceed
from latome.bridge.training import advance, finish, start

__all__ = ["advance", "aggregated_posterior", "anndata", "batch_representation", "close", "describe",
           "differential_abundance", "differential_expression", "elbo", "expression_blocks", "feature_correlation",
           "finish", "latent", "latent_library_size", "latent_moments", "likelihood_parameters",
           "marginal_blocks", "next_block", "normalized_expression", "posterior_samples", "predictive_check", "proceed",
           "read_model", "reconstruction_error", "select_genes", "start", "status", "write_model"]
