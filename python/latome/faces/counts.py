"""Questions that all models of gene counts answer: expression, differential expression, simulation, likelihood."""

import warnings

import numpy as np
import pandas as pd

from latome.analysis.density import aggregated_posterior, differential_abundance
from latome.analysis.differential import comparisons_of, differential_expression
from latome.analysis.expression import normalized_expression
from latome.analysis.likelihood import elbo, elbo_terms, marginal_likelihood, reconstruction_error
from latome.analysis.predictive import (
    feature_correlation,
    latent_library_size,
    likelihood_parameters,
    posterior_predictive,
)
from latome.errors import QueryError
from latome.faces import mapping
from latome.faces.base import Model, refuse_loader, warn
from latome.faces.columns import like_scvi_tools

__all__ = ["CountModel"]


class CountModel(Model):
    """A model whose likelihood "x" is of gene counts."""

    default_mode = "vanilla"                           # of differential expression, as the interface has it

    @classmethod
    def load_query_data(
            cls, adata=None, reference_model=None, registry=None, inplace_subset_query_vars=False, accelerator="auto",
            device="auto", unfrozen=False, freeze_dropout=False, freeze_expression=True,
            freeze_decoder_first_layer=True, freeze_batchnorm_encoder=True, freeze_batchnorm_decoder=True,
            freeze_classifier=True, transfer_batch=True, datamodule=None):
        """A model for new cells, on a trained reference (scArches); then train it on them.

        Only weights of the categories that the new cells bring are trained, so the latent and the decoding of the
        reference stay as they are, bit for bit. A flag that is not left at its default (but freeze_dropout) frees
        weights of the reference; that voids this, with a warning. freeze_batchnorm_decoder is True here: False, the
        default of scvi-tools, lets the decoder's batch norms follow the new cells, and so changes the reference.

        Arguments
        ---------
        adata : AnnData of the new cells; set up for this class, or with the columns of the reference's set-up. Genes
            that it lacks count as zero; labels that it lacks are unlabeled ones.
        reference_model : a model, or the folder of one, ours or of scvi-tools.
        inplace_subset_query_vars : take genes that the reference does not have out of `adata` itself.
        unfrozen : train all weights.
        freeze_dropout : train without dropout.
        freeze_expression, freeze_decoder_first_layer : keep the first layer of encoder and decoder.
        freeze_batchnorm_encoder, freeze_batchnorm_decoder : keep the batch norms.
        freeze_classifier : keep the classifier of labels, where the model has one.

        Example
        -------
        >>> query = SCVI.load_query_data(adata, "reference_folder")
        >>> query.train(max_epochs=200, plan_kwargs={"weight_decay": 0.0})
        >>> adata.obsm["X_scvi"] = query.get_latent_representation()
        """
        if adata is None or registry is not None or datamodule is not None:
            raise QueryError("adata", problem="New cells are given as an AnnData.", hint="load_query_data(adata, ...).")
        reference = mapping.reference_fit(reference_model)
        mapping.refuse_other_kind(reference, cls.kind, cls.__name__)
        flags = {"unfrozen": unfrozen, "freeze_dropout": freeze_dropout, "freeze_expression": freeze_expression,
                 "freeze_decoder_first_layer": freeze_decoder_first_layer, "freeze_classifier": freeze_classifier,
                 "freeze_batchnorm_encoder": freeze_batchnorm_encoder,
                 "freeze_batchnorm_decoder": freeze_batchnorm_decoder}
        columns = cls._columns(adata) if cls._is_set_up(adata) else None
        model = cls.__new__(cls)
        model._fit, model._data, model.adata, messages = mapping.mapped(
            reference, adata, columns, flags, in_place=inplace_subset_query_vars)
        warn(messages)
        return model

    @staticmethod
    def prepare_query_anndata(adata, reference_model, return_reference_var_names=False, inplace=True):
        """New cells with the genes of a reference in its order, those that they lack as zeros.

        Sets: `adata` itself, unless inplace = False, which returns another. With `return_reference_var_names` the
        names of these genes are returned instead. Warns where less than 80% of them are there.
        Raises QueryError where none is.
        """
        reference = mapping.reference_fit(reference_model)
        if return_reference_var_names:
            return pd.Index(reference.registry.genes)
        found, messages = mapping.aligned(adata, reference, inplace)
        warn(messages)
        return None if inplace else found

    def get_normalized_expression(
            self, adata=None, indices=None, transform_batch=None, gene_list=None, library_size=1, n_samples=1,
            n_samples_overall=None, weights=None, batch_size=None, return_mean=True, return_numpy=None, silent=True,
            dataloader=None, data_loader_kwargs=None, **importance_weighting_kwargs):
        """Expression fractions of each cell times `library_size` ("latent": the expected counts themselves).

        A DataFrame (cells x genes); an array where `return_numpy` says so or samples are kept apart:
        (samples, cells, genes) with return_mean = False. With `n_samples_overall` the rows are that many draws from
        all the cells asked about.
        """
        refuse_loader(dataloader)
        values = self._ask(
            normalized_expression, adata, indices, batch_size, transform_batch=transform_batch, genes=_list(gene_list),
            library_size=library_size, n_samples=n_samples, n_samples_overall=n_samples_overall, weights=weights,
            return_mean=return_mean, importance=importance_weighting_kwargs or None)
        asked = self._data if adata is None or adata is self.adata else None
        if return_numpy or values.ndim == 3:
            if return_numpy is False:
                warnings.warn("Samples that are kept apart come as an array: return_numpy = False is ignored.",
                              stacklevel=2)
            return values
        names = self._cell_names(adata, asked, indices) if n_samples_overall is None else None
        return pd.DataFrame(values, index=names, columns=self._genes(gene_list))

    def _cell_names(self, adata, data, indices):
        cells = np.asarray(data.cells if data is not None else adata.obs_names)
        return cells if indices is None else cells[np.asarray(indices)]

    def _genes(self, gene_list):
        return list(self._fit.registry.genes if gene_list is None else _list(gene_list))

    def differential_expression(
            self, adata=None, groupby=None, group1=None, group2=None, idx1=None, idx2=None, mode=None, delta=0.25,
            batch_size=None, all_stats=True, batch_correction=False, batchid1=None, batchid2=None, fdr_target=0.05,
            silent=False, weights="uniform", filter_outlier_cells=False, importance_weighting_kwargs=None,
            subset_idx=None, **kwargs):
        """Bayesian differential expression: a table with a row a gene and comparison.

        Positive log-fold changes are higher in the first group. Further keywords: n_samples_overall, pseudocounts,
        test_mode, change_fn, m1_domain_fn, cred_interval_lvls, use_permutation, m_permutation, threshold_counts.
        """
        adata = self.adata if adata is None else adata
        if adata is None:
            raise QueryError("adata", problem="The model was loaded without data.", hint="Give adata=...")
        if mode is None:
            mode = self.default_mode
            _notice(f"differential_expression(): mode = \"{mode}\", the default of this interface. mode = \"change\" "
                    "tests for a change of a given size, and controls the false discovery rate.")
        comparisons = comparisons_of(adata.obs, groupby=groupby, group1=group1, group2=group2, idx1=idx1, idx2=idx2,
                                     subset_idx=subset_idx)
        levels = tuple(kwargs.pop("cred_interval_lvls", None) or ())

        def verb(module, data, *, indices, batch_size):
            return differential_expression(
                module, data, comparisons, mode=mode, delta=delta, batch_correction=batch_correction,
                batchid1=_list(batchid1), batchid2=_list(batchid2), fdr_target=fdr_target, all_stats=all_stats,
                weights=weights, filter_outlier_cells=filter_outlier_cells, importance=importance_weighting_kwargs,
                cred_interval_lvls=levels, batch_size=batch_size, **kwargs)

        table = self._ask(verb, adata, None, batch_size)
        return like_scvi_tools(table, mode=mode, fdr_target=fdr_target, by_group=groupby is not None,
                               levels=levels)

    def posterior_predictive_sample(self, adata=None, indices=None, transform_batch=None, n_samples=1, gene_list=None,
                                    batch_size=None, dataloader=None, silent=True, **data_loader_kwargs):
        """Counts drawn from the posterior predictive distribution.

        A scipy CSR matrix (cells, genes) of one sample, an array (cells, genes, samples) of several.
        """
        refuse_loader(dataloader)
        return self._ask(posterior_predictive, adata, indices, batch_size, n_samples=n_samples,
                         genes=_list(gene_list), transform_batch=transform_batch)

    def get_feature_correlation_matrix(self, adata=None, indices=None, n_samples=10, batch_size=None,
                                       rna_size_factor=1000, transform_batch=None, correlation_type="spearman",
                                       silent=True):
        """A DataFrame (genes x genes) of correlations of denoised expression."""
        found = self._ask(feature_correlation, adata, indices, batch_size, n_samples=n_samples,
                          rna_size_factor=rna_size_factor, transform_batch=transform_batch,
                          correlation_type=correlation_type)
        genes = self._genes(None)
        return pd.DataFrame(found, index=genes, columns=genes)

    def get_likelihood_parameters(self, adata=None, indices=None, n_samples=1, give_mean=False, batch_size=None,
                                  dataloader=None, **data_loader_kwargs):
        """{"mean", "dispersions", "dropout"}: parameters of the likelihood, those that it has."""
        refuse_loader(dataloader)
        return self._ask(likelihood_parameters, adata, indices, batch_size, n_samples=n_samples, give_mean=give_mean)

    def get_latent_library_size(self, adata=None, indices=None, give_mean=True, batch_size=None, dataloader=None,
                                **data_loader_kwargs):
        """(n, 1): the inferred library size of each cell, or the observed one where the model takes that."""
        refuse_loader(dataloader)
        return self._ask(latent_library_size, adata, indices, batch_size, give_mean=give_mean)

    def get_elbo(self, adata=None, indices=None, batch_size=None, dataloader=None, return_mean=True,
                 data_loader_kwargs=None, **kwargs):
        """Evidence lower bound in nats, mean a cell or (n,): higher is better."""
        refuse_loader(dataloader)
        if return_mean:
            return self._ask(elbo, adata, indices, batch_size)
        terms = self._ask(elbo_terms, adata, indices, batch_size)
        return -(terms["reconstruction_loss"] + terms["kl_local"])

    def get_reconstruction_error(self, adata=None, indices=None, batch_size=None, dataloader=None, return_mean=True,
                                 data_loader_kwargs=None, **kwargs):
        """{"reconstruction_loss"}: minus the log-likelihood in nats, mean a cell or (n,): lower is better."""
        refuse_loader(dataloader)
        if return_mean:
            return self._ask(reconstruction_error, adata, indices, batch_size)
        terms = self._ask(elbo_terms, adata, indices, batch_size)
        return {"reconstruction_loss": terms["reconstruction_loss"]}

    def get_marginal_ll(self, adata=None, indices=None, n_mc_samples=1000, batch_size=None, return_mean=True,
                        dataloader=None, data_loader_kwargs=None, n_mc_samples_per_pass=None, **kwargs):
        """log p(x) in nats by importance sampling, mean a cell or (n,): higher is better."""
        refuse_loader(dataloader)
        return self._ask(marginal_likelihood, adata, indices, batch_size, n_mc_samples=n_mc_samples,
                         n_mc_samples_per_pass=n_mc_samples_per_pass, return_mean=return_mean)

    def get_aggregated_posterior(self, adata=None, indices=None, batch_size=None, dof=3.0):
        """The mixture of the posteriors of cells, a torch distribution over z (Student t, or normal for dof None)."""
        return self._ask(aggregated_posterior, adata, indices, batch_size, dof=dof)

    def differential_abundance(self, adata=None, sample_key=None, batch_size=None, num_cells_posterior=None, dof=None):
        """Log-density of each cell's latent in each sample. Sets: `adata.obsm["da_log_probs"]`, a DataFrame."""
        adata = self.adata if adata is None else adata
        if adata is None or sample_key not in adata.obs:
            raise QueryError("sample_key", problem=f"`obs` has no column {sample_key!r}.",
                             hint="Name the column that tells which sample each cell is from.")
        samples = adata.obs[sample_key]
        found = self._ask(_abundance(samples), adata, None, batch_size, num_cells_posterior=num_cells_posterior,
                          dof=dof)
        found.index = adata.obs_names
        adata.obsm["da_log_probs"] = found

    def get_batch_representation(self, adata=None, indices=None, batch_size=None):
        """(n, d) float32: the learnt vector of each cell's batch."""
        embedding = getattr(self._fit.module, "embedding", None)
        if embedding is None:
            raise QueryError("batch_representation", problem="The model has no learnt vectors of the batches.",
                             hint='Make it with batch_representation = "embedding".')
        codes = self._opened(adata).codes["batch"]
        codes = codes if indices is None else codes[np.asarray(indices)]
        return embedding.weight.detach().numpy()[codes]


def _abundance(samples):
    def verb(module, data, *, indices, batch_size, **keywords):
        return differential_abundance(module, data, samples, batch_size=batch_size, **keywords)

    return verb


def _list(value):
    return [value] if isinstance(value, str) else value if value is None else list(value)


_TOLD = set()


def _notice(message):
    """Say something once a session."""
    if message not in _TOLD:
        _TOLD.add(message)
        warnings.warn(message, stacklevel=3)
