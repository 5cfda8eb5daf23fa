"""Names of the tensors of SOLO: a hidden network, and one linear layer after it."""

from latome.io.names.parts import hidden_entries, linear_entries

__all__ = ["entries", "spare"]


def entries(module):
    """The entries of SOLO."""
    return [*hidden_entries(module, "hidden", "classifier.0"), *linear_entries(module, "logits", "classifier.1")]


def spare(module):
    """None."""
    return {}
