"""The models under the name people look for."""

from latome.faces.objects import AUTOZI, SCANVI, SCVI, LinearSCVI

__all__ = ["AUTOZI", "SCANVI", "SCVI", "LinearSCVI"]
