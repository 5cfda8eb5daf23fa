#' A trained model and the data it is asked about.
#'
#' @return list: fit, weights, data (an AnnData in Python), cells (names)
#' @noRd
open_query <- function(x, model, assay, layer, coldata, allow_noninteger, call) {
  fit <- if (inherits(model, "latome_model")) model else find_model(x, model, call)
  if (inherits(x, "latome_model")) {
    abort_latome("A model is asked about data, and there are none.",
      "Give the data first: latent_representation(object, model = fit).",
      kind = "QueryError", field = "x", call = call)
  }
  fetched <- list(assay = assay, layer = layer, coldata = coldata, allow_noninteger = allow_noninteger)
  if (is.null(assay) && is.null(layer) && !is.null(fit$source$assay) && has_assay(x, fit$source$assay)) {
    fetched[c("assay", "layer")] <- list(fit$source$assay, fit$source$layer)
  }
  cells <- read_cells(x, fetched, call)
  missing <- setdiff(fit$genes, rownames(cells$counts))
  if (length(missing)) {
    abort_latome(
      paste0(count_of(length(missing)), " of the ", count_of(length(fit$genes), "gene"),
        " of the model are not in the data: ", quoted(missing, 3L), "."),
      "The model needs each gene it was trained on.", kind = "QueryError", field = "genes", call = call
    )
  }
  check_empty_cells(cells, fit$genes, call)
  columns <- lapply(fit$summary$columns[c("batch", "labels", "categorical", "continuous")], unlist)
  if (!isTRUE(columns$labels %in% colnames(cells$coldata))) columns$labels <- NULL
  coded <- code_columns(cells$coldata, columns, training = FALSE, call = call)
  list(
    fit = fit, weights = model_weights(fit, call), cells = colnames(cells$counts),
    data = to_anndata(cells$counts[fit$genes, , drop = FALSE], coded, call)
  )
}

has_assay <- function(x, assay) {
  if (inherits(x, "Seurat")) {
    assay %in% names(x@assays)
  } else {
    inherits(x, "SummarizedExperiment") && assay %in% SummarizedExperiment::assayNames(x)
  }
}

#' Where cells lie in the latent space of a model
#'
#' The encoder's answer for each cell: the mean of `q(z | x)`, or one draw from
#' it. Cells and genes are matched by name, so the object may have been
#' subset or hold other cells than those the model was trained on.
#'
#' @param x a Seurat object, a SingleCellExperiment, a matrix of counts (genes x
#'   cells), or a model trained on a matrix, which carries its latent.
#' @param model a model, or the name of one that `x` carries; `NULL` where it
#'   carries only one.
#' @param give_mean `TRUE` for the mean of the posterior, `FALSE` for a draw.
#' @param ... not used; an argument that is not known is an error.
#' @param assay,layer where the counts are; by default where they were for
#'   training, if `x` has it.
#' @param coldata for a matrix: a data.frame of the covariates, rows named by cell.
#' @param allow_noninteger accept counts that are not whole numbers.
#' @return A matrix of cells x latent dimensions, rows named by cell.
#' @export
#' @examplesIf latome_available()
#' counts <- matrix(rpois(2000, 2), 40, 50, dimnames = list(paste0("g", 1:40), paste0("c", 1:50)))
#' fit <- run_scvi(counts, training = training_options(max_epochs = 3, threads = 2), verbose = FALSE)
#' latent_representation(counts[, 1:5], model = fit)
latent_representation <- function(x, model = NULL, give_mean = TRUE, ..., assay = NULL, layer = NULL,
                                  coldata = NULL, allow_noninteger = FALSE) {
  check_no_dots(..., known = names(formals(latent_representation)))
  check_flag(give_mean)
  check_flag(allow_noninteger)
  if (inherits(x, "latome_model") && !is.null(x$latent) && is.null(model) && give_mean) {
    return(x$latent)
  }
  asked <- open_query(x, model, assay, layer, coldata, allow_noninteger, rlang::current_env())
  reply <- request("latent", asked$fit$document, asked$weights, asked$data, give_mean)
  name_latent(reply$latent, asked$cells)
}
