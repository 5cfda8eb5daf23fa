"""Batch normalisation over the cells of all processes that train together."""

from latome.backend import torch

__all__ = ["SharedNorm", "shared_norms"]


class SharedNorm(torch.nn.Module):
    """Stands in for a `BatchNorm1d`, whose parameters and running statistics it uses, and normalises by the mean and
    variance of all ranks' cells.

    Arguments
    ---------
    norm : the `BatchNorm1d`.
    ranks : a `Ranks` of several processes.
    """

    def __init__(self, norm, ranks):
        super().__init__()
        self.ranks = ranks
        self.weight, self.bias = norm.weight, norm.bias
        for name, buffer in norm.named_buffers():
            self.register_buffer(name, buffer)
        self.eps, self.momentum = norm.eps, norm.momentum
        self.train(norm.training)

    def forward(self, x):
        """(rows, features) from (rows, features)."""
        if not self.training:
            return torch.nn.functional.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias,
                                                  False, 0.0, self.eps)
        y, mean, variance, n = Normalise.apply(x, self.weight, self.bias, self.eps, self.ranks)
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (n / (n - 1)), self.momentum)
            self.num_batches_tracked += 1
        return y


class Normalise(torch.autograd.Function):
    """(x - mean) / sqrt(variance + eps) * weight + bias, mean and variance over all ranks; and these, and the rows."""

    @staticmethod
    def forward(ctx, x, weight, bias, eps, ranks):
        mean = x.mean(0)
        own = torch.cat([mean.new_tensor([len(x)]), mean, (x - mean).square().sum(0)]).double()
        parts = torch.zeros(ranks.size, len(own), dtype=own.dtype, device=own.device)
        parts[ranks.rank] = own
        ranks.add_up(parts)                                             # gathers: the other rows are zero
        counts, (means, spreads) = parts[:, :1], parts[:, 1:].chunk(2, 1)
        n = counts.sum()
        mean = (counts * means).sum(0) / n
        variance = (spreads + counts * (means - mean).square()).sum(0) / n
        inverse = (variance + eps).rsqrt().to(x.dtype)
        mean, variance = mean.to(x.dtype), variance.to(x.dtype)
        standard = (x - mean) * inverse
        ctx.save_for_backward(standard, inverse, weight, n)
        ctx.ranks = ranks
        ctx.mark_non_differentiable(mean, variance, n)
        return standard * weight + bias, mean, variance, n

    @staticmethod
    def backward(ctx, gradient, *unused):
        standard, inverse, weight, n = ctx.saved_tensors
        own = torch.stack([gradient.sum(0), (gradient * standard).sum(0)])          # (2, features)
        sums = own.clone()
        ctx.ranks.add_up(sums)
        sums = sums / n.to(sums.dtype)
        x = weight * inverse * (gradient - sums[0] - standard * sums[1])
        return x, own[1], own[0], None, None


def shared_norms(module, ranks):
    """Put a `SharedNorm` in the place of each batch normalisation of a module; returns a function that undoes it."""
    changed = []
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is torch.nn.BatchNorm1d and not ranks.alone:
                parent._modules[name] = SharedNorm(child, ranks)
                changed.append((parent, name, child))

    def undo():
        for parent, name, child in changed:
            shared = parent._modules[name]
            for buffer, value in shared.named_buffers():                # `.to()` may have replaced them
                setattr(child, buffer, value)
            child.train(shared.training)
            parent._modules[name] = child

    return undo
