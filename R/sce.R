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
    abort_latome(paste0("The object has no assay '", assay, "'."),
      suggest(assay, assays, "Assays"), kind = "FieldError", field = "assay", call = call)
  }
  counts <- SummarizedExperiment::assay(object, assay, withDimnames = TRUE)
  rownames(counts) <- rownames(object)
  chosen <- SingleCellExperiment::rowSubset(object, onAbsence = "none")
  list(
    counts = counts, coldata = sce_coldata(object),
    features = if (!is.null(chosen)) rownames(object[chosen, ]),
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
put_latent.SingleCellExperiment <- function(object, latent, name, assay) {
  if (!is.null(colnames(object))) {
    latent <- latent[colnames(object), , drop = FALSE]
  } else {
    rownames(latent) <- NULL                   # cells without names stay so
  }
  colnames(latent) <- paste0(toupper(name), "_", seq_len(ncol(latent)))
  SingleCellExperiment::reducedDim(object, toupper(name)) <- latent
  object
}

#' @export
#' @noRd
put_model.SingleCellExperiment <- function(object, fit, name) {
  models <- get_models(object)
  models[[name]] <- fit
  held <- S4Vectors::metadata(object)
  held <- held[names(held) != "latome"]
  held$latome <- list(models = models)
  S4Vectors::metadata(object) <- held
  object
}

#' @export
#' @noRd
get_models.SingleCellExperiment <- function(object, call = rlang::caller_env()) {
  held <- S4Vectors::metadata(object)
  # cbind() puts the metadata of all parts one after the other; parts of one object carry the same model
  models <- unlist(lapply(unname(held[names(held) == "latome"]), `[[`, "models"), recursive = FALSE)
  if (!length(models)) {
    return(NULL)
  }
  models <- models[!duplicated(models)]
  names(models) <- make.unique(as.character(names(models)))
  models
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
