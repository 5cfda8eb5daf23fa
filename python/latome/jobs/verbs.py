"""What a job is asked: to train, to locate its cells in the latent space, to compare them. Over all ranks together.

Every rank opens the folder, which all machines must see; the first one speaks, and writes state and results.
"""

import shutil
import signal
import time
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from latome.analysis.differential import comparisons_of, differential_expression
from latome.analysis.latent import latent
from latome.analysis.sweep import cells_at_once
from latome.data.registry import open_data
from latome.errors import ArchiveError, LatomeError, QueryError
from latome.fit import conclude
from latome.io import archive, checkpoint
from latome.jobs.folder import LATENT, MODEL, TABLE
from latome.training.ranks import Ranks
from latome.training.session import RandomStream, use_threads

__all__ = ["compare", "locate", "stopping", "train"]

SLICE = 16                                             # steps between two looks at the signal, where ranks must agree
SECONDS = 0.1                                          # the same alone
QUIET = 10.0                                           # seconds between two notes of progress


class Stopping:
    """Whether the process was asked to end: true once `asked` was set."""

    def __init__(self):
        self.asked = False

    def note(self, *signal_and_frame):
        """What a signal calls."""
        self.asked = True


@contextmanager
def stopping():
    """A `Stopping` that a SIGTERM sets, as a cluster sends it before it takes the machine away.

    For the command line, in the main thread; the handler found is put back.
    """
    found = Stopping()
    before = signal.signal(signal.SIGTERM, found.note)
    try:
        yield found
    finally:
        signal.signal(signal.SIGTERM, before)


def train(job, ranks=None, stop=None, show=None, **machine):
    """Train the model of a job, from its checkpoint if there is one, and locate its cells.

    Arguments
    ---------
    job : a `Job`.
    ranks : the `Ranks` that train together; by default alone.
    stop : a `Stopping`; once it is asked, training ends between two steps with a checkpoint.
    show : function of a `Progress`, now and then.
    machine : options of training that belong to the machine: device, threads, checkpoint_every.

    Returns "done" or "stopped". A job that is done is not repeated.
    """
    ranks, stop = ranks or Ranks(), stop or Stopping()
    if job.verb != "train":
        raise ArchiveError("folder", problem=f"The job in {job.folder} holds a trained model and cells to be mapped.",
                           hint=f"Run: latome map {job.folder}")
    if ranks.same(job.state().get("state")) == "done":
        return "done"
    with failing(job, "train", ranks):
        data = job.data(verify=ranks.first)
        fit = job.untrained(data)
        options = replace(job.options(**machine), checkpoint=str(job.folder / "checkpoint"))
        trainer = checkpoint.begin(fit, data, options, ranks=ranks)
        writer = trainer.callbacks.listeners["on_epoch_end"][-1].__self__
        state = drive(trainer, stop, Notes(job, ranks, show))
        if state == "stopped":
            writer.write(trainer)
        else:
            conclude(fit, trainer)
            if ranks.first:
                archive.save(fit, job.folder / MODEL, overwrite=True)
            write_latent(job, fit, data, ranks, options.threads)
        if ranks.first:
            job.note_state("train", state, **facts_of(trainer.progress()), ranks=ranks.size)
            if state == "done":
                shutil.rmtree(job.folder / "checkpoint", ignore_errors=True)
    return state


def drive(trainer, stop, notes):
    """Train to the end ("done"), or until some rank is asked to end ("stopped")."""
    notes(trainer.progress())
    while trainer.state == "running":
        if trainer.ranks.alone:
            notes(trainer.advance(SECONDS))
        else:
            notes(trainer.advance(steps=SLICE))
        if trainer.state == "running" and trainer.ranks.any(stop.asked):
            return "stopped"
    if trainer.state == "interrupted":
        raise KeyboardInterrupt                        # the last checkpoint stays, to go on from
    return "done"


class Notes:
    """A function of a `Progress`, which the first rank notes in the folder and shows."""

    def __init__(self, job, ranks, show=None):
        self.job, self.ranks, self.show = job, ranks, show
        self.last, self.epoch = 0.0, -1

    def __call__(self, now):
        if not self.ranks.first:
            return
        if self.show is not None:
            self.show(now)
        if now.epoch > self.epoch and time.monotonic() - self.last >= QUIET and now.state == "running":
            self.last, self.epoch = time.monotonic(), now.epoch
            self.job.note_state("train", "running", **facts_of(now), ranks=self.ranks.size)


def facts_of(now):
    """What is noted of a `Progress`."""
    return {"epoch": now.epoch, "n_epochs": now.n_epochs, "elbo": now.elbo, "elbo_validation": now.elbo_validation,
            "seconds": round(now.seconds, 1)}


@contextmanager
def failing(job, verb, ranks):
    """Inside, an error is noted in the folder before it is raised."""
    try:
        yield
    except KeyboardInterrupt:
        if ranks.first:
            job.note_state(verb, "stopped")
        raise
    except Exception as error:
        problem = error.problem if isinstance(error, LatomeError) else f"{type(error).__name__}: {error}"
        job.note_state(verb, "failed", problem=problem, rank=ranks.rank)
        raise


def locate(job, ranks=None, verb="latent", threads=None):
    """Write the latent of a job's cells under its model (n, k), each rank a range of them; "done"."""
    ranks = ranks or Ranks()
    if verb == "map" and job.verb != "map":
        raise ArchiveError("folder", problem=f"The job in {job.folder} trains a model on its own cells.",
                           hint="To map other cells write a job with them and the model.")
    with failing(job, verb, ranks):
        fit = job.fit()
        write_latent(job, fit, job.data(fit.registry, verify=ranks.first), ranks, threads)
        if ranks.first:
            job.note_state(verb, "done", cells=job.n_cells, ranks=ranks.size)
    return "done"


def write_latent(job, fit, data, ranks, threads=None):
    """Each rank takes a contiguous range of the cells, in whole minibatches; the first joins what all have written."""
    size = cells_at_once(data)
    start, stop = (size * i for i in ranks.slice_of(0, -(-data.n_cells // size)))
    rows = np.arange(start, min(stop, data.n_cells))
    parts = [job.folder / f".latent-{rank}.npy" for rank in range(ranks.size)]
    with RandomStream(fit.seed + ranks.rank).active(), use_threads(threads):
        if len(rows):
            np.save(parts[ranks.rank], latent(fit.module, data, indices=rows))
    ranks.wait()
    if ranks.first:
        found = [np.load(part, mmap_mode="r") for part in parts if part.exists()]
        joined = np.lib.format.open_memmap(job.folder / ".latent.npy", "w+", np.float32,
                                           (data.n_cells, found[0].shape[1]))
        np.concatenate(found, out=joined)
        joined.flush()
        (job.folder / ".latent.npy").replace(job.folder / LATENT)
        for part in parts:
            part.unlink(missing_ok=True)
    ranks.wait()


def compare(job, ranks=None, groupby=None, group1=None, group2=None, threads=None, **options):
    """Write the table of genes that differ between groups of a job's cells; each rank does some of the comparisons.

    Arguments
    ---------
    job, ranks : as for `train`.
    groupby : column of groups; by default the one that was taken along.
    group1, group2 : as for `comparisons_of`.
    options : of `differential_expression`.

    Returns "done".
    """
    ranks = ranks or Ranks()
    with failing(job, "de", ranks):
        fit = job.fit()
        cells = job.cells(verify=ranks.first)
        data = open_data(cells, registry=fit.registry, allow_noninteger=job.allow_noninteger)
        comparisons = comparisons_of(cells.obs, groupby or only(job.groups), group1, group2)
        start, stop = ranks.slice_of(0, len(comparisons))
        parts = [job.folder / f".de-{rank}.csv" for rank in range(ranks.size)]
        with RandomStream(fit.seed + ranks.rank).active(), use_threads(threads):
            if start < stop:
                table = differential_expression(fit.module, data, comparisons[start:stop], **options)
                table.to_csv(parts[ranks.rank], index=False)
        ranks.wait()
        if ranks.first:
            found = [part.read_bytes() for part in parts if part.exists()]
            rest = [part[part.index(b"\n") + 1:] for part in found[1:]]                # without their headers
            archive.write_atomically(job.folder / TABLE, b"".join([found[0], *rest]))
            for part in parts:
                part.unlink(missing_ok=True)
            job.note_state("de", "done", comparisons=len(comparisons), ranks=ranks.size)
    return "done"


def only(groups):
    """The column of groups, where there is one."""
    if len(groups) == 1:
        return groups[0]
    raise QueryError("groupby", problem="No column of groups is named." if groups else
                     "The job was written without a column of groups.",
                     hint=f"Name one of {', '.join(groups)}." if groups else "Write it with groups=['cell_type'].")
