"""The catalogue: every model by its short name."""

from latome.errors import SettingError
from latome.modules.autozi import AutoZI
from latome.modules.cellassign import CellAssign
from latome.modules.linear_scvi import LDVAE
from latome.modules.scanvi import SCANVI
from latome.modules.scvi import SCVI
from latome.modules.solo import Solo

__all__ = ["CATALOGUE", "find"]

CATALOGUE = {"scvi": SCVI, "scanvi": SCANVI, "ldvae": LDVAE, "autozi": AutoZI, "solo": Solo, "cellassign": CellAssign}


def find(kind):
    """The module class of a short name such as "scvi"."""
    if kind not in CATALOGUE:
        raise SettingError("kind", problem=f"There is no model '{kind}'.", hint="Known: " + ", ".join(CATALOGUE) + ".")
    return CATALOGUE[kind]
