"""Random numbers of several processes that are those of one: the noise of latents."""

from contextlib import contextmanager

import numpy as np

from latome.backend import torch
from latome.training.session import RandomStream

__all__ = ["RankedRandom", "random_numbers"]


def random_numbers(seed, device, ranks):
    """A `RandomStream`, or with several ranks a `RankedRandom`."""
    return RandomStream(seed, device) if ranks.alone else RankedRandom(seed, device, ranks)


class RankedRandom:
    """Like a `RandomStream`, for one of several ranks.

    Normal noise for the cells of a minibatch, torch.randn(..., m, k), is drawn for the cells of all ranks, alike in
    each, which keeps the rows that are its own: so a step sees the noise that one process would draw. All else, such as
    dropout, is drawn by each rank from a stream of its own.
    """

    def __init__(self, seed, device, ranks):
        self.own, self.ranks = RandomStream(seed, device), ranks
        self.shared = torch.Generator(device)
        self.shared.manual_seed(seed)

    @contextmanager
    def active(self):
        """Inside, torch draws from these numbers."""
        with self.own.active(), SharedNoise(self.ranks, self.shared):
            yield

    def reseed(self, seed):
        """Begin anew from `seed`, the same in all ranks; only while active."""
        self.shared.manual_seed(seed)
        self.own.reseed(np.random.SeedSequence([seed, self.ranks.rank]).generate_state(1, np.uint64).item() >> 1)

    @property
    def state(self):
        """(processor's, GPU's or None, shared) states, from which it can go on; only while not active."""
        return *self.own.state, self.shared.get_state()

    @state.setter
    def state(self, states):
        self.own.state = states
        self.shared.set_state(states[2])


class SharedNoise(torch.overrides.TorchFunctionMode):
    """Inside, torch.randn(..., m, k) for the m cells of a rank's minibatch gives its rows of a draw for all."""

    def __init__(self, ranks, generator):
        super().__init__()
        self.ranks, self.generator = ranks, generator

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function is torch.randn and "generator" not in kwargs:
            shape = args[0] if isinstance(args[0], tuple | list) else args
            start, stop, n = self.ranks.rows
            if len(shape) > 1 and shape[-2] == stop - start:
                noise = torch.randn(*shape[:-2], n, shape[-1], generator=self.generator, **kwargs)
                return noise[..., start:stop, :]
        return function(*args, **kwargs)
