"""Adam over one flat buffer that all parameters are views of: each step is a single call."""

from latome.backend import torch

__all__ = ["FlatAdam"]


class FlatAdam:
    """Adam with coupled L2 over a module's trainable parameters.

    The parameters become views of one buffer, and their gradients views of another. What moves parameters out
    of it (`.to()`, say) asks for `lay_out` again; `in_place` tells.

    Arguments
    ---------
    parameters : trainable parameters.
    lr, eps, weight_decay : as in Adam; weight_decay is added to the gradient.
    """

    def __init__(self, parameters, *, lr, eps, weight_decay):
        self.parameters = [p for p in parameters if p.requires_grad]
        sizes = [p.numel() for p in self.parameters]
        first = self.parameters[0]
        self.flat = torch.nn.Parameter(torch.empty(sum(sizes), dtype=first.dtype, device=first.device))
        self.flat.grad = torch.zeros_like(self.flat)
        self.sizes = sizes
        self.lay_out()
        self.adam = torch.optim.Adam([self.flat], lr=lr, eps=eps, weight_decay=weight_decay,
                                     fused=first.device.type in ("cpu", "cuda"))

    @torch.no_grad()
    def lay_out(self):
        """Copy the parameters into the buffer and make them views of it."""
        start = 0
        for p, size in zip(self.parameters, self.sizes, strict=True):
            part = self.flat.data[start:start + size].view_as(p)
            part.copy_(p.data)
            p.data = part
            p.grad = self.flat.grad[start:start + size].view_as(p)
            start += size

    def in_place(self):
        """Whether the parameters still are views of the buffer."""
        start = 0
        for p, size in zip(self.parameters, self.sizes, strict=True):
            if p.data_ptr() != self.flat.data_ptr() + start * self.flat.element_size():
                return False
            start += size
        return True

    def zero_grad(self):
        """Set all gradients to zero, in one call."""
        self.flat.grad.zero_()

    def step(self):
        """One step of Adam on the whole buffer."""
        self.adam.step()

    def state(self):
        """{name: tensor} of the optimiser's memory."""
        memory = self.adam.state.get(self.flat, {})
        return {name: torch.as_tensor(value).clone() for name, value in memory.items()}

    def load_state(self, memory):
        """The reverse of `state`; the tensors go to the device of the parameters."""
        if memory:
            groups = self.adam.state_dict()["param_groups"]
            memory = {name: value.clone() for name, value in memory.items()}
            self.adam.load_state_dict({"state": {0: memory}, "param_groups": groups})
