"""AutoZI: which genes need zero inflation (Clivio et al., 2019).

    z_n      ~ Normal(0, I)                                        cell state               (k,)
    delta_g  ~ Beta(a, b)                                          1: no zero inflation     (g,)
    x_ng     ~ delta_g NB(mu_ng, theta_g) + (1 - delta_g) ZINB(mu_ng, theta_g, pi_ng),   pi_ng >= minimal_dropout

with mu as in the whole family (expression.py), and delta one number a gene, a gene and batch, or a gene and label. The
mixture is itself a ZINB, of the zero inflation (1 - delta) pi. The posterior of delta is Beta(alpha, beta), both
between 0 and 1, so that it leans to either end; it is one for all cells, and the bound is that of all cells together:

    n mean_cells[E log p(x | z, delta) - KL(z) - KL(library)] - sum_g KL(Beta(alpha_g, beta_g) || Beta(a, b))

Given z, the counts of a cell are independent and each is linear in its own delta. So p(x | z) with delta integrated out
is the mixture at the posterior mean of delta, exactly: whoever decodes latents without a delta gets that.
"""

from dataclasses import dataclass
from typing import Literal

from latome.backend import torch
from latome.distributions import Beta, mixed_gate
from latome.kernels.heads import given
from latome.modules.expression import ExpressionModule, ExpressionSettings, refuse_unlabeled, rows_by
from latome.protocol import setting

__all__ = ["AutoZI", "AutoziSettings"]


@dataclass(frozen=True)
class AutoziSettings(ExpressionSettings):
    """Settings of AutoZI."""

    use_observed_lib_size: bool = setting(
        True, "Take each cell's total count as its library size, rather than infer it.")
    latent_distribution: Literal["normal", "ln"] = setting(
        "normal", "Whether the latent is normal or logistic-normal (shares that sum to 1).")
    zero_inflation: Literal["gene", "gene-batch", "gene-label"] = setting(
        "gene", "Whether zero inflation is decided for each gene, each gene and batch, or each gene and label.")
    alpha_prior: float | None = setting(
        0.5, "First parameter of the prior Beta distribution of delta; none: it is learnt.", gt=0, lt=1)
    beta_prior: float | None = setting(
        0.5, "Second parameter of the prior Beta distribution of delta; none: it is learnt.", gt=0, lt=1)
    minimal_dropout: float = setting(
        0.01, "Smallest probability of zero inflation where there is any: far from none at all.", ge=0, lt=1)


class AutoZI(ExpressionModule):
    """What the family shares, with a gate that opens by gene."""

    title = "AutoZI"
    paper = "Clivio et al., bioRxiv (2019), doi:10.1101/794875"
    Settings = AutoziSettings
    reduction = "n_obs"
    questions = ("zero_inflation",)

    def __init__(self, settings, registry, parents=None):
        super().__init__(settings, registry, parents)
        shape = (*rows_by(settings.zero_inflation, registry, "zero_inflation"), registry.n_genes)
        self.alpha_logit = torch.nn.Parameter(torch.randn(shape))       # (g,) or (categories, g)
        self.beta_logit = torch.nn.Parameter(torch.randn(shape))
        for name, value in (("prior_alpha_logit", settings.alpha_prior), ("prior_beta_logit", settings.beta_prior)):
            if value is None:
                self.register_parameter(name, torch.nn.Parameter(torch.randn(1)))
            else:
                self.register_buffer(name, torch.tensor([value]).logit())

    def prepare(self, data, rows):
        """Sets: the library prior; checks the labels."""
        super().prepare(data, rows)
        if self.settings.zero_inflation == "gene-label":
            refuse_unlabeled(data.codes["labels"], "zero_inflation")

    def delta_posterior(self):
        """`Beta` (g,) or (categories, g)."""
        return Beta(self.alpha_logit.sigmoid(), self.beta_logit.sigmoid())

    def delta_prior(self):
        """`Beta` (1,)."""
        return Beta(self.prior_alpha_logit.sigmoid(), self.prior_beta_logit.sigmoid())

    def global_terms(self):
        return {"delta": self.delta_posterior().kl(self.delta_prior()).sum()}

    def delta_mean(self):
        """(1, g) or (categories, g): the mean of the posterior.

        Row by row: the last entries of an array are rounded otherwise than the others, and a category that joins must
        not change those before it by a bit.
        """
        rows = (logit.view(-1, logit.shape[-1]) for logit in (self.alpha_logit, self.beta_logit))
        return torch.stack([Beta(alpha.sigmoid(), beta.sigmoid()).mean for alpha, beta in zip(*rows, strict=True)])

    def draw(self, posterior, draw):
        latents = super().draw(posterior, draw)
        if draw == "mean":
            return latents | {"delta": self.delta_mean()}
        return latents | {"delta": self.delta_posterior().rsample().view(-1, self.alpha_logit.shape[-1])}

    def heads(self, latents, cells):
        heads = super().heads(latents, cells)
        delta = latents["delta"] if "delta" in latents else self.delta_mean()
        if self.settings.zero_inflation != "gene":
            delta = delta.index_select(-2, self.table_rows(cells, "zero_inflation"))        # (..., m, g)
        return heads | {"gate": mixed_gate(given(heads["gate"]), delta, self.settings.minimal_dropout)}
