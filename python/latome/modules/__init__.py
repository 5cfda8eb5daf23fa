"""The catalogue: every model by its short name."""

from latome.errors import SettingError
from latome.modules.scvi import SCVI

__all__ = ["CATALOGUE", "find"]

CATALOGUE = {"scvi": SCVI}


def find(kind):
    """The module class of a short name such as "scvi"."""
    if kind not in CATALOGUE:
        raise SettingError("kind", problem=f"There is no model '{kind}'.", hint="Known: " + ", ".join(CATALOGUE) + ".")
    return CATALOGUE[kind]
