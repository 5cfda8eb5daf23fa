"""What a module must offer: a generative story and its approximate inverse, as named distributions."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

from latome.backend import torch
from latome.distributions import DiagonalNormal, kl_divergence
from latome.errors import QueryError
from latome.protocol.terms import Term, Terms, added

__all__ = ["Generated", "Module"]


@dataclass(frozen=True)
class Generated:
    """What the generative side gives for a minibatch.

    Arguments
    ---------
    likelihood : {name of the data: distribution whose log_prob is (m,)}.
    prior : {name of the latent: distribution}.
    posterior : {name: distribution} of latents born on the generative side.
    """

    likelihood: dict
    prior: dict = field(default_factory=dict)
    posterior: dict = field(default_factory=dict)


class Module(torch.nn.Module, ABC):
    """One probabilistic model.

    A subclass gives `Settings`, `inference` and `generative`; the rest has defaults that fit most models.
    It is built as `Module(settings, registry, parents)`: the registry tells the sizes, `parents` the fitted
    models it stands on.

    Class attributes
    ----------------
    title, paper : for people.
    Settings : dataclass of settings.
    recipe : {option of training: value} where the model's default is not the general one.
    fields : roles of columns that must be present ("labels", the name of an obsm matrix ...).
    warmed : divergences that the KL warm-up scales.
    warmed_likelihoods : log-likelihoods that it scales too.
    term_weights : {name of a term: constant factor}, 1 where not named.
    reduction : how a minibatch's per-cell losses become one number: "mean", "sum", or "n_obs" (the mean
        times the number of training cells).
    latent_family : distribution of z.
    encoders : names of the networks that `inference` uses; training of the decoder alone leaves them as they are.
    gradient_clip : bound of the gradient's norm in training, where the options name none; None for no bound.
    questions : what this kind alone is asked: "label_probabilities", "feature_loadings", "zero_inflation".
    """

    title = ""
    paper = ""
    Settings = None
    recipe = {}
    fields = ()
    warmed = ("z",)
    warmed_likelihoods = ()
    term_weights = {}
    reduction = "mean"
    latent_family = DiagonalNormal
    encoders = ()
    gradient_clip = None
    questions = ()

    @abstractmethod
    def inference(self, cells):
        """{name of the latent: distribution} of a minibatch; {} for a model without latents."""

    @abstractmethod
    def generative(self, latents, cells):
        """A `Generated` from latents {name: (..., m, k)} and a minibatch, whose counts it must not touch."""

    def posterior(self, cells):
        """{name: distribution}: `inference`, or what minified data remember of it."""
        if "stored_z_mean" not in cells:
            return self.inference(cells)
        mean, wanted = cells["stored_z_mean"], self.settings.n_latent
        if mean.shape[1] != wanted:
            raise QueryError("adata", problem=f"The minified data hold latents of {mean.shape[1]} dimensions; "
                             f"the model has {wanted}.", hint="They were minified with another model: load that one.")
        return {"z": self.latent_family(mean, cells["stored_z_variance"])}

    def prepare(self, data, rows):
        """Called once before training, with the dataset and its training rows (n_train,)."""

    def after_step(self):
        """Called after each step: constraints on parameters."""

    def global_terms(self):
        """{name: scalar} losses of parameters that have priors, added once a step."""
        return {}

    def streams(self, data, rows, generator):
        """{name: rows} of further cells to read beside each minibatch, drawn anew each epoch.

        They reach `terms` as cells["streams"][name], a minibatch of their own.
        """
        return {}

    def adversary(self):
        """A network from z to logits of the batch that training should fool, or None."""
        return None

    def tallied(self, sums):
        """{metric: number} at the end of an epoch, from the sums of `Terms.tally`, arrays by the same names.

        A metric that the epoch's cells do not allow is left out. Each becomes a column of the history.
        """
        return {}

    def label_probabilities(self, cells, draw="mean"):
        """(m, labels): the probability of each label for a minibatch, latents at their means or drawn ("sample")."""
        raise QueryError("kind", problem=f"{self.title or type(self).__name__} does not tell labels.",
                         hint="Ask a model that does: scANVI, Solo or CellAssign.")

    def draw(self, posterior, draw):
        """{name: value}: a sample of each latent ("sample"), or its mean ("mean")."""
        if draw == "mean":
            return {name: q.transform(q.mean) for name, q in posterior.items()}
        return {name: q.rsample() for name, q in posterior.items()}

    def terms(self, cells, draw="sample"):
        """The `Terms` of a minibatch: likelihoods and divergences paired by name, each (m,)."""
        return self.explain(cells, draw)[0]

    def explain(self, cells, draw="sample"):
        """(`Terms`, posterior, latents) of a minibatch."""
        posterior = self.inference(cells)
        latents = self.draw(posterior, draw)
        generated = self.generative(latents, cells)
        likelihood = {
            name: Term(p.log_prob(cells[name]), name in self.warmed_likelihoods, self.term_weights.get(name, 1.0))
            for name, p in generated.likelihood.items()
        }
        divergence = {
            name: Term(kl_divergence(q, generated.prior[name]), name in self.warmed, self.term_weights.get(name, 1.0))
            for name, q in (posterior | generated.posterior).items()
        }
        return Terms(likelihood, divergence), posterior, latents

    def loss(self, terms, kl_weight, n_obs, share=1.0):
        """The scalar to minimise; `n_obs` is the number of training cells.

        `share` of the step's cells are in `terms`, the others with other processes: a sum is scaled up to all.
        """
        per_cell = terms.per_cell(kl_weight)
        local = per_cell.sum() / share if self.reduction == "sum" else per_cell.mean()
        if self.reduction == "n_obs":
            local = local * n_obs
        penalty = [weight * value for value, weight in terms.penalty.values()]
        return added([local, *penalty, *self.global_terms().values()])
