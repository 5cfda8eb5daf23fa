"""Models in files, and what a model says of itself."""

from latome.bridge.answers import answers, told, unpacked
from latome.io import archive, readers

__all__ = ["describe", "read_model", "write_model"]


@answers
def describe(document, weights):
    """Summary and history of a model."""
    return told(unpacked(document, weights))


@answers
def write_model(document, weights, folder, overwrite=False):
    """Save a model into a folder."""
    return {"folder": str(archive.save(unpacked(document, weights), folder, bool(overwrite)))}


@answers
def read_model(folder):
    """Load a model from a folder of latome or of scvi-tools."""
    fit = readers.read_model(folder)
    document, weights = archive.pack(fit)
    return {"document": document, "weights": bytearray(weights), **told(fit)}
