"""Solo: which cells are doublets, by a classifier that has seen simulated ones (Bernstein et al., 2020).

    label_n ~ Categorical(softmax(network(f_n))),   f_n = [E z_n, log library_n]   from a fitted scVI

The cells of its data are the observed ones, labelled "singlet", and sums of pairs of them, labelled "doublet"; "x"
holds their features, which are real numbers. `latome.compose.solo` makes both.
"""

from dataclasses import dataclass

import numpy as np

from latome.backend import torch
from latome.distributions import Categorical
from latome.errors import FieldError
from latome.nn import FullyConnected
from latome.protocol import Generated, Module, Settings, setting

__all__ = ["LABELS", "Solo", "SoloSettings"]

LABELS = ("doublet", "singlet")                        # in the order of their codes
#: of the moving averages of batch normalisation. The usual hundredth does not keep up with the weights in the few steps
#: that a lane of some hundred cells gives: all its cells were called doublets.
MOMENTUM = 0.1


@dataclass(frozen=True)
class SoloSettings(Settings):
    """Settings of Solo."""

    n_hidden: int = setting(128, "Number of units in each hidden layer of the classifier.", ge=1)
    n_layers: int = setting(1, "Number of its hidden layers.", ge=1)
    dropout_rate: float = setting(0.1, "Share of its hidden units dropped in training.", ge=0, lt=1)


class Solo(Module):
    """p(label | features): no latent, and a likelihood of the labels alone."""

    title = "Solo"
    paper = "Bernstein et al., Cell Systems 11 (2020), doi:10.1016/j.cels.2020.05.010"
    Settings = SoloSettings
    fields = ("labels",)
    recipe = {"max_epochs": 400, "early_stopping": True, "early_stopping_patience": 30}

    def __init__(self, settings, registry, parents=None):
        super().__init__()
        self.settings = settings
        if tuple(registry.categories["labels"]) != LABELS:
            raise FieldError("labels", problem=f"The labels are {list(registry.categories['labels'])}, not "
                             f"{list(LABELS)}.", hint="Make the model with latome.compose.solo.simulated(scvi, data).")
        self.hidden = FullyConnected(registry.n_genes, settings.n_hidden, settings.n_layers,
                                     dropout=settings.dropout_rate)
        self.logits = torch.nn.Linear(settings.n_hidden, len(LABELS))

    @torch.no_grad()
    def prepare(self, data, rows):
        """Sets: the moving averages of the batch normalisations, to what they average over the training cells."""
        x = torch.from_numpy(data.source.take(np.asarray(rows)).toarray()).to(self.logits.weight.device)
        for norm in self.hidden.batch_norms:
            norm.momentum = 1.0
            norm.train()
        self.hidden(x)
        for norm in self.hidden.batch_norms:
            norm.momentum = MOMENTUM
            norm.train(self.training)

    def inference(self, cells):
        """Nothing: there is no latent."""
        return {}

    def generative(self, latents, cells):
        """The distribution of the label of each cell."""
        return Generated({"labels": Categorical(self.logits(self.hidden(cells["x"].dense())))})

    def label_probabilities(self, cells, draw="mean"):
        """(m, 2): the probability of each label, in the order of `LABELS`; nothing is drawn."""
        return self.generative({}, cells).likelihood["labels"].probabilities
