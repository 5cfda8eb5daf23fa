"""The models under the name people look for."""

from latome.faces.objects import SCVI

__all__ = ["SCVI"]
