"""New cells on a reference, in the interface of the papers: what becomes of its flags, and what is told."""

from dataclasses import fields
from pathlib import Path

from latome.errors import QueryError
from latome.faces.base import Model
from latome.io.readers import read_model
from latome.surgery import align_genes, check_overlap, learns, map_query, new_categories

__all__ = ["aligned", "mapped", "reference_fit", "refuse_other_kind"]

FEW = 0.8                                              # share of the genes below which there is a warning
#: A flag that is switched off -> names of the tensors that it frees.
FREED = {
    "freeze_expression": ("*encoder.hidden.linears.0.*",),
    "freeze_decoder_first_layer": ("decoder*.linears.0.*",),
    "freeze_batchnorm_encoder": ("*encoder.*batch_norm*",),
    "freeze_batchnorm_decoder": ("decoder*batch_norm*",),
    "freeze_classifier": ("classifier.*",),
}


def reference_fit(reference):
    """The `Fit` of a model object, or of the folder of a saved one, ours or of scvi-tools."""
    if isinstance(reference, str | Path):
        return read_model(reference)
    if not isinstance(reference, Model):
        raise QueryError("reference_model", problem=f"The reference is of type {type(reference).__name__}.",
                         hint="Give a model, or the folder of a saved one.")
    return reference.fit


def mapped(reference, adata, columns, flags, *, in_place=False):
    """(fit, data, AnnData, warnings) of new cells.

    Arguments
    ---------
    reference : `Fit` of the reference.
    adata : AnnData of the new cells.
    columns : their `Columns`, or None for those of the reference.
    flags : {flag of FREED, "unfrozen" or "freeze_dropout": bool}.
    in_place : take genes that the reference does not have out of `adata` itself.
    """
    genes = list(reference.registry.genes)
    share = check_overlap(adata, genes, 0)
    messages = of_genes(share, genes)
    if share < 1:
        adata, _ = align_genes(adata, genes, min_overlap=0)
    elif in_place:
        adata._inplace_subset_var(genes)
    free = ["*"] if flags["unfrozen"] else [name for flag, names in FREED.items() if not flags[flag] for name in names]
    still = {} if not flags["freeze_dropout"] else {
        field.name: 0.0 for field in fields(reference.settings) if field.name.startswith("dropout_rate")}
    fit, data = map_query(reference, adata, columns, min_overlap=0, free=free, settings=still, allow_noninteger=True)
    if len(fit.held) < len(fit.module.state_dict()):
        messages.append("Weights of the reference are not frozen: training will change its latent and its decoding.")
    elif not learns(fit):
        messages.append(
            "The encoder of the reference takes no covariates (encode_covariates = False): the latent of these cells "
            "is there already, and training changes their decoding alone."
            if new_categories(reference.registry, fit.registry) else
            "These cells bring no new category: the model answers for them as it is.")
    return fit, data, adata, [*messages, *data.warnings]


def of_genes(share, genes):
    """[what is to be said of the share of the genes that new cells have]."""
    if share == 1:
        return []
    said = f"{round((1 - share) * len(genes))} of the reference's {len(genes)} genes are not in the data, and count as "
    return [said + ("zero." if share >= FEW else f"zero. Only {share:.0%} are there: the model may tell cells apart "
                    "badly.")]


def aligned(adata, reference, in_place):
    """(AnnData with the reference's genes, warnings); with `in_place` it is `adata` itself.

    Raises QueryError where the data have none of them.
    """
    genes = list(reference.registry.genes)
    if in_place and adata.is_view:
        raise QueryError("adata", problem="A view of an AnnData cannot be given other genes.",
                         hint="Copy it first: adata = adata.copy(); or set inplace=False.")
    found, share = align_genes(adata, genes, min_overlap=0)
    if in_place and found is not adata:
        adata._init_as_actual(found)
        found = adata
    return found, of_genes(share, genes)


def refuse_other_kind(fit, kind, name):
    """A QueryError where a reference is of another class."""
    if fit.kind != kind:
        raise QueryError("reference_model", problem=f"The reference is of the kind {fit.kind}, not {kind}.",
                         hint=f"Use its own class, not {name}.")
