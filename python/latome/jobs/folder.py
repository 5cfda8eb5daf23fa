"""The folder of a job.

    job.json      the request: verb, model, settings, columns, options of training, seed, versions
    cells/        the counts, a store
    checkpoint/   the state of training on the way
    state.json    how far each verb is; log.txt, the same in lines
    model/        the trained model, as `save` writes it; of a job that maps cells, the one it was given
    latent.npy    (n, k) float32, cells in their order
    de.csv        the table of differential expression
"""

import json
import os
import shutil
import time
import uuid
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from latome import __version__
from latome.data.fields import Columns
from latome.data.registry import open_data
from latome.data.store import open_store, prepare_store
from latome.errors import ArchiveError, LatomeError
from latome.fit import check_seed, initialise
from latome.io import archive
from latome.modules import find
from latome.training.options import TrainingOptions

__all__ = ["Job", "write_job"]

FORMAT = 1
REQUEST, STATE, LOG, CELLS, MODEL, LATENT, TABLE = ("job.json", "state.json", "log.txt", "cells", "model", "latent.npy",
                                                    "de.csv")
VERBS = ("train", "map")
AGAIN = "Write the job anew."


@dataclass(frozen=True)
class Job:
    """The request of a job, and its folder.

    Arguments
    ---------
    folder : Path.
    verb : "train", or "map" where the model was given with the cells.
    kind, settings, columns, training, seed : of the model to train, as plain values.
    allow_noninteger : accept counts that are not whole numbers.
    n_cells, n_genes : size of the counts.
    groups : names of columns of groups, kept for differential expression.
    note : whatever the writer wants to find again, JSON-able.
    """

    folder: Path
    verb: str
    kind: str
    settings: dict
    columns: dict
    training: dict
    seed: int
    allow_noninteger: bool
    n_cells: int
    n_genes: int
    groups: list = field(default_factory=list)
    note: dict = field(default_factory=dict)

    @classmethod
    def open(cls, folder):
        """The job of a folder. Raises ArchiveError where there is none, or its request cannot be read."""
        folder = Path(folder).expanduser()
        if not (folder / REQUEST).exists():
            raise ArchiveError("folder", problem=f"{folder} holds no job (no {REQUEST}).", hint="Check the path.")
        try:
            found = json.loads((folder / REQUEST).read_text(encoding="utf-8"))
            version, made_by = found.pop("format"), found.pop("latome")
            if isinstance(version, int) and version > FORMAT:
                raise ArchiveError("format", problem=f"The job was written by a newer latome ({made_by}).",
                                   hint="Update latome where the job runs.")
            job = cls(folder, **found)
            job.check()
            return job
        except LatomeError as error:
            raise ArchiveError(error.field, problem=f"{folder / REQUEST} cannot be used: {error.problem}",
                               hint=error.hint or AGAIN) from None
        except (AttributeError, KeyError, OSError, TypeError, ValueError) as error:
            raise ArchiveError("folder", problem=f"{folder / REQUEST} is damaged: {error}.", hint=AGAIN) from None

    def check(self):
        """Raises where the request asks for what there is not."""
        if self.verb not in VERBS:
            raise ArchiveError("verb", problem=f"There is no verb '{self.verb}'.", hint="One of " + ", ".join(VERBS))
        find(self.kind).Settings.make(**self.settings)
        self.options()
        Columns.from_json(self.columns)

    def write(self):
        """Write the request into the folder."""
        request = {"format": FORMAT, "latome": __version__, **asdict(self)}
        del request["folder"]
        archive.write_atomically(self.folder / REQUEST, json.dumps(request, indent=1, allow_nan=False).encode())

    def options(self, **more):
        """`TrainingOptions` of the request, changed by what the machine asks for."""
        return TrainingOptions.make(**self.training | more)

    def cells(self, verify=True):
        """An AnnData of the job's cells; the counts stay in their files."""
        return open_store(self.folder / CELLS, verify=verify)

    def data(self, registry=None, verify=True):
        """The `Dataset` of the cells; with `registry` that of a trained model."""
        columns = Columns.from_json(self.columns) if registry is None else None
        return open_data(self.cells(verify), columns, registry=registry, allow_noninteger=self.allow_noninteger)

    def untrained(self, data):
        """The `Fit` that the request asks for."""
        return initialise(find(self.kind).Settings.make(**self.settings), data, seed=self.seed)

    def fit(self):
        """The trained model. Raises ArchiveError where there is none yet."""
        if not (self.folder / MODEL).exists():
            raise ArchiveError("folder", problem=f"The job in {self.folder} has no model yet: {self.how_far()}.",
                               hint=f"Run it: latome train {self.folder}")
        return archive.load(self.folder / MODEL)

    def state(self, verb=None):
        """{"state", ...} of a verb, {} where it has not begun; None: the verb of the job."""
        try:
            found = json.loads((self.folder / STATE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError:
            raise ArchiveError("folder", problem=f"{self.folder / STATE} is damaged.",
                               hint="Remove it; the job goes on from its checkpoint.") from None
        return found.get(verb or self.verb, {})

    def note_state(self, verb, state, **facts):
        """Write down how far a verb is, and a line in the log."""
        held = {name: self.state(name) for name in (*VERBS, "latent", "de")}
        held[verb] = {"state": state, **facts, "updated": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
        text = json.dumps({name: facts for name, facts in held.items() if facts}, indent=1)
        archive.write_atomically(self.folder / STATE, text.encode())
        said = "  ".join(f"{name} {value:.6g}" if isinstance(value, float) else f"{name} {value}"
                         for name, value in facts.items() if value is not None)
        with open(self.folder / LOG, "a", encoding="utf-8") as stream:
            stream.write(f"{held[verb]['updated']}  {verb}: {state}  {said}".rstrip() + "\n")

    def how_far(self):
        """The state of the job in words."""
        found = self.state()
        if not found:
            return "it has not begun"
        words = {"running": "it is running, or was ended without a word", "stopped": "it was stopped, and goes on when "
                 "it is started again", "failed": "it has failed", "done": "it is done"}[found["state"]]
        epochs = f" (epoch {found['epoch']} of {found['n_epochs']})" if "epoch" in found else ""
        problem = f": {found['problem']}" if "problem" in found else ""
        return f"{words}{epochs}{problem}"

    def results(self):
        """(fit, names of the cells, latent (n, k)). Raises ArchiveError where the job is not done."""
        if self.state().get("state") != "done":
            raise ArchiveError("folder", problem=f"The job in {self.folder} is not done: {self.how_far()}.",
                               hint=f"Run it: latome {self.verb} {self.folder}")
        try:
            z = np.load(self.folder / LATENT, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise ArchiveError("folder", problem=f"{self.folder / LATENT} cannot be read: {error}.",
                               hint=f"Compute it anew: latome latent {self.folder}") from None
        names = list(self.cells(verify=False).obs_names)
        if len(z) != len(names):
            raise ArchiveError("folder", problem=f"The latent is of {len(z)} cells, the job of {len(names)}.",
                               hint=f"Compute it anew: latome latent {self.folder}")
        return self.fit(), names, z


def write_job(adata, folder, kind="scvi", settings=None, columns=None, options=None, *, model=None, seed=0, genes=None,
              groups=(), allow_noninteger=False, note=None):
    """Write a job: cells and a request, for another machine.

    Arguments
    ---------
    adata : AnnData of raw counts, in memory or in a file.
    folder : where to; it must not exist.
    kind, settings : short name of the model, and its settings (an object or a dict).
    columns : the roles of columns, a `Columns`.
    options : `TrainingOptions`, or a dict of them.
    model : a trained `Fit` in place of these: the cells are to be mapped onto it.
    seed : of the training.
    genes : names of the genes to use; None for all, or for those of `model`.
    groups : names of further columns of obs to take along, for `latome de`.
    allow_noninteger : accept counts that are not whole numbers.
    note : whatever shall be found again in job.json.

    Returns the `Job`. Raises what `open_data` and the settings raise, before anything is written, and ArchiveError
    where the folder exists or cannot be written.
    """
    folder = Path(folder).expanduser()
    if folder.exists():
        raise ArchiveError("folder", problem=f"{folder} exists already.", hint="Name a folder that does not.")
    if model is None:
        made = settings if hasattr(settings, "to_json") else find(kind).Settings.make(**settings or {})
        columns = columns or Columns()
    else:
        kind, made, seed, columns = model.kind, model.settings, model.seed, model.registry.columns
    options = options if hasattr(options, "to_json") else TrainingOptions.make(**options or {})
    data = open_data(adata, columns, genes=genes, registry=model and model.registry, allow_noninteger=allow_noninteger)
    training = {name: value for name, value in options.to_json().items() if name != "checkpoint"}
    job = Job(folder.with_name(f".{folder.name}-{uuid.uuid4().hex}"), "train" if model is None else "map", kind,
              made.to_json(), {**columns.to_json(), "layer": None}, training, check_seed(seed), bool(allow_noninteger),
              data.n_cells, data.n_genes, list(groups), note or {})
    if list(data.registry.genes) != list(adata.var_names):
        adata = adata[:, list(data.registry.genes)]
    try:
        job.folder.mkdir(parents=True)
        prepare_store(adata, job.folder / CELLS, columns.layer, list(dict.fromkeys([*used(columns, adata), *groups])),
                      allow_noninteger=allow_noninteger)
        if model is not None:
            archive.save(model, job.folder / MODEL)
        job.write()
        os.rename(job.folder, folder)
    except OSError as error:
        raise ArchiveError("folder", problem=f"The job could not be written into {folder}: {error}.",
                           hint="Choose a folder that can be written, with space left.") from None
    finally:
        shutil.rmtree(job.folder, ignore_errors=True)
    return Job.open(folder)


def used(columns, adata):
    """Names of the columns of obs that have a role; labels only where they are there."""
    named = [columns.batch, columns.size_factor, *columns.categorical, *columns.continuous]
    if columns.labels in adata.obs:
        named.append(columns.labels)
    return [name for name in named if name is not None]
