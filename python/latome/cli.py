"""The command line: `latome train` and `latome latent`."""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from latome import __version__
from latome.analysis.latent import latent
from latome.data.registry import Columns, open_data
from latome.data.sources import read_h5ad
from latome.errors import ArchiveError, LatomeError
from latome.faces.progress import ProgressLine
from latome.fit import conclude, initialise
from latome.io import archive, checkpoint
from latome.io.readers import read_model
from latome.modules import CATALOGUE, find
from latome.protocol.settings import describe_settings
from latome.training.options import TrainingOptions

__all__ = ["main"]

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
    train = commands.add_parser("train", help="train a model on an .h5ad file and save it")
    train.add_argument("data", help="an .h5ad file with raw counts")
    train.add_argument("folder", help="where the model goes")
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
    ask = commands.add_parser("latent", help="the latent representation of the cells of an .h5ad file")
    ask.add_argument("folder", help="a saved model, of latome or of scvi-tools")
    ask.add_argument("data", help="an .h5ad file with raw counts")
    ask.add_argument("output", help="a .csv, .npy or .h5ad file to write")
    return parser


def picked(arguments, cls):
    """The settings of a dataclass that were given on the command line."""
    names = [entry["name"] for entry in describe_settings(cls)]
    return {name: getattr(arguments, name) for name in names if hasattr(arguments, name)}


def train(arguments):
    """Train a model and save it."""
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


def write_latent(arguments):
    """Write the latent representation of a file's cells."""
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
        {"train": train, "latent": write_latent}[arguments.command](arguments)
    except LatomeError as error:
        print(f"latome: {error.problem}\n        {error.hint}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
