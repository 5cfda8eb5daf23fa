# What each kind of model leaves beside its latent, and how all of it goes into an object.
#
# Results are a named list, each entry absent where there is none:
#   latent         cells x k, rows named by cell
#   loadings       genes x k, rows named by gene; they go with the latent
#   coldata        data.frame, columns for the cells, rows named by cell
#   rowdata        data.frame, columns for the genes, rows named by gene
#   probabilities  types x cells, both named

#' What to ask a trained model of a kind for: a function of (asked, name, call) that returns results; NULL for
#' nothing.
#'
#' `asked` holds fit, weights, data and cells, as open_query() returns them; `name` is that of the results.
#' @noRd
after_training <- function(kind) {
  switch(kind, ldvae = ldvae_results, autozi = autozi_results, scanvi = label_results, cellassign = label_results)
}

#' Names that the results of a kind take in an object: columns of the cell data, the beginning of columns of the
#' gene data, an assay.
#' @noRd
result_names <- function(kind, name) {
  switch(kind,
    scanvi = list(coldata = paste0("predicted.", name, c("", ".score")), assay = paste0("prediction.score.", name)),
    cellassign = list(coldata = paste0(name, c(".label", ".score")), assay = paste0("prediction.score.", name)),
    solo = list(coldata = paste0(name, c(".class", ".score"))),
    autozi = list(rowdata = paste0(name, "."))
  )
}

#' What the engine says of a model, or of a kind of models before there is one. A model that was saved before the engine
#' said it is as its kind is.
#' @noRd
trait <- function(of, what) {
  if (is_string(of)) KINDS[[of]][[what]] else of$summary[[what]] %||% KINDS[[of$kind]][[what]]
}

#' Has a model, or a kind, a latent?
#' @noRd
has_latent <- function(of) !isFALSE(trait(of, "latent"))

#' What only some models are asked: names of verbs.
#' @noRd
own_verbs <- function(of) {
  verbs <- strings(trait(of, "questions"))
  c(verbs, if ("label_probabilities" %in% verbs) "plot_predictions")
}

#' Does a model tell labels?
#' @noRd
tells_labels <- function(of) "label_probabilities" %in% own_verbs(of)

#' Does a model count the size of a cell over all genes of the data?
#' @noRd
needs_all_genes <- function(fit) {
  fit$summary$needs_all_genes %||% (fit$kind == "cellassign" && is.null(fit$summary$columns$size_factor))
}

#' Results may replace results of the same name, never what somebody else put there.
#' @noRd
check_places <- function(object, kind, name, call) {
  kept <- get_kept(object, call)
  if (has_latent(kind) && is_taken(object, name) && !name %in% names(kept$models)) {
    abort_taken(latent_place(object, name), call)
  }
  wanted <- result_names(kind, name)
  columns <- setdiff(intersect(wanted$coldata, coldata_names(object)), kept$columns)
  if (length(columns)) abort_taken(paste0("column \"", columns[[1]], "\" of the cell data"), call)
  if (!is.null(wanted$rowdata)) {
    theirs <- setdiff(rowdata_names(object), kept$features)
    theirs <- theirs[startsWith(theirs, wanted$rowdata)]
    if (length(theirs)) abort_taken(paste0("column \"", theirs[[1]], "\" of the gene data"), call)
  }
  if (!is.null(wanted$assay) && can_hold(object)) {
    tryCatch(assay_place(object, wanted$assay, call),
      latome_error = function(e) abort_taken(paste0("assay \"", wanted$assay, "\""), call))
  }
}

abort_taken <- function(place, call) {
  abort_latome(
    paste0("The results would be stored as ", place, ", and the name is taken by something that belongs to no ",
      "model of latome in the object."),
    "Choose another `name`, or remove it first.", field = "name", call = call
  )
}

#' Can results be put into this object?
#' @noRd
can_hold <- function(object) inherits(object, c("Seurat", "SingleCellExperiment"))

#' Put results into an object, each in its place, and remember what is ours.
#' @return list: object, places (in words)
#' @noRd
put_results <- function(object, results, kind, name, assay, call) {
  places <- character()
  kept <- get_kept(object, call)
  if (!is.null(results$latent)) {
    object <- put_latent(object, results$latent, name, assay, results$loadings)
    places <- paste0(latent_place(object, name), if (!is.null(results$loadings)) " with its loadings")
  }
  if (!is.null(results$coldata)) {
    object <- put_coldata(object, results$coldata)
    kept$columns <- union(kept$columns, names(results$coldata))
    places <- c(places, named_places("column", names(results$coldata)))
  }
  if (!is.null(results$rowdata)) {
    object <- put_rowdata(object, results$rowdata, assay)
    kept$features <- union(kept$features, names(results$rowdata))
    places <- c(places, paste(named_places("column", names(results$rowdata)), "of the genes"))
  }
  if (!is.null(results$probabilities)) {
    into <- result_names(kind, name)$assay
    object <- put_assay(object, results$probabilities, into, call)
    kept$written <- union(kept$written, into)
    places <- c(places, assay_place(put_kept(object, kept), into, call))
  }
  list(object = put_kept(object, kept), places = places)
}

named_places <- function(one, names) {
  shown <- paste0("\"", utils::head(names, 4L), "\"", collapse = ", ")
  if (length(names) > 4L) shown <- paste0(shown, " and ", count_of(length(names) - 4L), " more")
  paste0(one, if (length(names) > 1L) "s", " ", shown)
}

#' Store results and model, note the call, and say what was set. A matrix or a store cannot hold any: then the
#' model is returned, with the results in it.
#' @noRd
store <- function(object, fit, results, verb, arguments, call) {
  name <- arguments$name
  if (!can_hold(object)) {
    fit[names(results)] <- results
    return(keep_weights(fit, name, arguments$keep_model, arguments$verbose, call))
  }
  assay <- fit$source$assay
  put <- put_results(object, results, fit$kind, name, assay, call)
  object <- put$object
  if (arguments$keep_model != "none") {
    fit <- keep_weights(fit, name, arguments$keep_model, arguments$verbose, call)
    object <- put_model(object, fit, name)
  }
  object <- log_run(object, verb, arguments, assay)
  model <- if (arguments$keep_model != "none") paste0("model \"", name, "\" (see get_model())")
  inform_latome(paste0("Sets: ", paste(c(put$places, model), collapse = ", "), "."), arguments$verbose)
  object
}

#' Note a run in the object's own log.
#' @noRd
log_run <- function(object, verb, arguments, assay) {
  arguments[c("roles", "given", "parent", "whole")] <- NULL
  put_command(object, verb, c(arguments, unclass(arguments$training)), assay)
}
