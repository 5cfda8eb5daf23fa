"""The training loop: one page, driven in slices of time.

`Trainer.advance(seconds)` trains for about that long and comes back, so that whoever drives it (R, a
progress bar, a command line) stays in charge; a keyboard interrupt ends training after the current step
and leaves the model as trained so far. Losses are summed on the device and read at the end of an epoch.
"""

import math
import time
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

import numpy as np

from latome.backend import long_spins, torch
from latome.errors import SettingError, TrainingError
from latome.kernels.heads import products_in
from latome.kernels.heap import AmpleHeap
from latome.training.adversary import Adversary
from latome.training.callbacks import Callbacks
from latome.training.cells import TrainingCells
from latome.training.contention import Contention
from latome.training.held import Held
from latome.training.history import History, add_terms, summarise
from latome.training.optimizer import FlatOptimizer, adam, clipping, created_by
from latome.training.options import default_epochs
from latome.training.ranks import Ranks
from latome.training.schedule import Plateau, kl_weight, learning_rate
from latome.training.session import check_products, find_device, held_still, use_threads
from latome.training.shared_draws import random_numbers
from latome.training.shared_norm import shared_norms
from latome.training.stopping import BestWeights, EarlyStopping

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
    callbacks : functions of the trainer, called after each epoch, or objects; see training/callbacks.py.
    split : [training rows, validation rows, test rows]; by default drawn as `options` say.
    optimizer : function of a list of parameters that returns an optimiser of torch, in place of `options.optimizer`.
    ranks : the `Ranks` that train together; by default this process alone.
    held : {name of a tensor: leading rows that stay as they are, None for all}; see training/held.py.
    """

    def __init__(self, module, data, options, *, seed=0, history=None, callbacks=(), split=None, optimizer=None,
                 ranks=None, held=None):
        self.module, self.data, self.options, self.seed = module, data, options, seed
        self.callbacks, self.ranks = Callbacks(callbacks), ranks or Ranks()
        self.device = find_device(self.ranks.device(options.device))
        check_products(options.products, self.device)
        self.cells = TrainingCells(data, options, seed, split, self.device, self.ranks)
        self.history = history or History()
        self.first_epoch = len(self.history)
        self.epoch, self.step, self.done = self.first_epoch, 0, 0      # done: steps of this epoch
        self.n_epochs = self.first_epoch + epochs_of(options, data.n_cells, len(self.cells.training))
        self.state, self.seconds, self.closed = "running", 0.0, False
        self.random = random_numbers(seed, self.device, self.ranks)
        threads = options.threads or torch.get_num_threads()
        self.contention = Contention(threads, watch=long_spins and self.device.type == "cpu")
        self.frozen = frozen_parts(module) if options.update_only_decoder else []
        module.to(self.device)
        self.held = Held(module, held or {})
        self.frozen.append(self.held)
        module.prepare(data, self.train_rows)
        self.held.put_back()
        self.ranks.align(module.state_dict().values())
        self.own_norms = shared_norms(module, self.ranks)
        still = {p for part in self.frozen for p in part.parameters()}
        self.optimizer = FlatOptimizer([p for p in module.parameters() if p not in still], maker(options, optimizer),
                                       clipping(options.gradient_clip_val or module.gradient_clip,
                                                options.gradient_clip_algorithm),
                                       None if self.ranks.alone else self.ranks.add_up)
        with self.random.active():                     # its weights are drawn from the seed
            network = module.adversary()
        self.adversary = Adversary(network.to(self.device), options, self.ranks) if network is not None else None
        self.stopping = EarlyStopping(options)
        self.plateau = Plateau(options, self.optimizer) if options.reduce_lr_on_plateau else None
        self.best = BestWeights(options) if options.keep_best else None
        self.last_good = self.weights()
        self.sums = {}
        self.heap = AmpleHeap()
        self._steps = self._train()

    @property
    def train_rows(self):
        """Rows of the cells trained on: (n_train,)."""
        return self.cells.split.train

    @property
    def validation_rows(self):
        """Rows of the cells validated on."""
        return self.cells.split.validation

    @property
    def test_rows(self):
        """Rows of the cells kept for tests."""
        return self.cells.split.test

    @property
    def n_steps(self):
        """Steps in all, if training goes to its last epoch."""
        steps = (self.n_epochs - self.first_epoch) * len(self.cells.training)
        return min(steps, self.options.max_steps or steps)

    def advance(self, seconds=None, steps=None):
        """Train for about `seconds`, or for so many steps (None: to the end), and return a `Progress`."""
        began, worked = time.perf_counter(), time.process_time()
        last = math.inf if steps is None else self.step + steps
        try:
            with self._session():
                while self.state == "running":
                    if next(self._steps, self) is self:                 # the generator has ended
                        self.state = "finished" if self.state == "running" else self.state
                    if self.step >= last or (seconds is not None and time.perf_counter() - began >= seconds):
                        break
        except KeyboardInterrupt:
            self.interrupt()
        except Exception:                              # a callback's has left another state; else a step has failed
            if self.state == "running":
                self.state = "failed"
                self.module.load_state_dict(self.last_good)
            raise
        finally:
            taken = time.perf_counter() - began
            self.seconds += taken
            self.contention.note(taken, time.process_time() - worked)
            if self.state != "running":
                self._close()
        return self.progress()

    def drive(self, show, seconds=0.1):
        """Train to the end, calling `show(progress)` now and then; an interrupt anywhere ends training."""
        try:
            while self.state == "running":
                show(self.advance(seconds))
        except KeyboardInterrupt:
            self.interrupt()
        except BaseException:                          # of `show`, or the end of the process; not lost either
            self.interrupt()
            raise

    def interrupt(self):
        """End training here, with the model as it is."""
        if self.state == "running":
            self.state = "interrupted"
            self._end_part_of_epoch()
        self._close()

    def progress(self):
        """Where training stands."""
        return Progress(self.state, self.epoch, self.n_epochs, self.step, self.n_steps, self.history.last("elbo_train"),
                        self.history.last("elbo_validation"), self.seconds)

    def facts(self):
        """What a saved model keeps of its training beside the options, JSON-able."""
        facts = self.cells.facts | ({} if self.ranks.alone else {"ranks": self.ranks.size})
        return facts | ({"best_epoch": self.best.epoch} if self.best else {})

    @contextmanager
    def _session(self):
        """Our threads, our random numbers, our type of products, and what is frozen."""
        with use_threads(self.options.threads), self.random.active(), products_in(self.options.products), \
                held_still(self.frozen):
            yield

    def _learn(self):
        """The module in training mode, but for what is frozen."""
        self.module.train()
        for part in self.frozen:
            part.eval()

    def _tell(self, moment):
        """Call the callbacks, in the first rank; one that raises ends training, with the model as it is."""
        try:
            return self.ranks.decided(self.callbacks.tell, moment, self)
        except Exception:
            self.state = "interrupted" if self.state == "running" else self.state
            raise
        finally:
            self._learn()                              # whatever a callback did with the module

    def _close(self):
        """Once, when training has ended: give back what it borrowed, and hand over the model."""
        if self.closed:
            return
        self.contention.end()
        self.heap.close()
        if self.best and self.best.weights:
            self.module.load_state_dict(self.best.weights)
        self.own_norms()
        self.module.eval().to("cpu")
        self.closed = True
        if self.ranks.first:
            with self._session():
                self.callbacks.tell("on_train_end", self)

    def _train(self):
        """Yields after each step."""
        self._tell("on_train_start")
        if self.stopping.exhausted:                                     # restored from where it stopped early
            self.state = "early"
            return
        before = self.first_epoch * len(self.cells.training)            # steps of the training this continues
        while self.epoch < self.n_epochs:
            if not self.done:                                           # else taken up within the epoch
                self.random.reseed(mixed(self.seed, self.epoch))
                self.sums = {}
            streams = self.cells.streams(self.module, self.epoch, self.done)
            weight = kl_weight(self.options, self.epoch, before + self.step - (self.done > 0))
            last = self.done + self.n_steps - self.step
            for cells in islice(self.cells.in_new_order(self.epoch), self.done, last):
                if self.options.n_epochs_kl_warmup is None:
                    weight = kl_weight(self.options, self.epoch, before + self.step)
                if streams:
                    cells["streams"] = {name: next(stream) for name, stream in streams.items()}
                if self.options.lr_schedule != "constant":
                    self.optimizer.lr = learning_rate(self.options, self.step, self.n_steps)
                self._step(cells, weight)
                self.done += 1
                yield
            if self._end_epoch(weight):
                self.state = "early"
                return

    def _step(self, cells, weight):
        self.optimizer.zero_grad()
        terms, _, latents = self.module.explain(cells)
        loss = self.module.loss(terms, weight, len(self.train_rows), self.ranks.share)
        if self.adversary:
            loss = loss + self.adversary.fool(latents["z"], cells["batch"], weight)
        self.ranks.weighed(loss).backward()
        self.held.silence()
        self.optimizer.step()
        self.module.after_step()
        self.held.restore()
        if self.adversary:
            self.adversary.step(latents["z"], cells["batch"], weight)
        self.step += 1
        add_terms(self.sums, terms)

    def _end_part_of_epoch(self):
        """Record an epoch that was interrupted, from the cells it saw; there is no validation of it."""
        if not self.sums:
            return
        row = {"epoch": self.epoch, **summarise(self.sums, "train", self.module)}
        if self._sound(row):
            self.history.append(row)
            self.epoch += 1
        else:
            self.module.load_state_dict(self.last_good)

    def _end_epoch(self, weight):
        """Read the epoch's sums, validate, and tell whether to stop."""
        row = {"epoch": self.epoch, **summarise(self.ranks.total(self.sums), "train", self.module), "kl_weight": weight}
        if self.plateau or self.options.lr_schedule != "constant":
            row["lr"] = self.optimizer.lr
        with torch.no_grad():
            kl_global = float(sum(self.module.global_terms().values()))
        row["kl_global_train"] = kl_global
        row["elbo_train"] += kl_global / len(self.train_rows)
        every = self.options.validate_every
        if every and len(self.cells.validation) and (self.epoch + 1 - self.first_epoch) % every == 0:
            row |= self._validate()
            row["elbo_validation"] += kl_global / len(self.train_rows)
        row = self.ranks.same(row)                     # all decide on what the first has seen
        self._refuse_divergence(row)
        self.epoch, self.sums, self.done = self.epoch + 1, {}, 0       # first: an interrupt must not record it twice
        self.history.append(row)
        exhausted = self.stopping.update(row)          # all this goes before the callbacks: a checkpoint holds it
        if self.plateau:
            self.plateau.update(row)
        if self.best:
            self.best.update(row, self.last_good)
        return self._tell("on_epoch_end") or exhausted

    @torch.no_grad()
    def _validate(self):
        sums = {}
        self.module.eval()
        for cells in self.cells.validation:
            add_terms(sums, self.module.terms(cells))
        self._learn()
        return summarise(self.ranks.total(sums), "validation", self.module)

    def weights(self):
        """{name: tensor} of the module, copied."""
        return {name: value.clone() for name, value in self.module.state_dict().items()}

    def _sound(self, row):
        return np.isfinite(list(row.values())).all() and bool(self.optimizer.flat.isfinite().all())

    def _refuse_divergence(self, row):
        """Keep the weights of the last sound epoch; if this one is not, say so."""
        if self._sound(row):
            self.last_good = self.weights()
            return
        raise TrainingError("lr", problem=f"The loss became infinite or NaN in epoch {self.epoch + 1}.",
                            hint=f"Lower the learning rate (now {self.options.lr}), remove cells and genes with "
                                 "extreme counts, and standardise continuous covariates.")


def mixed(seed, epoch):
    """The seed of an epoch's random numbers."""
    return np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64).item() >> 1


def epochs_of(options, n_cells, n_batches):
    """Epochs that `options` ask for, each of `n_batches` steps."""
    if options.max_steps is None:
        return options.max_epochs or default_epochs(n_cells)
    enough = math.ceil(options.max_steps / n_batches)
    return min(enough, options.max_epochs or enough)


def frozen_parts(module):
    """The networks of a module that training of its decoder alone leaves as they are."""
    parts = [part for part in (getattr(module, name) for name in module.encoders) if part is not None]
    if not parts:
        raise SettingError("update_only_decoder", problem="The model has no encoder that could be left as it is.",
                           hint="Leave update_only_decoder off.")
    return parts


def maker(options, creator=None):
    """The maker of the optimiser: what `creator` returns, or Adam as `options` say."""
    if creator is not None:
        return created_by(creator)
    return adam(lr=options.lr, eps=options.eps, weight_decay=options.weight_decay,
                decoupled=options.optimizer == "AdamW")
