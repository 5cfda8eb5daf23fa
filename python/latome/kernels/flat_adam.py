"""Adam over one flat vector, in one call of torch.

    m = lerp(m, g, 1 - beta1),  v = lerp(v, g^2, 1 - beta2),  w = w - lr m^ / (sqrt(v^) + eps),   ^: over 1 - beta^n

Kingma and Ba (2015), with the L2 penalty added to the gradient g, or (AdamW) taken off the weights. `torch.optim.Adam`
does the same, but the first optimiser of torch.optim loads torch's compiler: a second and 80 MB.
"""

from latome.backend import torch

__all__ = ["FlatAdam"]

BETAS = (0.9, 0.999)


class FlatAdam:
    """An optimiser with the attributes of `torch.optim.Adam` that are needed here.

    Arguments
    ---------
    flat : (size,) parameter; its `grad` is what `step` follows.
    lr, eps, weight_decay : as in torch.
    decoupled : take the weight decay off the weights (AdamW).
    fused : use torch's single kernel; by default where there is one.
    """

    def __init__(self, flat, *, lr, eps, weight_decay, decoupled=False, fused=None):
        self.param_groups = [{"params": [flat], "lr": lr, "betas": BETAS, "eps": eps, "weight_decay": weight_decay}]
        self.state = {}
        self.decoupled = decoupled
        self.fused = flat.device.type in ("cpu", "cuda") if fused is None else fused

    def memory(self):
        """{"step": (), "exp_avg", "exp_avg_sq": (size,)}, made when first asked for."""
        (flat,) = self.param_groups[0]["params"]
        if flat not in self.state:
            self.state[flat] = {"step": torch.zeros((), device=flat.device), "exp_avg": torch.zeros_like(flat.detach()),
                                "exp_avg_sq": torch.zeros_like(flat.detach())}
        return self.state[flat]

    def state_dict(self):
        """The memory as {"state": {0: ...} or {}, "param_groups": ...}."""
        return {"state": dict(enumerate(self.state.values())), "param_groups": self.param_groups}

    def load_state_dict(self, given):
        """The reverse of `state_dict`, for the memory; it goes to the device of the parameter."""
        (flat,) = self.param_groups[0]["params"]
        memory = given["state"].get(0)
        self.state = {flat: {name: value.to(flat.device) for name, value in memory.items()}} if memory else {}

    @torch.no_grad()
    def step(self):
        """Take one step along `flat.grad`."""
        group, memory = self.param_groups[0], self.memory()
        (flat,) = group["params"]
        memory["step"] += 1
        first, second = memory["exp_avg"], memory["exp_avg_sq"]
        if not self.fused:
            self._plain_step(flat, flat.grad, first, second, int(memory["step"]))
            return
        rule = torch._fused_adamw_ if self.decoupled else torch._fused_adam_
        beta1, beta2 = group["betas"]
        rule([flat], [flat.grad], [first], [second], [], [memory["step"]], lr=group["lr"], beta1=beta1, beta2=beta2,
             weight_decay=group["weight_decay"], eps=group["eps"], amsgrad=False, maximize=False)

    def _plain_step(self, flat, gradient, first, second, n):
        group = self.param_groups[0]
        (beta1, beta2), lr, decay = group["betas"], group["lr"], group["weight_decay"]
        if self.decoupled:
            flat.mul_(1 - lr * decay)
        elif decay:
            gradient = gradient.add(flat, alpha=decay)
        first.lerp_(gradient, 1 - beta1)
        second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        spread = second.sqrt().div_((1 - beta2**n) ** 0.5).add_(group["eps"])
        flat.addcdiv_(first, spread, value=-lr / (1 - beta1**n))
