"""Names of the tensors of SCVI."""

from latome.io.names.parts import Entry, encoder_entries, hidden_entries, linear_entries, part_of, same_entries

__all__ = ["LIBRARY_PRIOR", "entries", "shared_entries", "shared_spare", "spare"]

#: Their tensors of the prior of the library size.
LIBRARY_PRIOR = ("library_log_means", "library_log_vars")

_HEADS = {"logits": "px_scale_decoder.0", "log_theta": "px_r_decoder", "gate": "px_dropout_decoder"}


def entries(module):
    """The entries of SCVI."""
    found = shared_entries(module)
    found += hidden_entries(module, "decoder.hidden", "decoder.px_decoder")
    for ours, peer in _HEADS.items():
        if getattr(module.decoder, ours) is not None:
            found += linear_entries(module, f"decoder.{ours}", f"decoder.{peer}")
    return found


def shared_entries(module):
    """Those of all but the decoder."""
    found = []
    if module.log_theta is not None:                   # (g,), or ours (categories, g) and theirs turned
        part = part_of(module, "log_theta", turned=module.log_theta.dim() == 2)
        found.append(Entry("px_r", (part,)))
    if module.embedding is not None:
        found += same_entries(module, "embedding", "_embeddings_dict.batch", ["weight"])
    found += encoder_entries(module, "encoder", "z_encoder")
    if module.library_encoder is not None:
        found += encoder_entries(module, "library_encoder", "l_encoder")
        found += [Entry(peer, (part_of(module, ours),), lead=1) for ours, peer in
                  zip(("library_mean", "library_variance"), LIBRARY_PRIOR, strict=True)]
    return found


def spare(module):
    """Shapes of the tensors that scvi-tools keeps in a model that does not use them."""
    shapes = shared_spare(module)
    for ours, peer in _HEADS.items():
        if getattr(module.decoder, ours) is None:
            genes, hidden = module.decoder.logits.weight.shape
            shapes |= {f"decoder.{peer}.weight": (genes, hidden), f"decoder.{peer}.bias": (genes,)}
    return shapes


def shared_spare(module):
    """Those of all but the decoder."""
    settings, shapes = module.settings, {}
    if module.log_theta is None and settings.dispersion != "gene-cell":
        shapes["px_r"] = None                          # of any shape: a Poisson model has no dispersion
    if module.library_encoder is None:
        first = {entry.peer: entry.shape for entry in encoder_entries(module, "encoder", "l_encoder")}
        shapes |= {name: shape for name, shape in first.items() if "Layer" not in name or "Layer 0." in name}
        shapes |= {f"l_encoder.{head}.{name}": shape for head in ("mean_encoder", "var_encoder")
                   for name, shape in (("weight", (1, settings.n_hidden)), ("bias", (1,)))}
    return shapes
