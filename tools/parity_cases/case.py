"""One case: which model and which data each of its arrays belongs to, and how close it must come."""

import json
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from latome.data.registry import open_data
from latome.data.sources import read_h5ad
from latome.errors import LatomeError
from latome.io import scvi_tools
from parity_cases.autozi_arrays import AutoziArrays
from parity_cases.cellassign_arrays import CellassignArrays
from parity_cases.compare import FAIL, NO_REFERENCE, NOT_YET, NotYet, Row, Tolerance, compare
from parity_cases.ldvae_arrays import LdvaeArrays
from parity_cases.scanvi_arrays import ScanviArrays
from parity_cases.scvi_arrays import LIKELIHOODS, ScviArrays
from parity_cases.solo_arrays import SoloArrays
from parity_cases.train_steps import StepArrays

__all__ = ["ARRAYS", "check_case"]

#: Their class -> what answers for it.
ARRAYS = {"SCVI": ScviArrays, "SCANVI": ScanviArrays, "LinearSCVI": LdvaeArrays, "AUTOZI": AutoziArrays,
          "CellAssign": CellassignArrays}

# Arrays of a query case by the beginning of their names: (model, model whose data are used).
_QUERY = {"query_init_": ("model_init", "model_init"), "query_": ("model", "model"),
          "ref_before_": ("model_ref", "model_ref"), "ref_after_": ("model", "model_ref")}
_SHIFTS = {"ref_latent_shift_max": "qz_mean", "ref_scale_shift_max": "px_scale"}


def check_case(folder):
    """Rows for every array that case.json in `folder` names."""
    folder = Path(folder)
    try:
        case = json.loads((folder / "case.json").read_text(encoding="utf-8"))
        with np.load(folder / "expected.npz", allow_pickle=False) as stored:
            expected = {name: stored[name] for name in stored.files}
        checked = Case(folder, case)
        return [checked.row(name, expected) for name in case["arrays"]]
    except (OSError, ValueError, KeyError, TypeError, BadZipFile) as error:
        return [Row(folder.name, "case.json", None, None, FAIL, f"the case cannot be read: {error!r}")]


class Case:
    """Reads models and data when an array first asks for them.

    Arguments
    ---------
    folder : of the case.
    case : its case.json.
    """

    def __init__(self, folder, case):
        self.folder, self.case, self.models = folder, case, case["models"]
        self.name = case.get("case", folder.name)
        self.prefixes = dict(_QUERY) if "model_ref" in self.models else {}
        self.prefixes |= {f"{name.removeprefix('model_')}_": (name, name) for name in self.models if "_" in name}
        self.answers = {}
        self.steps = None                               # set when the case is one of optimiser steps

    def row(self, name, expected):
        """The `Row` of one array."""
        try:
            if name not in expected:
                raise ValueError("expected.npz does not hold it")
            found, scale = self.recompute(name)
            if self.steps is not None and self.steps.without_reference(name, expected[name]):
                return Row(self.name, name, None, None, NO_REFERENCE, "stored is the checkpoint, before any step")
            return compare(self.name, name, found, expected[name], self.tolerance(name, scale, expected))
        except (NotYet, scvi_tools.UnsupportedError) as reason:
            return Row(self.name, name, None, None, NOT_YET, str(reason).splitlines()[0])
        except Exception as error:                      # whatever keeps an array from being computed is a failure
            return Row(self.name, name, None, None, FAIL, " ".join(str(error).split()) or repr(error))

    def tolerance(self, name, scale, expected):
        given = self.case["tolerance"]
        usual = Tolerance(given["rtol"], given["atol_times_max_abs"], scale=scale,
                          by_norm=bool(LIKELIHOODS.search(name)))
        return usual if self.steps is None else self.steps.tolerance(name, usual, expected)

    def recompute(self, name):
        """(the array, None), or for a difference of two (the difference, size of what it is a difference of)."""
        if name in _SHIFTS and "model_ref" in self.models:
            before = self.answer("model_ref", "model_ref").array(_SHIFTS[name]).astype(np.float64)
            after = self.answer("model", "model_ref").array(_SHIFTS[name])
            return np.abs(after - before).max(), np.abs(before).max()
        model, data, rest = self.belongs(name)
        return self.answer(model, data).array(rest), None

    def belongs(self, name):
        """(model, model whose data, rest of the name); the longest fitting prefix counts."""
        for prefix in sorted(self.prefixes, key=len, reverse=True):
            if name.startswith(prefix):
                return *self.prefixes[prefix], name.removeprefix(prefix)
        return "model", "model", name

    def answer(self, model, data):
        """What answers questions about `model` on the data of `data`; an error is kept, and raised each time."""
        key = (model, data)
        if key not in self.answers:
            try:
                self.answers[key] = self.open(model, data)
            except (NotYet, LatomeError, OSError) as error:
                self.answers[key] = error
        if isinstance(self.answers[key], Exception):
            raise self.answers[key]
        return self.answers[key]

    def open(self, model, data):
        described = self.models[model]
        if described["class"] not in scvi_tools.KINDS.keys() & {*ARRAYS, "SOLO"}:
            raise NotYet(f"class {described['class']}")
        fit = scvi_tools.read(self.folder / described["folder"])
        path = self.folder / self.models[data].get("adata_from", f"{self.models[data]['folder']}/adata.h5ad")
        if not path.exists():
            raise NotYet(f"no data are stored with {self.models[data]['folder']}")
        if described["class"] == "SOLO":                # its data are features, of a model beside it
            return SoloArrays(fit, path, self.answer("model_scvi", "model_scvi"))
        cells = open_data(read_h5ad(path), registry=fit.registry, allow_noninteger=True)
        if self.case.get("kind") == "train_steps":
            self.steps = StepArrays(fit, cells, self.case)
            return self.steps
        return ARRAYS[described["class"]](fit, cells)
