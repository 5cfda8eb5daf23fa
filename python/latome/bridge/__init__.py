"""What R calls. Every answer is a plain dict; errors are values, nothing is printed, nothing raises.

A model crosses as two things: `document`, a JSON text, and `weights`, safetensors bytes. Questions about cells take
them, an AnnData made by `anndata`, a dict of `options` and a seed.
"""

from latome.bridge.attributions import label_attributions
from latome.bridge.blocks import close, next_block
from latome.bridge.criticism import predictive_check
from latome.bridge.density import aggregated_posterior, differential_abundance
from latome.bridge.differential import differential_expression
from latome.bridge.doublets import finish_doublets, open_doublets, start_doublets
from latome.bridge.engine import anndata, select_genes, status
from latome.bridge.expression import expression_blocks, normalized_expression
from latome.bridge.files import describe, read_model, write_model
from latome.bridge.jobs import read_job, write_job
from latome.bridge.labels import label_probabilities
from latome.bridge.loadings import loadings
from latome.bridge.mapping import gene_overlap, start_mapping
from latome.bridge.markers import start_markers
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
from latome.bridge.reading import file_checksum, join_h5ad, read_h5ad
from latome.bridge.steps import proceed
from latome.bridge.store import (
    add_to_store,
    begin_store,
    discard_store,
    finish_store,
    open_store,
    part_of_store,
    part_of_stream,
    prepare_store,
    silent,
    store_columns,
)
from latome.bridge.training import advance, finish, start
from latome.bridge.zero_inflation import zero_inflation

__all__ = ["add_to_store", "advance", "aggregated_posterior", "anndata", "batch_representation", "begin_store", "close",
           "describe", "differential_abundance", "differential_expression", "discard_store", "elbo",
           "expression_blocks", "feature_correlation", "file_checksum", "finish", "finish_doublets", "finish_store",
           "gene_overlap", "join_h5ad", "label_attributions", "label_probabilities", "latent", "latent_library_size",
           "latent_moments", "likelihood_parameters", "loadings", "marginal_blocks", "next_block",
           "normalized_expression", "open_doublets", "open_store", "part_of_store", "part_of_stream",
           "posterior_samples", "predictive_check", "prepare_store", "proceed", "read_h5ad", "read_job", "read_model",
           "reconstruction_error", "select_genes", "silent", "start", "start_doublets", "start_mapping",
           "start_markers", "status", "store_columns", "write_job", "write_model", "zero_inflation"]
