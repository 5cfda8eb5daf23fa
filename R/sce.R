# SingleCellExperiment, and what extends it (SpatialExperiment).

#' @export
#' @noRd
get_cells.SingleCellExperiment <- function(object, assay = NULL, layer = NULL, coldata = NULL,
                                           call = rlang::caller_env()) {
  no_coldata(coldata, "a SingleCellExperiment", call)
  if (!is.null(layer) && !is.null(assay) && !identical(layer, assay)) {
    abort_latome("In a SingleCellExperiment `assay` and `layer` mean the same; give one.",
      field = "layer", call = call)
  }
  assay <- check_string(assay %||% layer, null = TRUE, arg = "assay", call = call) %||% "counts"
  assays <- SummarizedExperiment::assayNames(object)
  if (!assay %in% assays) {
    hint <- suggest(assay, assays, "Assays")
    if (assay %in% SingleCellExperiment::altExpNames(object)) {
      hint <- paste0("'", assay, "' is an alternative experiment: give swapAltExp(object, \"", assay,
        "\"), and swap back.")
    }
    abort_latome(paste0("The object has no assay '", assay, "'."), hint,
      kind = "FieldError", field = "assay", call = call)
  }
  counts <- SummarizedExperiment::assay(object, assay, withDimnames = TRUE)
  rownames(counts) <- rownames(object)
  chosen <- SingleCellExperiment::rowSubset(object, onAbsence = "none")
  list(
    counts = counts, coldata = sce_coldata(object),
    features = if (!is.null(chosen)) rownames(object)[chosen],
    assay = assay, layer = NULL, other_layers = assays, where = paste0("assay '", assay, "'")
  )
}

#' @export
#' @noRd
get_cells.SummarizedExperiment <- function(object, assay = NULL, layer = NULL, coldata = NULL,
                                           call = rlang::caller_env()) {
  abort_latome("`object` is a SummarizedExperiment, which has no place for a latent space.",
    "Turn it into a SingleCellExperiment: as(object, \"SingleCellExperiment\").",
    kind = "FieldError", field = "object", call = call)
}

#' @export
#' @noRd
put_latent.SingleCellExperiment <- function(object, latent, name, assay, loadings = NULL) {
  if (!is.null(colnames(object))) {
    latent <- latent[colnames(object), , drop = FALSE]
  } else {
    rownames(latent) <- NULL                   # cells without names stay so
  }
  colnames(latent) <- paste0(toupper(name), "_", seq_len(ncol(latent)))
  if (!is.null(loadings)) {
    colnames(loadings) <- colnames(latent)
    attr(latent, "rotation") <- loadings                   # where runPCA() of scater puts them
  }
  SingleCellExperiment::reducedDim(object, toupper(name)) <- latent
  object
}

#' @export
#' @noRd
put_coldata.SingleCellExperiment <- function(object, columns) {
  cells <- colnames(object) %||% as.character(seq_len(ncol(object)))
  for (name in names(columns)) {
    SummarizedExperiment::colData(object)[[name]] <- columns[match(cells, rownames(columns)), name]
  }
  object
}

#' @export
#' @noRd
put_rowdata.SingleCellExperiment <- function(object, columns, assay) {
  for (name in names(columns)) {
    SummarizedExperiment::rowData(object)[[name]] <- columns[match(rownames(object), rownames(columns)), name]
  }
  object
}

#' @export
#' @noRd
coldata_names.SingleCellExperiment <- function(object) names(SummarizedExperiment::colData(object))

#' @export
#' @noRd
rowdata_names.SingleCellExperiment <- function(object, assay = NULL) names(SummarizedExperiment::rowData(object))

#' @export
#' @noRd
get_kept.SingleCellExperiment <- function(object, call = rlang::caller_env()) {
  # cbind() puts the metadata of all parts one after the other; parts of one object carry the same things
  held <- S4Vectors::metadata(object)
  join_kept(unname(held[names(held) == "latome"]))
}

#' @export
#' @noRd
put_kept.SingleCellExperiment <- function(object, kept) {
  held <- S4Vectors::metadata(object)
  held <- held[names(held) != "latome"]
  held$latome <- kept
  S4Vectors::metadata(object) <- held
  object
}

#' @export
#' @noRd
own_groups.SingleCellExperiment <- function(object) {
  groups <- SingleCellExperiment::colLabels(object, onAbsence = "none")
  if (!is.null(groups)) as.factor(groups)
}

#' @export
#' @noRd
assay_place.SingleCellExperiment <- function(object, name, call = rlang::caller_env()) {
  places <- c(
    assay = name %in% SummarizedExperiment::assayNames(object),
    altExp = name %in% SingleCellExperiment::altExpNames(object)
  )
  if (any(places) && !name %in% get_kept(object, call)$written) {
    abort_latome(paste0("The object has an ", names(places)[places][[1]], " '", name,
        "' already, which this function did not write."),
      paste0("Choose another `assay`, such as \"", name, "_expression\"."), field = "assay", call = call)
  }
  paste0(if (any(places)) names(places)[places][[1]] else "assay", " \"", name, "\"")
}

#' An assay where there is a value for each row, else an altExp.
#' @export
#' @noRd
put_assay.SingleCellExperiment <- function(object, values, name, call = rlang::caller_env()) {
  if (name %in% SummarizedExperiment::assayNames(object)) SummarizedExperiment::assay(object, name) <- NULL
  if (name %in% SingleCellExperiment::altExpNames(object)) SingleCellExperiment::altExp(object, name) <- NULL
  if (is.null(colnames(object))) colnames(values) <- NULL                # cells without names stay so
  if (setequal(rownames(values), rownames(object))) {
    if (!identical(rownames(values), rownames(object))) values <- values[rownames(object), , drop = FALSE]
    SummarizedExperiment::assay(object, name) <- values
  } else {
    SingleCellExperiment::altExp(object, name) <- SummarizedExperiment::SummarizedExperiment(
      stats::setNames(list(values), name)
    )
  }
  object
}

#' @export
#' @noRd
get_coldata.SingleCellExperiment <- function(object) sce_coldata(object)

#' @export
#' @noRd
holds_counts.SingleCellExperiment <- function(object, assay, layer) {
  assay %in% SummarizedExperiment::assayNames(object)
}

#' @export
#' @noRd
drop_counts.SingleCellExperiment <- function(object, assay, layer, call) {
  SummarizedExperiment::assay(object, assay) <- NULL
  object
}

#' @export
#' @noRd
latent_place.SingleCellExperiment <- function(object, name) {
  paste0("reducedDim \"", toupper(name), "\"")
}

#' @export
#' @noRd
is_taken.SingleCellExperiment <- function(object, name) {
  toupper(name) %in% SingleCellExperiment::reducedDimNames(object)
}

sce_coldata <- function(object) {
  coldata <- SummarizedExperiment::colData(object)
  plain <- vapply(coldata, function(column) {
    (is.atomic(column) && is.null(dim(column))) || methods::is(column, "Rle")
  }, NA)
  coldata <- as.data.frame(coldata[, plain, drop = FALSE], optional = TRUE)
  rownames(coldata) <- colnames(object) %||% seq_len(ncol(object))
  coldata
}
