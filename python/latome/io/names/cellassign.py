"""Names of the tensors of CellAssign; theirs carries an scVI that it does not use, which is left out."""

from latome.io.names.parts import Entry, part_of

__all__ = ["entries", "spare"]

_SAME = {"baseline": "b_g_0", "type_logits": "theta_logit", "log_delta": "delta_log",
         "log_delta_mean": "delta_log_mean", "log_delta_log_variance": "delta_log_log_scale", "log_a": "log_a",
         "basis": "basis_means"}
_LINEAR, _NORM = ("weight", "bias"), ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
_HIDDEN = ("z_encoder.encoder", "l_encoder.encoder", "decoder.px_decoder")
_HEADS = ("z_encoder.mean_encoder", "z_encoder.var_encoder", "l_encoder.mean_encoder", "l_encoder.var_encoder",
          "decoder.px_scale_decoder.0", "decoder.px_r_decoder", "decoder.px_dropout_decoder")


def entries(module):
    """The entries of CellAssign; beta holds columns of the batches, of the continuous covariates, of the others."""
    batch, *others = (part_of(module, f"tables.{j}", turned=True) for j in range(len(module.tables)))
    numbers = [] if module.continuous is None else [part_of(module, "continuous")]
    design = (batch, *numbers, *others)
    return [*(Entry(peer, (part_of(module, ours),)) for ours, peer in _SAME.items()), Entry("beta", design)]


def spare(module):
    """{their name: None} of what theirs keeps beside: the markers, the prior's concentration, the unused scVI."""
    names = ["rho", "dirichlet_concentration", "px_r"]
    for network in _HIDDEN:
        names += [f"{network}.fc_layers.Layer 0.0.{name}" for name in _LINEAR]
        names += [f"{network}.fc_layers.Layer 0.1.{name}" for name in _NORM]
    return dict.fromkeys([*names, *(f"{head}.{name}" for head in _HEADS for name in _LINEAR)])
