"""scANVI: scVI whose latent also tells cell types, learnt from partial labels (Xu et al., 2021).

    y_n   ~ Categorical(pi)                                  label, known for some cells
    z2_n  ~ Normal(0, I)                                     cell state within the label   (k,)
    z_n   ~ Normal(shallower(z2_n, y_n))                     cell state                    (k,)
    x_n   ~ as in scVI, from z_n

    q(z, y, z2 | x) = q(z | x) q(y | z) q(z2 | z, y)

The loss of a cell sums over its labels, whether it has one or not; labelled cells, read beside each minibatch, train
the classifier q(y | z) in addition:

    -log p(x | z) + log q(z | x) - sum_y q(y | z) log p(z | z2_y, y)
    + w (sum_y q(y | z) KL(q(z2 | z, y) || p(z2)) + KL(q(y | z) || pi) + KL(library))  -  ratio log q(y | E z_labelled)

with w the weight of the KL warm-up; of labelled cells the mean of z is classified, as in predictions.
"""

from dataclasses import dataclass, replace

import numpy as np

from latome.backend import torch
from latome.data.minibatches import SMALLEST
from latome.distributions import DiagonalNormal, kl_divergence
from latome.errors import FieldError
from latome.modules.expression import ExpressionModule
from latome.modules.scvi import ScviChoices
from latome.nn import Classifier, FullyConnected, NormalEncoder
from latome.nn.blocks import Inputs
from latome.protocol import Term, Terms, setting
from latome.protocol.calibration import calls_of, scores_of
from latome.protocol.priors import standard_normal

__all__ = ["SCANVI", "ScanviSettings"]

CLIP = 50.0                                            # of the gradient's norm, beside an adversary


@dataclass(frozen=True)
class ScanviSettings(ScviChoices):
    """Settings of scANVI."""

    linear_classifier: bool = setting(False, "Tell labels from a linear function of the latent, not by a network.")
    n_samples_per_label: int | None = setting(
        None, "Labelled cells of each label that an epoch takes to train the classifier, drawn anew each time; by "
        "default all.", ge=1)
    classification_ratio: float = setting(50.0, "Weight of the classifier's loss.", ge=0)
    adversarial: bool = setting(
        False, "Train a network that tells the batch of a cell from its latent, and the model to fool it.")


class SCANVI(ExpressionModule):
    """scANVI; see above. With a parent "expression", a fit of scVI, it begins with the weights of that."""

    title = "scANVI"
    paper = "Xu et al., Molecular Systems Biology 17 (2021), doi:10.15252/msb.20209620"
    Settings = ScanviSettings
    fields = ("labels",)
    questions = ("label_probabilities",)

    def __init__(self, settings, registry, parents=None):
        n_labels, k = registry.n_labels, settings.n_latent
        if n_labels < 2:
            raise FieldError("labels", problem=f"scANVI tells labels apart, and column '{registry.columns.labels}' "
                             f"holds {n_labels or 'none'}.", hint="Label cells of at least two kinds.")
        super().__init__(settings, registry, parents)
        shape, encoder = (settings.n_hidden, settings.n_layers), self._norms("encoder")
        encoder["dropout"] = settings.dropout_rate
        labels = Inputs((n_labels,))                                    # the label enters each layer
        self.classifier = Classifier(k, n_labels, settings.n_hidden, 0 if settings.linear_classifier
                                     else settings.n_layers, **encoder)
        self.deeper = NormalEncoder(k, k, *shape, labels, **encoder)                        # q(z2 | z, y)
        self.shallower = NormalEncoder(k, k, *shape, labels, smallest=0.0, **self._norms("decoder"))   # p(z | z2, y)
        self.register_buffer("label_prior", torch.full((n_labels,), 1 / n_labels))
        self.n_batch = registry.n_batch
        if parents:
            self.load_state_dict(parents["expression"].module.state_dict(), strict=False)

    # training ----------------------------------------------------------------------------------------------
    def streams(self, data, rows, generator):
        """The labelled cells among the rows, in a new order; `n_samples_per_label` of each label if that is set."""
        order = generator.permutation(rows)
        codes, most = data.codes["labels"][order], self.settings.n_samples_per_label
        if most is None:
            labelled = order[codes >= 0]
        else:
            parts = [order[codes == code][:most] for code in range(len(self.label_prior))]
            labelled = generator.permutation(np.concatenate(parts))
        if 0 < len(labelled) < SMALLEST:                                # batch normalisation needs several
            labelled = np.resize(labelled, SMALLEST)
        return {"labelled": labelled} if len(labelled) else {}

    def adversary(self):
        if not self.settings.adversarial or self.n_batch < 2:
            return None
        hidden = FullyConnected(self.settings.n_latent, 32, 2, dropout=0.1)
        return torch.nn.Sequential(hidden, torch.nn.Linear(32, self.n_batch))

    @property
    def gradient_clip(self):
        """Of training with an adversary."""
        return CLIP if self.settings.adversarial else None

    def tallied(self, sums):
        return scores_of(**sums)

    # the objective -----------------------------------------------------------------------------------------
    def generative(self, latents, cells):
        generated = super().generative(latents, cells)
        return replace(generated, prior=generated.prior | {"z": LabelledPrior(self)})

    def explain(self, cells, draw="sample"):
        posterior = self.inference(cells)
        latents = self.draw(posterior, draw)
        generated, z = self.generative(latents, cells), latents["z"]    # (m, k)
        log_q = self.classifier(z).log_softmax(-1)                      # (m, labels)
        q = log_q.exp()
        log_p, divergence = (part.t() for part in self.by_label(z, draw))                   # (m, labels) each
        likelihood = {
            "x": Term(generated.likelihood["x"].log_prob(cells["x"])),
            "z": Term((q * log_p).sum(-1) - posterior["z"].log_prob(z)),
        }
        costs = {"z2": (q * divergence).sum(-1), "labels": (q * (log_q - self.label_prior.log())).sum(-1)}
        if "library" in posterior:
            costs["library"] = kl_divergence(posterior["library"], generated.prior["library"])
        costs = {name: Term(value, warmed=True) for name, value in costs.items()}
        return Terms(likelihood, costs, *self._classification(cells, posterior)), posterior, latents

    def by_label(self, z, draw="sample", share=False):
        """For each label, from one pass over all: log p(z | z2, y) and KL(q(z2 | z, y) || p(z2)), (labels, m) each.

        z is (m, k). With `share` the divergence is that of the draw of z2 alone, log q(z2 | z, y) - log p(z2).
        """
        n, (m, k) = len(self.label_prior), z.shape
        rows = z.expand(n, m, k).reshape(-1, k)
        codes = torch.arange(n, device=z.device).unsqueeze(1).expand(n, m).reshape(-1, 1)
        q = self.deeper(rows, codes)
        q = DiagonalNormal(q.mean.view(n, m, k), q.variance.view(n, m, k))
        z2 = self.draw({"z2": q}, draw)["z2"]                           # (labels, m, k)
        p = self.shallower(z2.reshape(-1, k), codes)
        log_p = DiagonalNormal(p.mean.view(n, m, k), p.variance.view(n, m, k)).log_prob(z)
        prior = standard_normal(z2)
        return log_p, q.log_prob(z2) - prior.log_prob(z2) if share else kl_divergence(q, prior)

    def _classification(self, cells, posterior):
        """(penalty, tally) of the labelled cells, those read beside or else the minibatch's own, at the mean of z.

        Outside training there is no penalty.
        """
        z, labels = posterior["z"].mean, cells["labels"]
        if "streams" in cells:
            known = cells["streams"]["labelled"]
            z, labels = self.encoder(*self.encoded(known)).mean, known["labels"]
        logits = self.classifier(z)
        total = torch.nn.functional.cross_entropy(logits, labels, ignore_index=-1, reduction="sum")
        tally = calls_of(logits, labels) | {"loss": total}
        if not self.training:
            return {}, tally
        loss = total / tally["confusion"].sum().clamp_min(1)
        return {"classification_loss": (loss, self.settings.classification_ratio)}, tally

    # questions ---------------------------------------------------------------------------------------------
    def label_probabilities(self, cells, draw="mean"):
        """q(y | z) of a minibatch, (m, labels), at the posterior mean of z or a draw from it."""
        z = self.draw({"z": self.posterior(cells)["z"]}, draw)["z"]
        return self.classifier(z).softmax(-1)


class LabelledPrior:
    """p(z) of a scANVI module, its labels and the states within them integrated out by one draw of z2 a label.

    Arguments
    ---------
    module : a `SCANVI`.
    """

    def __init__(self, module):
        self.module = module

    def log_prob(self, z):
        """(..., m): of z (..., m, k), the logarithm of an unbiased estimate of p(z).

            p(z) ~ sum_y pi_y p(z | z2_y, y) p(z2_y) / q(z2_y | z, y),   z2_y ~ q(z2 | z, y)
        """
        log_p, log_ratio = self.module.by_label(z.reshape(-1, z.shape[-1]), share=True)
        weights = log_p - log_ratio + self.module.label_prior.log().unsqueeze(1)            # (labels, all draws)
        return weights.logsumexp(0).view(z.shape[:-1])
