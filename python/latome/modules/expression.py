"""Models of gene counts with a normal latent: what scVI and its family share.

    z_n    ~ Normal(0, I)                                          cell state            (k,)
    l_n    = log total counts, or ~ Normal(m_batch, v_batch)       log library size      (1,)
    rho_n  = softmax(decoder(z_n, covariates_n))                   expression fractions  (g,)
    x_ng   ~ ZINB(mean = exp(l_n) rho_ng, theta_g, gate_ng), NB, Poisson or Normal

With size factors s_n the mean is s_n softplus(decoder(...)): rho need not sum to one, and no library is used.
"""

from abc import ABC
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from latome.backend import torch
from latome.distributions import (
    DiagonalNormal,
    LogisticNormal,
    NegativeBinomial,
    NormalCounts,
    Poisson,
    ZeroInflatedNegativeBinomial,
)
from latome.errors import FieldError
from latome.kernels.heads import given
from latome.nn import ExpressionDecoder, NormalEncoder
from latome.nn.blocks import Inputs
from latome.protocol import Generated, Module, Settings, setting
from latome.protocol.priors import library_moments, standard_normal

__all__ = ["ExpressionModule", "ExpressionSettings", "refuse_unlabeled", "rows_by"]

Dispersion = Literal["gene", "gene-batch", "gene-label", "gene-cell"]


@dataclass(frozen=True)
class ExpressionSettings(Settings):
    """What every model of the family lets choose, and the values of what only some of them do."""

    n_hidden: int = setting(128, "Number of units in each hidden layer.", ge=1)
    n_latent: int = setting(10, "Number of latent dimensions.", ge=1)
    n_layers: int = setting(1, "Number of hidden layers of encoder and decoder.", ge=1)
    dropout_rate: float = setting(0.1, "Share of the encoder's hidden units dropped in training.", ge=0, lt=1)
    dispersion: Dispersion = setting(
        "gene", "Whether the inverse dispersion is one number a gene, a gene and batch, a gene and label, or differs "
        "between cells.")

    # a model that offers one of these declares it as a setting
    gene_likelihood: ClassVar = "zinb"
    use_observed_lib_size: ClassVar = True
    latent_distribution: ClassVar = "normal"
    log_variational: ClassVar = True
    batch_representation: ClassVar = "one-hot"
    encode_covariates: ClassVar = False
    deeply_inject_covariates: ClassVar = True
    continuous_in: ClassVar = "every"
    use_batch_norm: ClassVar = "both"
    use_layer_norm: ClassVar = "none"
    var_activation: ClassVar = "exp"


def rows_by(kind, registry, setting="dispersion"):
    """The rows of a table with one number a gene and category: (), (n_batch,) or (n_labels,)."""
    if kind == "gene-label" and not registry.n_labels:
        raise FieldError("labels", problem=f"{setting} 'gene-label' needs labels.", hint="Name the column of labels.")
    return {"gene": (), "gene-batch": (registry.n_batch,), "gene-label": (registry.n_labels,)}[kind]


def refuse_unlabeled(labels, setting="dispersion"):
    """FieldError where a cell has no label (m,), which a setting by label needs."""
    if (labels < 0).any():
        raise FieldError("labels", problem=f"{setting} 'gene-label' needs a label for each cell; some have none.",
                         hint=f"Label them, or choose another {setting}.")


class ExpressionModule(Module, ABC):
    """q(z | x) = Normal(encoder(log1p x)), p(x | z) as above; a model of the family differs in what it overrides."""

    encoders = ("encoder", "library_encoder")

    def __init__(self, settings, registry, parents=None):
        super().__init__()
        self.settings = settings
        g, sizes, d = registry.n_genes, tuple(registry.category_sizes), registry.n_continuous
        self.has_size_factor = registry.columns.size_factor is not None
        self.log_theta = self._dispersion(registry)
        self.embedding = None
        if settings.batch_representation == "embedding":
            self.embedding = torch.nn.Embedding(registry.n_batch, settings.embedding_dim)
            sizes, d = (1, *sizes[1:]), d + settings.embedding_dim     # the batch enters as numbers, not as a category
            self.encoders += ("embedding",) if settings.encode_covariates else ()
        seen = Inputs(sizes, d, settings.deeply_inject_covariates, settings.continuous_in == "every")
        encoded = Inputs(sizes, d, settings.deeply_inject_covariates) if settings.encode_covariates else Inputs()
        shape = (settings.n_hidden, settings.n_layers, encoded)
        block = {"dropout": settings.dropout_rate, "variance": settings.var_activation, **self._norms("encoder")}
        if settings.latent_distribution == "ln":
            self.latent_family = LogisticNormal
        self.encoder = NormalEncoder(g, settings.n_latent, *shape, family=self.latent_family, **block)
        self.library_encoder = None
        if not (settings.use_observed_lib_size or self.has_size_factor):
            self.library_encoder = NormalEncoder(g, 1, settings.n_hidden, 1, encoded, **block)
            self.register_buffer("library_mean", torch.zeros(registry.n_batch))
            self.register_buffer("library_variance", torch.ones(registry.n_batch))
        self.decoder = self.make_decoder(g, seen)

    def make_decoder(self, n_genes, inputs):
        """The network from z and its `Inputs` to the heads of the likelihood."""
        s = self.settings
        return ExpressionDecoder(
            s.n_latent, n_genes, s.n_hidden, s.n_layers, inputs, gate=s.gene_likelihood == "zinb",
            cell_dispersion=s.dispersion == "gene-cell", **self._norms("decoder"))

    def _norms(self, network):
        return {"batch_norm": self.settings.use_batch_norm in (network, "both"),
                "layer_norm": self.settings.use_layer_norm in (network, "both")}

    def _dispersion(self, registry):
        """log theta: (g,), or (categories, g); None where there is none or the decoder gives it."""
        kind, g = self.settings.dispersion, registry.n_genes
        if self.settings.gene_likelihood == "poisson" or kind == "gene-cell":
            return None
        return torch.nn.Parameter(torch.randn(*rows_by(kind, registry), g))

    def prepare(self, data, rows):
        """Sets: the library prior, from the total counts of all cells in each batch; checks the labels."""
        if self.settings.dispersion == "gene-label":
            refuse_unlabeled(data.codes["labels"])
        if self.library_encoder is not None:
            codes = data.codes["batch"]
            moments = library_moments(data.totals, codes, self.library_mean.shape[0])
            present = torch.from_numpy(np.unique(codes))                # a batch without cells keeps what it has
            for prior, values in zip((self.library_mean, self.library_variance), moments, strict=True):
                prior[present.to(prior.device)] = values[present].to(prior.device)

    def _covariates(self, cells):
        """The categories (m, 1 + c) and continuous covariates (m, d) that enter the networks."""
        continuous = cells["continuous"]
        if self.embedding is not None:
            continuous = torch.cat([continuous, self.embedding(cells["batch"])], 1)
        return cells["categories"], continuous

    def encoded(self, cells):
        """What the encoders see: (counts (m, g) on their scale, sparse, and covariates where they enter)."""
        x = cells["x"].log1p() if self.settings.log_variational else cells["x"]
        return x, *(self._covariates(cells) if self.settings.encode_covariates else ())

    def inference(self, cells):
        seen = self.encoded(cells)
        posterior = {"z": self.encoder(*seen)}                          # event (k,)
        if self.library_encoder is not None:
            posterior["library"] = self.library_encoder(*seen)          # event (1,)
        return posterior

    def generative(self, latents, cells):
        z = latents["z"]                                                # (..., m, k)
        prior = {"z": standard_normal(z)}
        if self.library_encoder is None:
            size = cells["size_factor" if self.has_size_factor else "total"]
            log_library = size.log().unsqueeze(1)                       # (m, 1)
        else:
            log_library = latents["library"]                            # (..., m, 1)
            moments = self.library_mean[cells["batch"]], self.library_variance[cells["batch"]]
            prior["library"] = DiagonalNormal(*(moment.unsqueeze(1) for moment in moments))
        return Generated({"x": self.likelihood(self.heads(latents, cells), log_library, cells)}, prior)

    def heads(self, latents, cells):
        """{name: head} of the likelihood (..., m, g) at latents (..., m, k)."""
        return self.decoder(latents["z"], *self._covariates(cells))

    def likelihood(self, heads, log_library, cells):
        """The distribution of the counts from the decoder's heads: event (g,)."""
        place = {"logits": heads["logits"], "log_library": log_library}             # (..., m, g)
        if self.has_size_factor:
            place = {"log_rho": log_softplus(given(heads["logits"])), "log_library": log_library}
        likelihood = self.settings.gene_likelihood
        if likelihood == "poisson":
            return Poisson(**place)
        theta = {"log_theta": heads["log_theta"].value() if "log_theta" in heads else self.log_theta}
        if self.settings.dispersion in ("gene-batch", "gene-label"):
            theta["theta_rows"] = self.table_rows(cells)                # (m,) rows of a table (b, g)
        if likelihood == "normal":
            table, rows = theta["log_theta"], theta.get("theta_rows")
            return NormalCounts(log_sd=table if rows is None else table[rows], **place)
        if likelihood == "nb":
            return NegativeBinomial(**theta, **place)
        return ZeroInflatedNegativeBinomial(gate=heads["gate"], **theta, **place)

    def table_rows(self, cells, setting="dispersion"):
        """(m,): each cell's row of a table by batch or label, as the `setting` says."""
        if getattr(self.settings, setting) == "gene-batch":
            return cells["batch"]
        if not self.training:                                           # `prepare` has seen the cells of training
            refuse_unlabeled(cells["labels"], setting)
        return cells["labels"]


def log_softplus(x):
    """log(log(1 + exp(x))), which is x itself far below zero."""
    return torch.where(x < -15, x, torch.nn.functional.softplus(x.clamp_min(-15)).log())
