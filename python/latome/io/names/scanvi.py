"""Names of the tensors of SCANVI."""

from latome.io.names import scvi
from latome.io.names.parts import Entry, encoder_entries, hidden_entries, linear_entries, part_of

__all__ = ["entries", "spare"]

_DECODER = {"decoder_z1_z2.encoder.": "decoder_z1_z2.decoder.", ".mean_encoder.": ".mean_decoder.",
            ".var_encoder.": ".var_decoder."}


def entries(module):
    """The entries of SCANVI: those of SCVI, the classifier and the two networks of the labels."""
    found = scvi.entries(module)
    found.append(Entry("y_prior", (part_of(module, "label_prior"),), lead=1))
    if module.classifier.hidden is None:
        found += linear_entries(module, "classifier.logits", "classifier.classifier.0")
    else:
        found += hidden_entries(module, "classifier.hidden", "classifier.classifier.0")
        found += linear_entries(module, "classifier.logits", "classifier.classifier.1")
    found += encoder_entries(module, "deeper", "encoder_z2_z1")
    for entry in encoder_entries(module, "shallower", "decoder_z1_z2"):
        peer = entry.peer
        for theirs, name in _DECODER.items():
            peer = peer.replace(theirs, name)
        found.append(Entry(peer, entry.parts, entry.lead))
    return found


def spare(module):
    """Shapes of the tensors that scvi-tools keeps in a model that does not use them."""
    return scvi.spare(module)
