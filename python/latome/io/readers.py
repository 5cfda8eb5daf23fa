"""One door for every saved model: latome's folders, and those of scvi-tools."""

from pathlib import Path

from latome.io import archive, scvi_tools

__all__ = ["read_model"]


def read_model(folder, prefix=""):
    """The `Fit` in a folder of latome, or of scvi-tools (recognised by its files). Raises ArchiveError."""
    folder = Path(folder)
    ours = (folder / f"{prefix}{archive.WEIGHTS}").exists()
    theirs = any((folder / f"{prefix}{name}").exists() for name in scvi_tools.FILES)
    return scvi_tools.read(folder, prefix) if theirs and not ours else archive.load(folder, prefix)
