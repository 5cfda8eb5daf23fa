"""The processes that train one model together, and what they tell each other.

    torchrun --nproc-per-node 4 -m latome train FOLDER

Every process (rank) holds the whole model and sees its share of each step's cells: the cells of a step are one group of
`size` times batch_size, drawn alike by all, and each takes a slice of it. The loss of a slice counts by its share of
the group, so that the sum of the gradients is that of one process at the larger batch, also where the last group is not
full. All ranks make equally many steps. Alone, nothing is sent and nothing is copied.
"""

import os
from contextlib import contextmanager
from datetime import timedelta

import numpy as np

from latome.backend import torch
from latome.data.minibatches import Minibatches, minibatch_bounds
from latome.errors import TrainingError
from latome.training.history import plain_sums

__all__ = ["Ranks", "Slices", "joined"]

PATIENCE = 1800                                        # seconds to wait for the others; LATOME_RANK_PATIENCE


class Ranks:
    """This process among those that train together; alone by default.

    Arguments
    ---------
    rank : number of this process, from 0.
    size : number of processes.
    local : number of this process on its machine, which chooses its GPU.
    """

    def __init__(self, rank=0, size=1, local=0):
        self.rank, self.size, self.local = rank, size, local
        self.rows = (0, 0, 0)                          # first, last + 1 of the current step's cells, and all of them
        self.share = 1.0                               # of these cells, those that are here

    @property
    def first(self):
        """Whether this process speaks and writes for all."""
        return self.rank == 0

    @property
    def alone(self):
        return self.size == 1

    def device(self, name):
        """The device that `name` stands for here: with several processes each has a GPU of its own."""
        if self.alone or name not in ("auto", "gpu", "cuda") or not torch.cuda.is_available():
            return name
        if self.local >= torch.cuda.device_count():
            raise TrainingError("device", problem=f"Process {self.local + 1} of this machine finds "
                                f"{torch.cuda.device_count()} GPUs.", hint="Start as many processes as there are GPUs.")
        return f"cuda:{self.local}"

    def weighed(self, loss):
        """The loss of this rank's cells, as it enters that of the whole step."""
        return loss if self.alone else loss * self.share

    def add_up(self, tensor):
        """Put the sum over all ranks into a tensor, in place."""
        if not self.alone:
            with told():
                torch.distributed.all_reduce(tensor)

    def each(self, value):
        """[value of every rank], in their order."""
        if self.alone:
            return [value]
        values = [None] * self.size
        with told():
            torch.distributed.all_gather_object(values, value)
        return values

    def same(self, value):
        """The first rank's value, in all."""
        if self.alone:
            return value
        held = [value]
        with told():
            torch.distributed.broadcast_object_list(held)
        return held[0]

    def any(self, flag):
        """Whether the flag is set in any of them."""
        return any(self.each(bool(flag)))

    def decided(self, function, *args):
        """What the function returns in the first rank, which alone calls it; a failure there is one in all."""
        if self.alone:
            return function(*args)
        failure, answer = None, None
        if self.first:
            try:
                answer = function(*args)
            except BaseException as error:  # noqa: BLE001 (raised below, once the others know)
                failure = error
        said = self.same((answer, str(failure) if failure else None))
        if failure:
            raise failure
        if said[1] is not None:
            raise TrainingError("ranks", problem=f"The first process has failed: {said[1]}", hint="See its messages.")
        return said[0]

    def total(self, sums):
        """Sums of an epoch, {name: number or tensor}, over all ranks: {name: number or array}."""
        if self.alone:
            return sums
        parts = self.each(plain_sums(sums))
        names = dict.fromkeys(name for part in parts for name in part)
        return {name: sum(np.asarray(part.get(name, 0)) for part in parts) for name in names}

    def align(self, tensors):
        """Give all the first rank's values of some tensors, in place."""
        if not self.alone:
            with told(), torch.no_grad():
                for tensor in tensors:
                    torch.distributed.broadcast(tensor, 0)

    def wait(self):
        """Until all have come here."""
        self.each(None)

    def groups(self, n, size):
        """[(start, stop), ...] of n cells in the groups of a step, `size` for each rank; a last one that does not have
        a cell for each joins the one before."""
        bounds = minibatch_bounds(n, size * self.size)
        if len(bounds) > 1 and bounds[-1][1] - bounds[-1][0] < self.size:
            bounds[-2:] = [(bounds[-2][0], bounds[-1][1])]
        return bounds

    def slice_of(self, start, stop):
        """(start, stop) of this rank's cells of a group; a remainder goes to the first ranks, one each."""
        base, rest = divmod(stop - start, self.size)
        begin = start + self.rank * base + min(self.rank, rest)
        return begin, begin + base + (self.rank < rest)


class Slices:
    """This rank's minibatches: of each group of cells, its slice.

    Arguments
    ---------
    ranks : a `Ranks`; its rows and share are set with each minibatch.
    data : a `Dataset`.
    rows : (n,) rows of it, all ranks'.
    size : cells of one rank's minibatch.
    device : where the tensors go.
    """

    def __init__(self, ranks, data, rows, size, device="cpu"):
        self.ranks, self.rows = ranks, np.asarray(rows, dtype=np.int64)
        groups = ranks.groups(len(self.rows), size)
        slices = [ranks.slice_of(*group) for group in groups]
        self.steps = len(groups)
        self.places = np.concatenate([np.arange(*part) for part in slices] or [np.arange(0)])
        self.batches = Minibatches(data, self.rows[self.places], size, device)
        stops = np.cumsum([stop - start for start, stop in slices], dtype=np.int64).tolist()
        bounds = zip([0, *stops], stops, strict=False)
        self.batches.bounds = [bound for bound in bounds if bound[0] < bound[1]]
        rows = [(start - first, stop - first, last - first)
                for (start, stop), (first, last) in zip(slices, groups, strict=True)]
        self.parts = [one for one in rows if one[0] < one[1]]

    def __len__(self):
        return self.steps

    def __iter__(self):
        return self.shuffled(self.rows)

    def shuffled(self, rows):
        """Minibatches over `rows`, a permutation of all ranks' rows."""
        for part, cells in zip(self.parts, self.batches.shuffled(rows[self.places]), strict=True):
            self.ranks.rows, self.ranks.share = part, (part[1] - part[0]) / part[2]
            yield cells


@contextmanager
def told():
    """Inside, another process that is gone, or silent for too long, is a TrainingError."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, TrainingError):
            raise
        first = str(error).strip().splitlines()[:1]
        raise TrainingError("ranks", problem="Another process of this training has ended, or does not answer.",
                            hint=f"See its messages. ({''.join(first)})") from error


@contextmanager
def joined(environment=os.environ):
    """The `Ranks` of the processes that torchrun started (its variables RANK, WORLD_SIZE, LOCAL_RANK ...), or alone."""
    size = int(environment.get("WORLD_SIZE", 1))
    if size == 1:
        yield Ranks()
        return
    ranks = Ranks(int(environment["RANK"]), size, int(environment.get("LOCAL_RANK", 0)))
    cuda = torch.cuda.is_available() and torch.distributed.is_nccl_available()
    if cuda and ranks.local < torch.cuda.device_count():
        torch.cuda.set_device(ranks.local)
    patience = timedelta(seconds=float(environment.get("LATOME_RANK_PATIENCE", PATIENCE)))
    with told():
        torch.distributed.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", rank=ranks.rank,
                                             world_size=size, timeout=patience)
    try:
        yield ranks
    finally:
        torch.distributed.destroy_process_group()      # left to the end of Python, its threads may abort the process
