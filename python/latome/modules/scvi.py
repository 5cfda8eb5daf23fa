"""scVI: a variational autoencoder for single-cell counts (Lopez et al., 2018).

The generative story is that of the whole family: see expression.py. Here every choice is open.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from latome.modules.expression import ExpressionModule, ExpressionSettings
from latome.protocol import setting

__all__ = ["SCVI", "ScviChoices", "ScviSettings"]

Where = Literal["encoder", "decoder", "both", "none"]


@dataclass(frozen=True)
class ScviChoices(ExpressionSettings):
    """What the networks of scVI let choose, in the models that are built of them."""

    gene_likelihood: Literal["zinb", "nb", "poisson", "normal"] = setting(
        "zinb", "Distribution of the counts; normal is for values that are no counts, such as normalised ones.")
    use_observed_lib_size: bool = setting(
        True, "Take each cell's total count as its library size, rather than infer it.")
    log_variational: bool = setting(True, "Encode log(1 + counts) rather than the counts themselves.")
    batch_representation: Literal["one-hot", "embedding"] = setting(
        "one-hot", "Whether each batch has weights of its own in the networks, or a learnt vector that enters them.")
    embedding_dim: int = setting(5, "Length of that vector.", ge=1)
    encode_covariates: bool = setting(False, "Give the covariates to the encoder too, not to the decoder alone.")
    deeply_inject_covariates: bool = setting(True, "Give categorical covariates to each hidden layer, not to the first "
                                                   "alone.")
    continuous_in: Literal["every", "first"] = setting("every", "Which hidden layers of the decoder receive the "
                                                                "continuous covariates.")
    use_batch_norm: Where = setting("both", "Which networks have batch normalisation.")
    use_layer_norm: Where = setting("none", "Which networks have layer normalisation.")
    var_activation: Literal["exp", "softplus"] = setting("exp", "What makes the encoder's variances positive.")

    presets: ClassVar = {"for_mapping": {"encode_covariates": True, "n_layers": 2, "use_batch_norm": "none",
                                         "use_layer_norm": "both"}}


@dataclass(frozen=True)
class ScviSettings(ScviChoices):
    """Settings of scVI."""

    latent_distribution: Literal["normal", "ln"] = setting(
        "normal", "Whether the latent is normal or logistic-normal (shares that sum to 1).")


class SCVI(ExpressionModule):
    """scVI as a module: what the family shares, with every choice open."""

    title = "scVI"
    paper = "Lopez et al., Nature Methods 15 (2018), doi:10.1038/s41592-018-0229-2"
    Settings = ScviSettings
