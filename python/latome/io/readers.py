"""One door for every saved model: latome's folders, and those of scvi-tools."""

from pathlib import Path

from latome.io import archive, scvi_tools

__all__ = ["read_model"]


def read_model(folder, prefix=""):
    """The `Fit` in a folder of latome, or of scvi-tools (recognised by its model.pt). Raises ArchiveError."""
    folder = Path(folder)
    theirs = (folder / f"{prefix}model.pt").exists() and not (folder / archive.WEIGHTS).exists()
    return scvi_tools.read(folder, prefix) if theirs else archive.load(folder)
