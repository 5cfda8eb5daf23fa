"""An optimiser over one flat buffer that all parameters are views of: each step is a single call."""

from itertools import accumulate

from latome.backend import torch
from latome.errors import SettingError, TrainingError
from latome.kernels.adam import CompiledAdam, can_step
from latome.kernels.flat_adam import FlatAdam

__all__ = ["FlatOptimizer", "adam", "as_laid_out", "clipping", "created_by"]

ALIGNED = 64                                           # bytes: where torch puts a tensor of its own


def adam(*, lr, eps, weight_decay, decoupled=False):
    """A maker of Adam; `weight_decay` is added to the gradient, or (AdamW) taken off the weights if `decoupled`."""
    def make(flat):
        return FlatAdam(flat, lr=lr, eps=eps, weight_decay=weight_decay, decoupled=decoupled)

    return make


def created_by(creator):
    """A maker of what `creator`, a function of a list of parameters, returns: any optimiser of torch.

    The list holds one flat vector of all parameters, so an optimiser that treats matrices apart is none for it.
    """
    advice = "Give a function such as lambda parameters: torch.optim.SGD(parameters, lr=0.01)."

    def make(flat):
        try:
            made = creator([flat])
        except Exception as error:
            raise SettingError("optimizer_creator", problem=f"optimizer_creator failed: {error}", hint=advice
                               + " It receives a list of one flat vector of all parameters.") from error
        if not isinstance(made, torch.optim.Optimizer):
            raise SettingError("optimizer_creator", problem="optimizer_creator returned a "
                               f"{type(made).__name__}, not an optimiser of torch.", hint=advice)
        held = [p for group in made.param_groups for p in group["params"]]
        if len(held) != 1 or held[0] is not flat:
            raise SettingError("optimizer_creator", problem="The optimiser does not hold the parameters it was given.",
                               hint=advice)
        return made

    return make


def clipping(most, by="norm"):
    """A function that bounds a gradient in place: its norm, or each of its values; None where `most` is None.

    A gradient that is not finite stays so: the check at the end of the epoch must see it.
    """
    if most is None:
        return None
    if by == "value":
        return lambda gradient: gradient.clamp_(-most, most)
    return lambda gradient: gradient.mul_((most / torch.linalg.vector_norm(gradient)).clamp_max(1.0))


def as_laid_out(values, like):
    """A view of `values` (size,) in the shape of a tensor, whose elements lie in the same order."""
    if like.is_contiguous():
        return values.view(like.shape)
    order = sorted(range(like.dim()), key=like.stride, reverse=True)    # the slowest dimension first
    places = [order.index(dimension) for dimension in range(like.dim())]
    return values.view([like.shape[dimension] for dimension in order]).permute(places)


class FlatOptimizer:
    """An optimiser of torch over a module's trainable parameters.

    The parameters become views of one buffer, and their gradients views of another. Each begins where a tensor of its
    own would, at a multiple of 64 bytes, with zeros before it: products round the last digit by where their factors
    lie, and a model must not answer otherwise once it is saved and read again. What moves parameters out
    of it (`.to()`, say) asks for `lay_out` again; `in_place` tells. Where the compiled Adam takes the step and nobody
    asks for the flat gradient, gradients stay where backward leaves them, which saves adding them up.

    Arguments
    ---------
    parameters : trainable parameters.
    make : function of the flat parameter that returns the optimiser: `adam(...)`, `created_by(...)`.
    clip : function that bounds the flat gradient in place, or None.
    between : function that adds to the flat gradient, in place, those of other processes; or None.

    Raises TrainingError when there is nothing to train.
    """

    def __init__(self, parameters, make, clip=None, between=None):
        self.parameters = [p for p in parameters if p.requires_grad]
        if not self.parameters:
            raise TrainingError("module", problem="The model has no parameter that may be trained.",
                                hint="Some have requires_grad switched off, or update_only_decoder left none.")
        sizes = [p.numel() for p in self.parameters]
        first = self.parameters[0]
        step = ALIGNED // first.element_size()
        ends = list(accumulate(-(-size // step) * step for size in sizes))
        self.flat = torch.nn.Parameter(torch.zeros(ends[-1], dtype=first.dtype, device=first.device))
        self.flat.grad = torch.zeros_like(self.flat)
        self.places = list(zip(self.parameters, [0, *ends], sizes, strict=False))
        self.lay_out()
        self.clip, self.between = clip, between
        self.torch = make(self.flat)
        self.compiled = None
        if clip is None and between is None and can_step(self.torch, self.parameters):
            self.compiled = CompiledAdam(self.torch, self.parameters)

    @torch.no_grad()
    def lay_out(self):
        """Copy the parameters into the buffer and make them views of it."""
        for p, start, size in self.places:
            part = as_laid_out(self.flat.data[start:start + size], p)
            part.copy_(p.data)
            p.data = part
            p.grad = as_laid_out(self.flat.grad[start:start + size], p)

    def in_place(self):
        """Whether the parameters still are views of the buffer."""
        begin, width = self.flat.data_ptr(), self.flat.element_size()
        return all(p.data_ptr() == begin + start * width for p, start, _ in self.places)

    @property
    def lr(self):
        """The learning rate, which may be set."""
        return float(self.torch.param_groups[0]["lr"])

    @lr.setter
    def lr(self, value):
        self.torch.param_groups[0]["lr"] = value

    def zero_grad(self):
        """Set all gradients to zero, in one call, or to none."""
        if self.compiled is None:
            self.flat.grad.zero_()
            return
        for p in self.parameters:
            p.grad = None

    def step(self):
        """Bound the gradient, if asked to, and take one step with the whole buffer."""
        if self.compiled is not None:
            self.compiled.step()
            return
        if self.between:
            self.between(self.flat.grad)
        if self.clip:
            self.clip(self.flat.grad)
        self.torch.step()

    def state(self):
        """{name: tensor} of the optimiser's memory."""
        memory = self.torch.state.get(self.flat, {})
        return {name: torch.as_tensor(value).clone() for name, value in memory.items() if value is not None}

    def load_state(self, memory):
        """The reverse of `state`; the tensors go to the device of the parameters."""
        if memory:
            groups = self.torch.state_dict()["param_groups"]
            memory = {name: value.clone() for name, value in memory.items()}
            self.torch.load_state_dict({"state": {0: memory}, "param_groups": groups})
