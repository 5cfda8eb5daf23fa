"""The numbers of one scVI model on its data, each draw replaced by its mean, by the names that the cases give them."""

import re
from functools import cached_property

import numpy as np

from latome.analysis.expression import normalized_expression
from latome.analysis.latent import latent_moments
from latome.analysis.likelihood import elbo, elbo_terms
from latome.backend import torch
from latome.data.minibatches import Minibatches
from latome.io import names
from parity_cases.compare import NotYet

__all__ = ["LIKELIHOODS", "ScviArrays", "full_batch"]

#: Arrays that sum over thousands of terms: compared by their norm.
LIKELIHOODS = re.compile(r"reconstruction_|loss_kl_weight_|elbo_|grad")

_FIRST_WEIGHT = "decoder.px_decoder.fc_layers.Layer 0.0.weight"


def full_batch(data):
    """All cells as one minibatch, in their order."""
    return next(iter(Minibatches(data, np.arange(data.n_cells), data.n_cells)))


class ScviArrays:
    """Answers `array(name)` for one fit and one dataset.

    Arguments
    ---------
    fit, data : a `Fit` of a model of gene counts and a `Dataset` opened with its registry.
    peer_class : theirs.
    first_weight : their name of the weights that the latent enters first.
    """

    def __init__(self, fit, data, peer_class="SCVI", first_weight=_FIRST_WEIGHT):
        self.fit, self.module, self.data = fit, fit.module, data
        self.entries = names.entries_of(peer_class, fit.module)
        self.named = {"decoder_first_weight": first_weight, "px_r": "px_r"}

    def array(self, name):
        """The array of that name; NotYet where latome has no such number."""
        plain = {
            "qz_mean": lambda: self.moments("z")[0], "qz_var": lambda: self.moments("z")[1],
            "ql_mean": lambda: self.moments("library")[0], "ql_var": lambda: self.moments("library")[1],
            "latent_library_size_mean": self.library_size,
            "px_scale": lambda: self.counts.rho, "px_rate": lambda: self.counts.rate, "px_r": self.theta,
            "px_dropout_logits": self.gate, "px_sd": self.sd, "batch_representation": self.batch_vectors,
            "observed_lib_size": lambda: self.data.totals[:, None],
            "full_model_normalized_expression": self.expression,
            "reconstruction_loss": lambda: elbo_terms(self.module, self.data, draw="mean")["reconstruction_loss"],
            "kl_z": lambda: self.divergence("z"), "kl_l": lambda: self.divergence("library"),
            "elbo_at_mean": lambda: elbo(self.module, self.data, draw="mean"),
            "reconstruction_error_reconstruction_loss": lambda: self.terms.reconstruction().double().mean(),
            "normalized_expression": lambda: self.expression(library_size=1e4),
            "masked_grad_decoder_first_weight": self.masked_gradient,
        }
        if name in plain:
            return _numpy(plain[name]())
        for pattern, answer in {
            r"loss_kl_weight_([\d.]+)": lambda weight: self.module.loss(self.terms, float(weight), self.data.n_cells),
            r"normalized_expression_batch_(.+)": lambda batch: self.expression(transform_batch=batch),
            r"grad_(.+)_norm": lambda target: np.linalg.norm(self.gradient(target).double().numpy()),
            r"grad_(.+)": self.gradient,
        }.items():
            found = re.fullmatch(pattern, name)
            if found:
                return _numpy(answer(found.group(1)))
        raise NotYet(f"no counterpart of '{name}'")

    # parts -------------------------------------------------------------------------------------------------
    @cached_property
    def cells(self):
        return full_batch(self.data)

    @cached_property
    def means(self):
        """Every latent at its posterior mean."""
        with torch.no_grad():
            return self.module.draw(self.module.posterior(self.cells), "mean")

    @cached_property
    def counts(self):
        """The distribution of the counts at those means."""
        with torch.no_grad():
            return self.module.generative(self.means, self.cells).likelihood["x"]

    @cached_property
    def terms(self):
        with torch.no_grad():
            return self.module.terms(self.cells, "mean")

    @cached_property
    def gradients(self):
        """{their name: gradient} of the summed reconstruction loss, latents held at their means."""
        self.module.zero_grad()
        generated = self.module.generative(self.means, self.cells)
        (-generated.likelihood["x"].log_prob(self.cells["x"]).sum()).backward()
        return names.to_peer(self.entries, gradients_of(self.module))

    def moments(self, latent):
        self.needs(latent != "library" or self.module.library_encoder is not None, "the library size is observed")
        return latent_moments(self.module, self.data, name=latent)

    def library_size(self):
        mean, variance = self.moments("library")
        return np.exp(mean + variance / 2)              # mean of a log-normal

    def theta(self):
        self.needs(self.fit.settings.gene_likelihood in ("nb", "zinb"), "this likelihood has no inverse dispersion")
        return self.counts.theta

    def sd(self):
        self.needs(self.fit.settings.gene_likelihood == "normal", "this likelihood is no normal distribution")
        return self.counts.sd

    def gate(self):
        self.needs(self.fit.settings.gene_likelihood == "zinb", "this likelihood has no zero inflation")
        return self.counts.gate

    def batch_vectors(self):
        self.needs(self.module.embedding is not None, "batches have no vectors")
        return self.module.embedding.weight

    def divergence(self, latent):
        self.needs(latent in self.terms.divergence, f"the model has no latent '{latent}'")
        return self.terms.divergence[latent].value

    def expression(self, **options):
        return normalized_expression(self.module, self.data, draw="mean", **options)

    def gradient(self, target):
        peer = self.named.get(target)
        self.needs(peer in self.gradients, f"no counterpart of the parameter '{target}'")
        return self.gradients[peer]

    def masked_gradient(self):
        """The gradient as surgery lets it through: of the columns of categories alone, which come last."""
        gradient = self.gradient("decoder_first_weight").clone()
        width = sum(table.shape[0] for table in self.module.decoder.hidden.linears[0].tables)
        gradient[:, :gradient.shape[1] - width] = 0
        return gradient

    @staticmethod
    def needs(condition, otherwise):
        if not condition:
            raise NotYet(otherwise)


def gradients_of(module):
    """{our name: gradient} of every tensor of the state dict; zeros where there is none."""
    parameters = dict(module.named_parameters())
    return {name: parameters[name].grad if name in parameters and parameters[name].grad is not None
            else torch.zeros_like(value) for name, value in module.state_dict().items()}


def _numpy(value):
    return value.detach().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
