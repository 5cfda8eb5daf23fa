"""An adversary that tries to tell batches from latents, and a model that tries to fool it."""

from latome.backend import torch
from latome.training.optimizer import FlatOptimizer, adam

__all__ = ["Adversary", "named"]


def named(tensors, prefix):
    """Those whose names begin with `prefix`, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


class Adversary:
    """Trains a module's adversary beside it.

    The adversary minimises the cross entropy of the true batch; the module the one of a target that is
    uniform over the wrong batches. Both are scaled by 1 - KL weight.

    Arguments
    ---------
    network : from z (m, k) to logits (m, b).
    options : `TrainingOptions`.
    ranks : the `Ranks` that train.
    """

    def __init__(self, network, options, ranks):
        self.network, self.ranks = network, ranks
        ranks.align(network.state_dict().values())
        self.optimizer = FlatOptimizer(network.parameters(), adam(lr=1e-3, eps=0.01, weight_decay=options.weight_decay),
                                       between=None if ranks.alone else ranks.add_up)

    def fool(self, z, batch, kl_weight):
        """Scalar loss for the module."""
        logits = self.network(z)                                        # (m, b)
        n_batch = logits.shape[1]
        target = torch.full_like(logits, 1 / max(n_batch - 1, 1))
        target.scatter_(1, batch.unsqueeze(1), 0.0)
        return (1 - kl_weight) * torch.nn.functional.cross_entropy(logits, target)

    def step(self, z, batch, kl_weight):
        """One step of the adversary on latents that carry no gradient to the module."""
        self.optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(self.network(z.detach()), batch)
        self.ranks.weighed((1 - kl_weight) * loss).backward()
        self.optimizer.step()

    def memory(self):
        """{name: tensor} from which `restore` goes on; names begin with "adversary."."""
        weights = {f"adversary.network.{name}": value.clone() for name, value in self.network.state_dict().items()}
        return weights | {f"adversary.optimizer.{name}": value for name, value in self.optimizer.state().items()}

    def restore(self, tensors):
        """Take up a `memory`, its names without "adversary."."""
        self.network.load_state_dict(named(tensors, "network."))
        self.optimizer.load_state(named(tensors, "optimizer."))
