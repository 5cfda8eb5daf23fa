"""LDVAE: scVI with a linear decoder, whose weights are loadings of genes on factors (Svensson et al., 2020).

    z_n    ~ Normal(0, I)                                          factors               (k,)
    l_n    ~ Normal(m_batch, v_batch), or log total counts         log library size      (1,)
    rho_n  = softmax(BatchNorm(W z_n + A batch_n))                 expression fractions  (g,)
    x_ng   ~ NB(mean = exp(l_n) rho_ng, theta_g), ZINB, Poisson or Normal

The loadings are W (g, k) in the units of the normalised output: see analysis/loadings.py.
"""

from dataclasses import dataclass
from typing import Literal

from latome.modules.expression import ExpressionModule, ExpressionSettings
from latome.nn import LinearDecoder
from latome.protocol import setting

__all__ = ["LDVAE", "LdvaeSettings"]


@dataclass(frozen=True)
class LdvaeSettings(ExpressionSettings):
    """Settings of LDVAE."""

    n_layers: int = setting(1, "Number of hidden layers of the encoder; the decoder has none.", ge=1)
    dispersion: Literal["gene", "gene-batch", "gene-label"] = setting(
        "gene", "Whether the inverse dispersion is one number a gene, a gene and batch, or a gene and label.")
    gene_likelihood: Literal["nb", "zinb", "poisson", "normal"] = setting(
        "nb", "Distribution of the counts; normal is for values that are no counts, such as normalised ones.")
    use_observed_lib_size: bool = setting(
        False, "Take each cell's total count as its library size, rather than infer it.")
    latent_distribution: Literal["normal", "ln"] = setting(
        "normal", "Whether the latent is normal or logistic-normal (shares that sum to 1).")


class LDVAE(ExpressionModule):
    """What the family shares, with a linear decoder."""

    title = "LDVAE"
    paper = "Svensson et al., Bioinformatics 36 (2020), doi:10.1093/bioinformatics/btaa169"
    Settings = LdvaeSettings
    questions = ("feature_loadings",)

    def make_decoder(self, n_genes, inputs):
        return LinearDecoder(self.settings.n_latent, n_genes, inputs, gate=self.settings.gene_likelihood == "zinb")
