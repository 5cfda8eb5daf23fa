"""Further models under the name people look for."""

from latome.faces.objects import SOLO, CellAssign

__all__ = ["SOLO", "CellAssign"]
