"""The training loop: one page, driven in slices of time.

`Trainer.advance(seconds)` trains for about that long and comes back, so that whoever drives it (R, a
progress bar, a command line) stays in charge; a keyboard interrupt ends training after the current step
and leaves the model as trained so far. Losses are summed on the device and read at the end of an epoch.
"""

import time
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from latome.backend import long_spins, torch
from latome.data.minibatches import Minibatches
from latome.errors import TrainingError
from latome.training.adversary import Adversary, named
from latome.training.contention import Contention
from latome.training.history import History
from latome.training.optimizer import FlatAdam
from latome.training.options import default_epochs
from latome.training.schedule import kl_weight
from latome.training.session import RandomStream, find_device, use_threads
from latome.training.split import split_cells
from latome.training.stopping import EarlyStopping

__all__ = ["Progress", "Trainer"]


@dataclass(frozen=True)
class Progress:
    """Where training stands: state is "running", "finished", "early" or "interrupted"; losses in nats a cell."""

    state: str
    epoch: int
    n_epochs: int
    step: int
    n_steps: int
    elbo: float | None
    elbo_validation: float | None
    seconds: float


class Trainer:
    """Trains a module on a dataset.

    Arguments
    ---------
    module, data : what to train, and on what.
    options : `TrainingOptions`.
    seed : of the split, the order of the cells and every random draw.
    history : of earlier training, which this continues.
    callbacks : functions of the trainer, called after each epoch; one that returns True stops training.
    """

    def __init__(self, module, data, options, *, seed=0, history=None, callbacks=()):
        self.module, self.data, self.options, self.seed = module, data, options, seed
        self.history = history or History()
        self.callbacks = list(callbacks)
        self.device = find_device(options.device)
        self.train_rows, self.validation_rows = split_cells(data.n_cells, options, seed)
        self.first_epoch = len(self.history)
        self.epoch, self.step = self.first_epoch, 0
        self.n_epochs = self.first_epoch + (options.max_epochs or default_epochs(data.n_cells))
        self.state, self.seconds = "running", 0.0
        self.stopping = EarlyStopping(options)
        self.random = RandomStream(seed, self.device)
        threads = options.threads or torch.get_num_threads()
        self.contention = Contention(threads, watch=long_spins and self.device.type == "cpu")
        module.to(self.device).train()
        module.prepare(data, self.train_rows)
        self.batches = Minibatches(data, self.train_rows, options.batch_size, self.device)
        self.optimizer = FlatAdam(
            module.parameters(), lr=options.lr, eps=options.eps, weight_decay=options.weight_decay)
        network = module.adversary()
        self.adversary = Adversary(network.to(self.device), options) if network is not None else None
        self.validation = Minibatches(data, self.validation_rows, options.batch_size, self.device)
        self.last_good = self._weights()
        self.sums = {}
        self._steps = self._train()

    @property
    def n_steps(self):
        """Steps in all, if training goes to its last epoch."""
        return (self.n_epochs - self.first_epoch) * len(self.batches)

    def advance(self, seconds=None):
        """Train for about `seconds` (None: to the end) and return a `Progress`."""
        began, worked = time.perf_counter(), time.process_time()
        try:
            with ExitStack() as stack:
                stack.enter_context(use_threads(self.options.threads))
                stack.enter_context(self.random.active())
                while self.state == "running":
                    if next(self._steps, self) is self:                 # the generator has ended
                        self.state = "finished" if self.state == "running" else self.state
                    if seconds is not None and time.perf_counter() - began >= seconds:
                        break
        except KeyboardInterrupt:
            self.interrupt()
        finally:
            taken = time.perf_counter() - began
            self.seconds += taken
            self.contention.note(taken, time.process_time() - worked)
            if self.state != "running":
                self.contention.end()
        if self.state != "running":
            self.module.eval().to("cpu")
        return self.progress()

    def drive(self, show, seconds=0.1):
        """Train to the end, calling `show(progress)` now and then; an interrupt anywhere ends training."""
        try:
            while self.state == "running":
                show(self.advance(seconds))
        except KeyboardInterrupt:
            self.interrupt()
        finally:
            self.module.eval().to("cpu")

    def interrupt(self):
        """End training here, with the model as it is."""
        if self.state == "running":
            self.state = "interrupted"
            self.contention.end()
            self._end_part_of_epoch()

    def progress(self):
        """Where training stands."""
        return Progress(self.state, self.epoch, self.n_epochs, self.step, self.n_steps, self.history.last("elbo_train"),
                        self.history.last("elbo_validation"), self.seconds)

    def memory(self):
        """({name: tensor}, facts) from which `restore` goes on, bit for bit, at the end of an epoch."""
        tensors = {f"module.{name}": value.detach().clone() for name, value in self.module.state_dict().items()}
        tensors |= {f"adam.{name}": value for name, value in self.optimizer.state().items()}
        if self.adversary:
            tensors |= self.adversary.memory()
        facts = {"epoch": self.epoch, "first_epoch": self.first_epoch, "step": self.step, "n_epochs": self.n_epochs,
                 "best": self.stopping.best, "waited": self.stopping.waited, "seconds": self.seconds}
        return tensors, facts

    def restore(self, tensors, facts):
        """Go on from a `memory` of a trainer of the same model, data, options and seed."""
        self.module.load_state_dict(named(tensors, "module."))
        self.optimizer.load_state(named(tensors, "adam."))
        if self.adversary:
            self.adversary.restore(named(tensors, "adversary."))
        self.epoch, self.first_epoch, self.step = facts["epoch"], facts["first_epoch"], facts["step"]
        self.n_epochs, self.seconds = facts["n_epochs"], facts["seconds"]
        self.last_good = self._weights()
        self.stopping.best, self.stopping.waited = facts["best"], facts["waited"]

    def _train(self):
        """Yields after each step."""
        if self.options.early_stopping and self.stopping.exhausted:     # restored from where it stopped early
            self.state = "early"
            return
        before = self.first_epoch * len(self.batches)                   # steps of the training this continues
        while self.epoch < self.n_epochs:
            self.random.reseed(np.random.SeedSequence([self.seed, self.epoch]).generate_state(1, np.uint64).item() >> 1)
            order = np.random.default_rng([self.seed, self.epoch]).permutation(self.train_rows)
            streams = self._streams(np.random.default_rng([self.seed, self.epoch, 1]))
            weight = kl_weight(self.options, self.epoch, before + self.step)
            self.sums = {}
            for cells in self.batches.shuffled(order):
                if self.options.n_epochs_kl_warmup is None:
                    weight = kl_weight(self.options, self.epoch, before + self.step)
                if streams:
                    cells["streams"] = {name: next(stream) for name, stream in streams.items()}
                self._step(cells, weight)
                yield
            if self._end_epoch(weight):
                self.state = "early"
                return

    def _streams(self, generator):
        drawn = self.module.streams(self.data, self.train_rows, generator)
        size = self.options.batch_size
        return {name: endless(Minibatches(self.data, rows, size, self.device)) for name, rows in drawn.items()}

    def _step(self, cells, weight):
        self.optimizer.zero_grad()
        terms, _, latents = self.module.explain(cells)
        loss = self.module.loss(terms, weight, len(self.train_rows))
        if self.adversary:
            loss = loss + self.adversary.fool(latents["z"], cells["batch"], weight)
        loss.backward()
        self.optimizer.step()
        self.module.after_step()
        if self.adversary:
            self.adversary.step(latents["z"], cells["batch"], weight)
        self.step += 1
        add_terms(self.sums, terms)

    def _end_part_of_epoch(self):
        """Record an epoch that was interrupted, from the cells it saw; there is no validation of it."""
        if not self.sums:
            return
        row = {"epoch": self.epoch, **summarise(self.sums, "train")}
        if self._sound(row):
            self.history.append(row)
            self.epoch += 1
        else:
            self.module.load_state_dict(self.last_good)

    def _end_epoch(self, weight):
        """Read the epoch's sums, validate, and tell whether to stop."""
        row = {"epoch": self.epoch, **summarise(self.sums, "train"), "kl_weight": weight}
        with torch.no_grad():
            kl_global = float(sum(self.module.global_terms().values()))
        row["kl_global_train"] = kl_global
        row["elbo_train"] += kl_global / len(self.train_rows)
        every = self.options.validate_every
        if every and len(self.validation) and (self.epoch + 1 - self.first_epoch) % every == 0:
            row |= self._validate()
            row["elbo_validation"] += kl_global / len(self.train_rows)
        self._refuse_divergence(row)
        self.epoch, self.sums = self.epoch + 1, {}     # first: an interrupt here must not record the epoch twice
        self.history.append(row)
        exhausted = self.options.early_stopping and self.stopping.update(row["epoch"], row)
        stop = any([callback(self) is True for callback in self.callbacks])      # a checkpoint holds the update
        return exhausted or stop

    @torch.no_grad()
    def _validate(self):
        sums = {}
        self.module.eval()
        for cells in self.validation:
            add_terms(sums, self.module.terms(cells))
        self.module.train()
        return summarise(sums, "validation")

    def _weights(self):
        return {name: value.clone() for name, value in self.module.state_dict().items()}

    def _sound(self, row):
        return np.isfinite(list(row.values())).all() and bool(self.optimizer.flat.isfinite().all())

    def _refuse_divergence(self, row):
        """Keep the weights of the last sound epoch; if this one is not, restore them and stop."""
        if self._sound(row):
            self.last_good = self._weights()
            return
        self.state = "failed"
        self.module.load_state_dict(self.last_good)
        raise TrainingError("lr", problem=f"The loss became infinite or NaN in epoch {self.epoch + 1}.",
                            hint=f"Lower the learning rate (now {self.options.lr}), remove cells and genes with "
                                 "extreme counts, and standardise continuous covariates.")


def endless(batches):
    """Minibatches over and over, read anew each time."""
    while True:
        yield from batches


def add_terms(sums, terms):
    """Add a minibatch's terms to the sums of the epoch, on the device."""
    found = {"reconstruction_loss": terms.reconstruction(), "kl_local": terms.divergences()}
    n = found["kl_local"].shape[0]
    found |= {name: value * n for name, (value, _) in terms.penalty.items()}
    for name, value in found.items():
        sums[name] = sums.get(name, 0) + value.detach().sum()
    sums["n"] = sums.get("n", 0) + n


def summarise(sums, part):
    """{quantity_part: mean a cell} of an epoch's sums; the ELBO is given as a loss, smaller is better."""
    n = sums["n"]
    row = {f"{name}_{part}": float(value) / n for name, value in sums.items() if name != "n"}
    return {f"elbo_{part}": row[f"reconstruction_loss_{part}"] + row[f"kl_local_{part}"]} | row
