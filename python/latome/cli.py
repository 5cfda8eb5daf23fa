"""The command line: `latome train`, `latent`, `de` and `map`, of files and of the folders of jobs.

The exit status is 0; 2 for an error that is told; 75 where a job was asked to end (SIGTERM), and goes on when it is
started again. Jobs run under torchrun too: torchrun --nproc-per-node 4 -m latome train FOLDER
"""

import argparse
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from latome import __version__
from latome.analysis.latent import latent
from latome.data.registry import Columns, open_data
from latome.data.sources import read_h5ad
from latome.errors import ArchiveError, LatomeError, SettingError
from latome.faces.progress import ProgressLine
from latome.fit import conclude, initialise
from latome.io import archive, checkpoint
from latome.io.readers import read_model
from latome.jobs import verbs
from latome.jobs.folder import LATENT, REQUEST, TABLE, Job
from latome.modules import CATALOGUE, find
from latome.protocol.settings import describe_settings
from latome.training.options import TrainingOptions
from latome.training.ranks import joined

__all__ = ["main"]

STOPPED = 75                                           # EX_TEMPFAIL: start the same command again
DE_OPTIONS = {"mode": str, "delta": float, "batch_correction": bool, "n_samples_overall": int, "fdr_target": float,
              "pseudocounts": float}
OF_THE_MACHINE = ("device", "threads", "checkpoint_every")             # what may be said to a job where it runs
TYPES = {"int": int, "float": float, "choice": str, "str": str}


def number_or_none(kind):
    """A type of argparse: a number, or "none" for what has no value."""
    def convert(text):
        return None if text.lower() == "none" else kind(text)
    convert.__name__ = kind.__name__                   # named in the parser's error
    return convert


def add_settings(parser, cls):
    """One option for each setting of a dataclass; an option left out keeps its default."""
    for entry in describe_settings(cls):
        option = {"dest": entry["name"], "default": argparse.SUPPRESS, "help": f"{entry['doc']} [{entry['default']}]"}
        if entry["type"] == "bool":
            option["action"] = argparse.BooleanOptionalAction
        else:
            kind = TYPES[entry["type"]]
            kind = number_or_none(kind) if entry["optional"] and kind is not str else kind
            option |= {"type": kind, "choices": entry.get("choices")}
            option["metavar"] = None if "choices" in entry else entry["type"].upper()
        parser.add_argument("--" + entry["name"].replace("_", "-"), **option)


def make_parser():
    """The parser of all commands."""
    parser = argparse.ArgumentParser(prog="latome", description="Deep probabilistic models of single-cell omics.")
    parser.add_argument("--version", action="version", version=f"latome {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train", help="train a model on an .h5ad file and save it; or run a job")
    train.add_argument("data", help="an .h5ad file with raw counts; or, alone, the folder of a job")
    train.add_argument("folder", nargs="?", help="where the model goes")
    train.add_argument("--model", default="scvi", choices=list(CATALOGUE))
    train.add_argument("--layer", help="layer of raw counts [X]")
    train.add_argument("--batch", help="column of obs with the batch")
    train.add_argument("--labels", help="column of obs with labels")
    train.add_argument("--categorical", nargs="*", default=[], help="further categorical covariates")
    train.add_argument("--continuous", nargs="*", default=[], help="continuous covariates")
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--overwrite", action="store_true", help="replace a model in the folder")
    add_settings(train.add_argument_group("settings of the model"), find("scvi").Settings)
    add_settings(train.add_argument_group("training"), TrainingOptions)
    for name, what in (("latent", "the cells of an .h5ad file, or of a job,"),
                       ("map", "new cells (of known batches and covariates)")):
        ask = commands.add_parser(name, help=f"the latent representation of {what} under a trained model")
        ask.add_argument("folder", help="a saved model, of latome or of scvi-tools; or, alone, the folder of a job")
        ask.add_argument("data", nargs="?", help="an .h5ad file with raw counts")
        ask.add_argument("output", nargs="?", help="a .csv, .npy or .h5ad file to write")
        ask.add_argument("--threads", type=int, help="processor threads")
    compare = commands.add_parser("de", help="differential expression between groups of a job's cells")
    compare.add_argument("folder", help="the folder of a job that is done")
    compare.add_argument("--group-by", help="column of groups [the one taken along]")
    compare.add_argument("--group1", nargs="*", help="groups, each of which is compared [each in turn]")
    compare.add_argument("--group2", help="the group they are compared with [the rest]")
    compare.add_argument("--threads", type=int, help="processor threads")
    for option, kind in DE_OPTIONS.items():
        how = {"action": argparse.BooleanOptionalAction} if kind is bool else {"type": kind}
        compare.add_argument("--" + option.replace("_", "-"), default=argparse.SUPPRESS, **how,
                             help="see latome.analysis.differential.differential_expression")
    return parser


def picked(arguments, cls):
    """The settings of a dataclass that were given on the command line."""
    names = [entry["name"] for entry in describe_settings(cls)]
    return {name: getattr(arguments, name) for name in names if hasattr(arguments, name)}


def job_of(arguments, folder, *files):
    """The `Job` of a folder that is given alone; None where files are given too."""
    given = [file for file in files if file is not None]
    if len(given) == len(files) and files:
        return None
    if given:
        raise SettingError("output", problem="One file is missing.", hint=f"See latome {arguments.command} --help.")
    return Job.open(folder)


def train(arguments):
    """Train a model and save it, or run a job."""
    if arguments.folder is None:
        return run_job(arguments)
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise SettingError("folder", problem="Several processes train a job only.",
                           hint="Write one with latome.jobs.write_job(), or write_job() in R.")
    if (Path(arguments.folder) / archive.WEIGHTS).exists() and not arguments.overwrite:
        raise ArchiveError("folder", problem=f"{arguments.folder} already holds a model.", hint="Add --overwrite.")
    module = find(arguments.model)
    settings = module.Settings.make(**picked(arguments, module.Settings))
    options = TrainingOptions.make(**picked(arguments, TrainingOptions))
    columns = Columns(arguments.layer, arguments.batch, arguments.labels, tuple(arguments.categorical),
                      tuple(arguments.continuous))
    data = open_data(open_file(arguments.data), columns)
    for message in data.warnings:
        print(f"warning: {message}", file=sys.stderr)
    fit = initialise(settings, data, seed=arguments.seed)
    trainer = checkpoint.begin(fit, data, options)
    trainer.drive(ProgressLine())
    archive.save(conclude(fit, trainer), arguments.folder, overwrite=True)
    print(f"{module.title}: {data.n_cells} cells x {data.n_genes} genes, {trainer.epoch} epochs "
          f"({trainer.state}), elbo {fit.history.last('elbo_train'):.2f}, {trainer.seconds:.1f} s "
          f"-> {arguments.folder}")
    return 0


def run_job(arguments):
    """Train a job, from where it was stopped; the exit status."""
    if Path(arguments.data).suffix == ".h5ad" and not Path(arguments.data).is_dir():
        raise SettingError("folder", problem="Where shall the model go?",
                           hint=f"Name a folder: latome train {arguments.data} FOLDER")
    job, given = Job.open(arguments.data), picked(arguments, TrainingOptions)
    fixed = [name for name in [*given, *picked(arguments, find(job.kind).Settings)] if name not in OF_THE_MACHINE]
    if fixed:
        raise SettingError(fixed[0], problem=f"`{fixed[0]}` of a job is fixed in its {REQUEST}.",
                           hint="Said here may be " + ", ".join(OF_THE_MACHINE) + ".")
    with joined() as ranks, verbs.stopping() as stop:
        state = verbs.train(job, ranks, stop, ProgressLine(), **given)
        if ranks.first:
            print(f"{find(job.kind).title}: {job.n_cells} cells x {job.n_genes} genes, {job.how_far()} -> {job.folder}")
    return 0 if state == "done" else STOPPED


def compare_groups(arguments):
    """Write the table of differential expression of a job."""
    options = {name: getattr(arguments, name) for name in DE_OPTIONS if hasattr(arguments, name)}
    job = Job.open(arguments.folder)
    with joined() as ranks:
        verbs.compare(job, ranks, arguments.group_by, arguments.group1, arguments.group2, arguments.threads, **options)
        if ranks.first:
            print(f"differential expression -> {job.folder / TABLE}")
    return 0


def write_latent(arguments):
    """Write the latent representation of a file's cells, or of a job's."""
    job = job_of(arguments, arguments.folder, arguments.data, arguments.output)
    if job is not None:
        with joined() as ranks:
            verbs.locate(job, ranks, arguments.command, arguments.threads)
            if ranks.first:
                print(f"latent of {job.n_cells} cells -> {job.folder / LATENT}")
        return 0
    output = Path(arguments.output)
    if output.suffix not in (".csv", ".npy", ".h5ad"):
        raise ArchiveError("output", problem=f"{output} is of no kind that can be written.",
                           hint="End its name in .csv, .npy or .h5ad.")
    fit = read_model(arguments.folder)
    adata = open_file(arguments.data)
    data = open_data(adata, registry=fit.registry)
    if not fit.trained:
        print("warning: the model has not been trained: its answers mean nothing yet.", file=sys.stderr)
    z = latent(fit.module, data)                                        # (n, k)
    try:
        write_table(output, z, adata, fit.kind)
    except OSError as error:
        raise ArchiveError("output", problem=f"{output} could not be written: {error}.",
                           hint="Choose a folder that exists and can be written.") from None
    print(f"latent of {z.shape[0]} cells x {z.shape[1]} dimensions -> {output}")
    return 0


def write_table(output, z, adata, kind):
    """Write z (n, k) into a file of the kind its name says; the cells are those of `adata`."""
    if output.suffix == ".npy":
        np.save(output, z)
    elif output.suffix == ".csv":
        names = pd.Index(adata.obs_names, name="cell")
        columns = [f"{kind}_{j + 1}" for j in range(z.shape[1])]
        pd.DataFrame(z, index=names, columns=columns).to_csv(output)
    else:
        adata.obsm[f"X_{kind}"] = z
        adata.write_h5ad(output)


def open_file(path):
    """The AnnData of an .h5ad file."""
    try:
        return read_h5ad(path)
    except FileNotFoundError:
        raise ArchiveError("data", problem=f"There is no file {path}.", hint="Check the path.") from None
    except Exception as error:  # noqa: BLE001 (whatever a damaged file makes the readers raise)
        raise ArchiveError("data", problem=f"{path} cannot be read: {error}.", hint="Give an .h5ad file.") from None


def main(argv=None):
    """Run a command; returns the exit status."""
    arguments = make_parser().parse_args(argv)
    try:
        return {"train": train, "latent": write_latent, "map": write_latent, "de": compare_groups}[arguments.command](
            arguments)
    except LatomeError as error:
        print(f"latome: {error.problem}\n        {error.hint}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
