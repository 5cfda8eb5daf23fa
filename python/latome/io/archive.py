"""A model as a folder: model.safetensors (weights, with the document in its header) and model.json (the same
document, for people). Loading reads tensors and JSON, never code.
"""

import json
import os
import uuid
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from latome import __version__
from latome.data.registry import Registry
from latome.errors import ArchiveError, LatomeError
from latome.fit import Fit, build
from latome.modules import CATALOGUE
from latome.training.history import History

__all__ = ["check_target", "load", "pack", "read_tensors", "save", "unpack", "write_atomically", "write_tensors"]

FORMAT = 3                                             # 2: size factors; 3: unlabeled, held; 1 and 2 are read as well
AGAIN = "Save the model anew."
WEIGHTS, DOCUMENT = "model.safetensors", "model.json"


def pack(fit):
    """(document, weights): a JSON text with everything but the weights, and the weights as safetensors bytes."""
    document = {
        "format": FORMAT, "latome": __version__, "kind": fit.kind, "settings": fit.settings.to_json(),
        "registry": fit.registry.to_json(), "seed": fit.seed, "training": fit.training,
        "history": fit.history.to_json(), "held": fit.held,
    }
    weights = {name: value.detach().cpu().contiguous() for name, value in fit.module.state_dict().items()}
    return json.dumps(document, allow_nan=False), save_tensors(weights)


def unpack(document, weights, *, module_class=None):
    """The `Fit` of a `pack`. Raises ArchiveError when either part is damaged or they do not belong together."""
    facts = _read_document(document)
    try:
        tensors = load_tensors(bytes(weights))
    except SafetensorError as error:
        raise ArchiveError("weights", problem=f"The weights are damaged: {error}.", hint=AGAIN) from None
    return _assemble(facts, tensors, module_class)


def _read_document(document):
    try:
        facts = json.loads(document)
        version = facts["format"]
    except (ValueError, TypeError, KeyError):
        raise ArchiveError("document", problem="This is not the description of a latome model.",
                           hint=AGAIN) from None
    if not isinstance(version, int) or version > FORMAT:
        raise ArchiveError("format", problem=f"The model was saved by a newer latome ({facts.get('latome')}).",
                           hint="Update latome.")
    return facts


def _module_class(kind, given):
    known = CATALOGUE if given is None else {given.__name__: given}
    if kind not in known:
        raise ArchiveError("kind", problem=f"There is no model '{kind}'.",
                           hint="Known: " + ", ".join(known) + ". A model of a class of your own is loaded with that "
                                "class: load(folder, module_class=...).")
    return known[kind]


def _assemble(facts, tensors, given=None):
    try:
        module_class = _module_class(facts["kind"], given)
        settings = module_class.Settings.make(**facts["settings"])
        registry = Registry.from_json(facts["registry"])
        history = History.from_json(facts["history"])
        module = build(module_class, settings, registry)
        module.load_state_dict(tensors)
        held = _held(facts.get("held", {}), tensors)
        return Fit(facts["kind"], settings, registry, module, history, facts["seed"], facts["training"], held)
    except LatomeError as error:
        raise ArchiveError(error.field, problem=f"The saved model cannot be used: {error.problem}",
                           hint=error.hint) from None
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise ArchiveError("weights", problem=f"Weights and description of the model do not fit: {error}.",
                           hint=AGAIN) from None


def _held(rows, tensors):
    """What is held of the tensors, if each is there and has so many rows; ValueError if not."""
    for name, n in rows.items():
        if name not in tensors or not (n is None or isinstance(n, int) and 0 < n < len(tensors[name])):
            raise ValueError(f"what is said to be held of '{name}' is not there")
    return rows


def write_atomically(path, content):
    """Write bytes beside `path` and rename: a crash leaves the old file."""
    beside = Path(path).with_name(f".{path.name}-{uuid.uuid4().hex}")      # open() heeds the umask; mkstemp() would not
    try:
        with open(beside, "xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def write_tensors(path, tensors, document):
    """A safetensors file whose header carries a JSON text, written atomically."""
    write_atomically(Path(path), save_tensors(tensors, metadata={"latome": document}))


def read_tensors(path):
    """({name: tensor}, JSON text) of `write_tensors`. Raises ArchiveError."""
    try:
        with safe_open(path, framework="pt") as archive:
            document = (archive.metadata() or {}).get("latome")
            tensors = {name: archive.get_tensor(name) for name in archive.keys()}  # noqa: SIM118 (not a dict)
    except FileNotFoundError:
        raise ArchiveError("file", problem=f"There is no file {path}.", hint="Check the path.") from None
    except (SafetensorError, OSError) as error:
        raise ArchiveError("file", problem=f"The file {path} is damaged: {error}.", hint=AGAIN) from None
    if document is None:
        raise ArchiveError("file", problem=f"The file {path} was not written by latome.", hint="Check the path.")
    return tensors, document


def check_target(folder, name, prefix, overwrite):
    """The folder as a Path, if a file called `prefix` + `name` may be written there; ArchiveError if not."""
    folder = Path(folder)
    if Path(f"{prefix}{name}").name != f"{prefix}{name}":
        raise ArchiveError("prefix", problem=f"A file's name cannot begin with {prefix!r}.",
                           hint="Give a prefix without slashes; the folder is named apart from it.")
    if folder.exists() and not folder.is_dir():
        raise ArchiveError("folder", problem=f"{folder} is a file.", hint="Name a folder.")
    if (folder / f"{prefix}{name}").exists() and not overwrite:
        raise ArchiveError("folder", problem=f"{folder} already holds a model.", hint="Set overwrite to replace it.")
    return folder


def save(fit, folder, overwrite=False, *, prefix=""):
    """Save a fit into a folder.

    Arguments
    ---------
    fit : a `Fit`. One of a class outside the catalogue is loaded again by giving that class to `load`.
    folder : made if need be.
    overwrite : replace a model that is there.
    prefix : of the names of the files, for several models in one folder.

    Returns the folder. Raises ArchiveError where it holds a model, or cannot be written.
    """
    folder = check_target(folder, WEIGHTS, prefix, overwrite)
    document, weights = pack(fit)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_tensors(folder / f"{prefix}{WEIGHTS}", load_tensors(weights), document)
        write_atomically(folder / f"{prefix}{DOCUMENT}", json.dumps(json.loads(document), indent=1).encode())
    except OSError as error:
        raise ArchiveError("folder", problem=f"The model could not be written into {folder}: {error}.",
                           hint="Choose a folder that can be written, with space left.") from None
    return folder


def load(folder, prefix="", *, module_class=None):
    """The `Fit` that `save` wrote into a folder.

    Arguments
    ---------
    folder, prefix : as given to `save`.
    module_class : of a model outside the catalogue.

    Raises ArchiveError where there is none, or it is damaged, or of a class that is not known.
    """
    folder, name = Path(folder), f"{prefix}{WEIGHTS}"
    if not folder.exists():
        raise ArchiveError("folder", problem=f"There is no folder {folder}.", hint="Check the path.")
    if not (folder / name).exists():
        others = sorted(path.name for path in folder.glob(f"*{WEIGHTS}"))
        hint = f"It holds {', '.join(others)}: give the prefix." if others else \
            "Give the folder in which the model was saved, and its prefix if it has one."
        raise ArchiveError("folder", problem=f"{folder} holds no {name}.", hint=hint)
    tensors, document = read_tensors(folder / name)
    return _assemble(_read_document(document), tensors, module_class)
