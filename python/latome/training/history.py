"""The history of training: one numeric table, a row an epoch, and the sums that make a row."""

import numpy as np
import pandas

from latome.backend import torch

__all__ = ["History", "add_terms", "plain_sums", "summarise", "sums_from_plain"]

TALLY = "tally."                                       # begins the names of sums that the module makes numbers of


class History:
    """Rows of numbers by epoch; a quantity not measured in an epoch is NaN.

    Arguments
    ---------
    columns : {name: values}, the reverse of `to_dict`.
    """

    def __init__(self, columns=None):
        columns = {name: list(values) for name, values in (columns or {}).items()}
        n = max((len(values) for values in columns.values()), default=0)
        self.rows = [{name: values[i] for name, values in columns.items()} for i in range(n)]

    def __len__(self):
        return len(self.rows)

    def append(self, row):
        """Add an epoch: {name: number}; a None is left out."""
        self.rows.append({name: float(value) for name, value in row.items() if value is not None})

    def last(self, name):
        """The latest value of a quantity, or None."""
        values = [row[name] for row in self.rows if row.get(name) is not None and not np.isnan(row[name])]
        return values[-1] if values else None

    def to_dict(self):
        """{name: (n_epochs,) float64}."""
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        return {name: np.array([row.get(name, np.nan) for row in self.rows], dtype=np.float64) for name in names}

    def to_json(self):
        """{name: list}, with None for what was not measured or is not finite."""
        columns = self.to_dict()
        return {name: [v if np.isfinite(v) else None for v in values.tolist()] for name, values in columns.items()}

    @classmethod
    def from_json(cls, columns):
        """The reverse of `to_json`."""
        return cls({name: [np.nan if v is None else float(v) for v in values] for name, values in columns.items()})

    def frame(self):
        """The same as a pandas DataFrame, indexed by epoch."""
        columns = self.to_dict()
        index = pandas.Index(columns.pop("epoch", np.arange(len(self))).astype(int), name="epoch")
        return pandas.DataFrame(columns, index=index)


@torch.no_grad()
def add_terms(sums, terms):
    """Add a minibatch's terms to the sums of the epoch, on the device."""
    found = {"reconstruction_loss": terms.reconstruction(), "kl_local": terms.divergences()}
    n = found["kl_local"].shape[0]
    found |= {name: value * n for name, (value, _) in terms.penalty.items()}
    found = {name: value.sum() for name, value in found.items()}
    found |= {TALLY + name: value.detach() for name, value in terms.tally.items()}
    for name, value in found.items():
        sums[name] = value + sums[name] if name in sums else value
    sums["n"] = sums.get("n", 0) + n


def plain_sums(sums):
    """The same as numbers and lists of them."""
    return {name: value if name == "n" else torch.as_tensor(value).tolist() for name, value in sums.items()}


def sums_from_plain(sums, device):
    """The reverse of `plain_sums`."""
    return {name: value if name == "n" else torch.as_tensor(value, device=device) for name, value in sums.items()}


def summarise(sums, part, module):
    """{quantity_part: number} of an epoch's sums, means a cell; the ELBO is given as a loss, smaller is better.

    What `module` makes of its tallies stands beside them, and in place of a mean of the same name.
    """
    n = sums["n"]
    row = {f"{name}_{part}": float(value) / n for name, value in sums.items() if name != "n" and TALLY not in name}
    tally = {name.removeprefix(TALLY): np.asarray(torch.as_tensor(value).cpu(), dtype=np.float64)
             for name, value in sums.items() if name.startswith(TALLY)}
    row |= {f"{name}_{part}": float(value) for name, value in module.tallied(tally).items()} if tally else {}
    return {f"elbo_{part}": row[f"reconstruction_loss_{part}"] + row[f"kl_local_{part}"]} | row
