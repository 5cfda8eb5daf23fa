"""What training leaves as it is: the weights of a reference in a model that was extended by new categories."""

from latome.backend import torch
from latome.errors import TrainingError

__all__ = ["Held"]


class Held:
    """Whole tensors of a module, and leading rows of others, that stay bit-equal whatever the optimiser does.

    The loop treats it as a part of the module that is frozen: the `parameters` held whole take no gradient, and
    `eval` keeps the batch norms at the statistics they have. Rows of the others lose their gradient before each step
    (so they do not count in its norm) and are put back after it: weight decay and momentum move them too.

    Arguments
    ---------
    module : on the device it is trained on.
    rows : {name of a tensor: number of its leading rows that are held, None for all}.
    """

    def __init__(self, module, rows):
        self.module, self.rows = module, rows
        tensors = module.state_dict(keep_vars=True)
        self.copies = {name: tensors[name].detach()[:n].clone() for name, n in rows.items() if tensors[name].dim()}
        trained = {name: p for name, p in module.named_parameters() if rows.get(name, 0) is not None}
        self.whole = [p for name, p in module.named_parameters() if name not in trained]
        self.parts = [(p, rows[name], self.copies[name]) for name, p in trained.items() if name in rows]
        if rows and not trained:
            raise TrainingError("adata", problem="There is nothing to train: these cells bring no new category, and "
                                "the weights of the reference are held.", hint="Use the model as it is.")

    def parameters(self):
        """Those held whole."""
        return self.whole

    def eval(self):
        """Keep the batch norms that are held in evaluation mode."""
        for name, part in self.module.named_modules():
            if f"{name}.running_mean" in self.rows:
                part.eval()

    @torch.no_grad()
    def put_back(self):
        """Put back all that is held, after `prepare` has looked at the new cells."""
        tensors = self.module.state_dict()
        for name, copy in self.copies.items():
            tensors[name][:len(copy)] = copy

    def silence(self):
        """Take the gradient from rows that are held."""
        for p, n, _ in self.parts:
            if p.grad is not None:
                p.grad[:n] = 0

    def restore(self):
        """Put the rows back that a step has moved."""
        for p, n, copy in self.parts:
            p.data[:n] = copy
