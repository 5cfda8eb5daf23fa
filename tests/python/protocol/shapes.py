"""Small modules shaped like models to come: each needs something of the protocol that scVI does not.

They are no likenesses of the published models, only of what those ask of the protocol.
"""

from dataclasses import dataclass

import numpy as np

from latome.backend import torch
from latome.distributions import DiagonalNormal, NegativeBinomial, kl_divergence
from latome.nn import ExpressionDecoder, FullyConnected, NormalEncoder
from latome.nn.blocks import Inputs
from latome.protocol import Generated, Module, Settings, Term, Terms, setting
from latome.protocol.priors import standard_normal


@dataclass(frozen=True)
class SmallSettings(Settings):
    """Settings shared by the three."""

    n_hidden: int = setting(16, "Hidden units.", ge=1)
    n_latent: int = setting(4, "Latent dimensions.", ge=1)


class Proteins:
    """A likelihood of protein counts whose unmeasured proteins are masked: background or foreground NB."""

    def __init__(self, log_background, lift, gate, log_theta, measured):
        self.background, self.lift, self.gate = log_background, lift, gate
        self.log_theta, self.measured = log_theta, measured

    def log_prob(self, y):
        low = NegativeBinomial(log_mean=self.background, log_theta=self.log_theta).elementwise_log_prob(y)
        high = NegativeBinomial(log_mean=self.background + self.lift, log_theta=self.log_theta).elementwise_log_prob(y)
        softplus = torch.nn.functional.softplus
        mixed = torch.logaddexp(low - softplus(-self.gate), high - softplus(self.gate))
        return (mixed * self.measured).sum(-1)


class TotalShaped(Module):
    """Genes and proteins: two likelihoods, a latent born on the generative side, a mask, an adversary, and a
    prior prepared from the data.
    """

    title = "two modalities"
    Settings = SmallSettings
    fields = ("proteins",)
    warmed = ("z", "background")
    warmed_likelihoods = ("proteins",)

    def __init__(self, settings, registry, parents=None):
        super().__init__()
        g, p, k = registry.n_genes, len(registry.arrays["proteins"]), settings.n_latent
        seen = Inputs(registry.category_sizes)
        self.encoder = NormalEncoder(g + p, k, settings.n_hidden, 1, seen)
        self.decoder = ExpressionDecoder(k, g, settings.n_hidden, 1, seen)
        self.background = NormalEncoder(k, p, settings.n_hidden, 1, seen)
        self.protein = FullyConnected(k, settings.n_hidden, 1, seen)
        self.lift, self.gate = torch.nn.Linear(settings.n_hidden, p), torch.nn.Linear(settings.n_hidden, p)
        self.log_theta = torch.nn.Parameter(torch.zeros(g))
        self.log_theta_protein = torch.nn.Parameter(torch.zeros(p))
        self.register_buffer("background_mean", torch.zeros(registry.n_batch, p))
        self.register_buffer("measured", torch.ones(registry.n_batch, p))
        self.n_batch = registry.n_batch

    def prepare(self, data, rows):
        for code in range(self.n_batch):
            y = data.arrays["proteins"][rows][data.codes["batch"][rows] == code]
            self.background_mean[code] = torch.from_numpy(np.log1p(y).mean(0))
            self.measured[code] = torch.from_numpy((y.sum(0) > 0).astype(np.float32))

    def inference(self, cells):
        both = torch.cat([cells["x"].log1p().dense(), cells["proteins"].log1p()], 1)
        return {"z": self.encoder(both, cells["categories"])}

    def generative(self, latents, cells):
        z, batch = latents["z"], cells["batch"]
        heads = self.decoder(z, cells["categories"])
        genes = NegativeBinomial(
            logits=heads["logits"], log_library=cells["x"].totals().log().unsqueeze(1), log_theta=self.log_theta)
        q = self.background(z, cells["categories"])
        h = self.protein(z, cells["categories"])
        proteins = Proteins(q.rsample(), torch.nn.functional.softplus(self.lift(h)), self.gate(h),
                            self.log_theta_protein, self.measured[batch])
        prior = DiagonalNormal(self.background_mean[batch], torch.ones_like(q.mean))
        return Generated({"x": genes, "proteins": proteins}, {"z": standard_normal(z), "background": prior},
                         {"background": q})

    def adversary(self):
        return torch.nn.Sequential(torch.nn.Linear(self.encoder.mean.out_features, 8), torch.nn.ReLU(),
                                   torch.nn.Linear(8, self.n_batch))


class AnnotationShaped(Module):
    """Labels known for some cells: a discrete sum over labels, a second stream of labelled cells, a classifier's
    penalty, and a parent's weights to begin from.
    """

    title = "partial labels"
    Settings = SmallSettings
    fields = ("labels",)

    def __init__(self, settings, registry, parents=None):
        super().__init__()
        k, self.n_labels = settings.n_latent, registry.n_labels
        self.encoder = NormalEncoder(registry.n_genes, k, settings.n_hidden, 1)
        self.deeper = NormalEncoder(k, k, settings.n_hidden, 1, Inputs((self.n_labels,)))
        self.shallower = NormalEncoder(k, k, settings.n_hidden, 1, Inputs((self.n_labels,)))
        self.classifier = torch.nn.Linear(k, self.n_labels)
        self.decoder = ExpressionDecoder(k, registry.n_genes, settings.n_hidden, 1, Inputs(registry.category_sizes))
        self.log_theta = torch.nn.Parameter(torch.zeros(registry.n_genes))
        if parents:
            self.decoder.load_state_dict(parents["expression"].module.decoder.state_dict(), strict=False)

    def streams(self, data, rows, generator):
        labelled = rows[data.codes["labels"][rows] >= 0]
        return {"labelled": generator.permutation(labelled)}

    def inference(self, cells):
        return {"z": self.encoder(cells["x"].log1p())}

    def generative(self, latents, cells):
        heads = self.decoder(latents["z"], cells["categories"])
        library = cells["x"].totals().log().unsqueeze(1)
        counts = NegativeBinomial(logits=heads["logits"], log_library=library, log_theta=self.log_theta)
        return Generated({"x": counts}, {"z": standard_normal(latents["z"])})

    def terms(self, cells, draw="sample"):
        return self.explain(cells, draw)[0]

    def explain(self, cells, draw="sample"):
        posterior = self.inference(cells)
        latents = self.draw(posterior, draw)
        z1 = latents["z"]
        log_q = self.classifier(z1).log_softmax(-1)                     # (m, labels)
        costs = []
        for label in range(self.n_labels):
            code = torch.full((z1.shape[0], 1), label)
            q2 = self.deeper(z1, code)
            z2 = q2.rsample()
            costs.append(kl_divergence(q2, standard_normal(z2)) - self.shallower(z2, code).log_prob(z1))
        expected = (log_q.exp() * torch.stack(costs, 1)).sum(1) + posterior["z"].log_prob(z1)
        likelihood = {"x": Term(self.generative(latents, cells).likelihood["x"].log_prob(cells["x"]))}
        penalty = {}
        if "streams" in cells:
            known = cells["streams"]["labelled"]
            logits = self.classifier(self.encoder(known["x"].log1p()).rsample())
            penalty["classification_loss"] = (torch.nn.functional.cross_entropy(logits, known["labels"]), 50.0)
        return Terms(likelihood, {"z": Term(expected, warmed=True)}, penalty), posterior, latents


class SpotShaped(Module):
    """Spots as mixtures of known profiles, by maximum a posteriori: no latents, parameters of each cell, a prior
    on parameters, a sum as the reduction, and a constraint after each step.
    """

    title = "mixtures"
    Settings = SmallSettings
    reduction = "sum"
    n_types = 3

    def __init__(self, settings, registry, parents=None):
        super().__init__()
        self.log_profile = torch.nn.Parameter(torch.randn(self.n_types, registry.n_genes))
        self.weights = torch.nn.Parameter(torch.ones(registry.n_cells, self.n_types))
        self.log_theta = torch.nn.Parameter(torch.zeros(registry.n_genes))

    def inference(self, cells):
        return {}

    def generative(self, latents, cells):
        share = self.weights[cells["index"]]                            # (m, types)
        rho = self.log_profile.softmax(1)
        mean = (share @ rho) * cells["x"].totals().unsqueeze(1)
        return Generated({"x": NegativeBinomial(log_mean=(mean + 1e-6).log(), log_theta=self.log_theta)})

    def global_terms(self):
        return {"theta": 0.5 * self.log_theta.square().sum()}

    def after_step(self):
        with torch.no_grad():
            self.weights.clamp_(min=0.0)
