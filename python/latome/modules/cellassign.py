"""CellAssign: cell types from their marker genes alone (Zhang et al., 2019).

    t_n  ~ Categorical(pi)                                              cell type, of C
    pi   ~ Dirichlet(0.01),   log delta_gc ~ Normal(m, v)               delta_gc for markers g of type c only
    mu   = s_n exp(b_g + beta_g D_n + delta_gc [g is a marker of c])    mean of the counts of a cell of type c
    x_ng ~ NB(mu, phi(mu)),   phi = sum_b a_b exp(-(mu - v_b)^2 / (2 h^2)) + 1e-10

s_n is the cell's size factor, D_n its covariates and phi the inverse dispersion. There is no latent to infer by a
network: t_n is summed over. With gamma_nc = p(t_n = c | x_n), training maximises

    sum_n sum_c gamma_nc log p(x_n, t_n = c) + log p(pi) + sum_markers log p(log delta)

as the EM algorithm does, but through gamma as well, on minibatches. Each column of the likelihood depends on the type
at marker pairs alone: kernels/assignment.py.
"""

import math
from dataclasses import dataclass
from typing import Literal

from latome.backend import torch
from latome.data.markers import Markers
from latome.distributions import NegativeBinomial
from latome.errors import FieldError
from latome.kernels.assignment import Basis, Panel, dispersion, marker_log_prob
from latome.protocol import Generated, Module, Settings, Term, Terms, setting

__all__ = ["CellAssign", "CellassignSettings"]

N_BASIS = 10                                           # Gaussians of the dispersion
START = 2.0                                            # log delta begins between -2 and 2


@dataclass(frozen=True)
class CellassignSettings(Settings):
    """Settings of CellAssign."""

    min_delta: float = setting(
        2.0, "Smallest rise of a marker in its type, as a natural logarithm of the ratio of means.", gt=0)
    dirichlet_concentration: float = setting(
        0.01, "Concentration of the prior of the types' shares; small: some types may be absent.", gt=0)
    start: Literal["means", "random", "standardised"] = setting(
        "means", "Where training begins: at the genes' mean counts, with all types and all markers alike; at random; "
        "or at random with standardised mean counts as base levels.")


class CellAssign(Module):
    """Maximum a posteriori of the story above; the types are the labels of the registry, and their markers with it."""

    title = "CellAssign"
    paper = "Zhang et al., Nature Methods 16 (2019), doi:10.1038/s41592-019-0529-1"
    Settings = CellassignSettings
    reduction = "n_obs"
    questions = ("label_probabilities",)
    recipe = {"max_epochs": 400, "lr": 1e-2, "batch_size": 1024, "weight_decay": 1e-10, "early_stopping": True,
              "early_stopping_patience": 15}

    def __init__(self, settings, registry, parents=None):
        super().__init__()
        if not registry.markers:
            raise FieldError("markers", problem="CellAssign needs the marker genes of each cell type.",
                             hint="Make the model with latome.compose.cellassign.for_markers(adata, markers).")
        self.settings = settings
        panel = Panel.of(Markers.from_lists(registry.markers, registry.genes).matrix)
        for name, values in panel._asdict().items():
            self.register_buffer(f"panel_{name}", values, persistent=False)
        g, kinds = registry.n_genes, registry.n_labels
        self.baseline = torch.nn.Parameter(torch.randn(g))                           # b
        self.type_logits = torch.nn.Parameter(torch.randn(kinds))                    # pi
        self.log_delta = torch.nn.Parameter(torch.empty(g, kinds).uniform_(-START, START))
        self.log_delta_mean = torch.nn.Parameter(torch.zeros(1))
        self.log_delta_log_variance = torch.nn.Parameter(torch.zeros(1))
        self.log_a = torch.nn.Parameter(torch.zeros(N_BASIS))
        self.tables = torch.nn.ParameterList([torch.zeros(size, g) for size in registry.category_sizes])     # beta
        d = registry.n_continuous
        self.continuous = torch.nn.Parameter(torch.zeros(g, d)) if d else None
        self.register_buffer("basis", torch.linspace(0, N_BASIS - 1, N_BASIS))       # v

    @property
    def panel(self):
        """The `Panel` of the marker pairs."""
        return Panel(*(getattr(self, f"panel_{name}") for name in Panel._fields))

    def prepare(self, data, rows):
        """Sets: the places of the Gaussians, from the smallest to the largest count."""
        largest, n = 1.0, data.n_cells * data.n_genes
        smallest, filled = math.inf, 0
        for _, part in data.source.blocks():
            if part.nnz:
                largest, smallest = max(largest, float(part.data.max())), min(smallest, float(part.data.min()))
                filled += part.nnz
        places = torch.linspace(0.0 if filled < n else smallest, largest, N_BASIS)
        self.basis.copy_(places)

    def inference(self, cells):
        """Nothing: the types are summed over."""
        return {}

    def generative(self, latents, cells):
        """The counts of cells of given types, latents["type"] (m,) int64."""
        kind = latents["type"]
        marked = torch.zeros_like(self.log_delta)
        pairs = self.panel_gene, self.panel_type
        marked[pairs] = self.log_delta[pairs].exp()
        log_rho = self.log_rate(cells) + marked[:, kind].t()                         # (m, g)
        log_size = self.size(cells).log().unsqueeze(1)                               # (m, 1)
        phi = dispersion((log_rho + log_size).exp(), self._basis())                  # (m, g)
        return Generated({"x": NegativeBinomial(log_rho=log_rho, log_library=log_size, log_theta=phi.log())})

    def size(self, cells):
        """(m,): the size factors."""
        if "size_factor" not in cells:
            raise FieldError("size_factor", problem="The cells have no size factors.",
                             hint="Open the data with for_markers(), or against the registry of the model.")
        return cells["size_factor"]

    def log_rate(self, cells):
        """(1 or m, g): log mean of the counts at size 1, without markers."""
        rate = self.baseline.unsqueeze(0)
        for column, table in enumerate(self.tables):
            rate = rate + (table if len(table) == 1 else table[cells["categories"][:, column]])
        if self.continuous is not None:
            rate = rate + cells["continuous"] @ self.continuous.t()
        return rate

    def _basis(self):
        return Basis(self.log_a, self.basis[0], self.basis[1] - self.basis[0])

    def joint(self, cells):
        """(m, C): log p(x_n, t_n = c)."""
        delta = self.log_delta[self.panel_gene, self.panel_type].exp()               # (p,)
        counts = marker_log_prob(cells["x"], self.size(cells), self.log_rate(cells), delta, self._basis(), self.panel)
        return counts + self.type_logits.log_softmax(0)

    def label_probabilities(self, cells, draw="mean"):
        """(m, C): gamma, the probability of each type; nothing is drawn."""
        return self.joint(cells).softmax(1)

    def explain(self, cells, draw="sample"):
        """(`Terms`, {}, {}): the expected log p(x, t) of each cell; nothing is drawn."""
        joint = self.joint(cells)
        gamma = joint.softmax(1)
        return Terms({"x": Term((gamma * joint).sum(1))}), {}, {}

    def global_terms(self):
        """Minus the log priors of the types' shares and of the markers' rises, in nats."""
        log_pi, a = self.type_logits.log_softmax(0), self.settings.dirichlet_concentration
        n = len(log_pi)
        constant = n * math.lgamma(a) - math.lgamma(n * a)
        log_delta = self.log_delta[self.panel_gene, self.panel_type]
        away = (log_delta - self.log_delta_mean).square().sum() / self.log_delta_log_variance.exp()
        spread = self.log_delta_log_variance + math.log(2 * math.pi)
        return {"types": (1 - a) * log_pi.sum() + constant,
                "markers": 0.5 * (away + len(log_delta) * spread).squeeze(0)}

    def loss(self, terms, kl_weight, n_obs, share=1.0):
        """The objective a cell: the priors are of all cells together."""
        return super().loss(terms, kl_weight, n_obs, share) / n_obs

    @torch.no_grad()
    def after_step(self):
        """A marker rises in its type, by `min_delta` at least."""
        self.log_delta.clamp_(min=math.log(self.settings.min_delta))
