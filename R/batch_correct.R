# The hook of the Bioconductor package batchelor: batchCorrect(PARAM = ScviParam()).

#' scVI as a method of `batchelor::batchCorrect()`
#'
#' Where the package batchelor is installed, `batchCorrect(..., PARAM = ScviParam())` trains the model of [run_scvi()]
#' on the raw counts and gives its latent space as the corrected coordinates.
#'
#' @details
#' Of the arguments of `batchCorrect()`: several objects are a batch each, of one object `batch` tells them apart;
#' `subset.row` are the genes to train on (all of them by default); `assay.type` is the assay of raw counts, by
#' default `"counts"`; with `correct.all = TRUE` the result has all genes, otherwise those of `subset.row`.
#' `restrict` is an error: the model learns from all cells.
#'
#' @param ... settings and further arguments of [run_scvi()], such as `n_latent`, `training` or `seed`. Others are
#'   an error.
#' @return An object of class `ScviParam`, a `BatchelorParam`. With it `batchCorrect()` returns a SingleCellExperiment
#'   of all cells: `reducedDim(, "corrected")`, column `batch`, the raw counts, and the model (see [get_model()]), so
#'   that [normalized_expression()] and the like can be asked of it.
#' @export
#' @examplesIf latome_available() && rlang::is_installed("batchelor")
#' counts <- matrix(rpois(4000, 2), 40, 100, dimnames = list(paste0("g", 1:40), paste0("c", 1:100)))
#' quick <- ScviParam(training = training_options(max_epochs = 3, threads = 2))
#' batchelor::batchCorrect(counts, batch = rep(c("a", "b"), 50), PARAM = quick)
ScviParam <- function(...) {
  call <- rlang::current_env()
  arguments <- check_passed_on(list(...), setdiff(names(formals(run_scvi)), WE_SET), call)
  rlang::check_installed("batchelor", "for batchCorrect()", call = call)
  hook_into(getExportedValue("batchelor", "batchCorrect"), methods::className("BatchelorParam", "batchelor"))
  methods::new("ScviParam", listData = arguments)
}

# Arguments of run_scvi() that batchCorrect() has of its own, or that are fixed by what it returns.
WE_SET <- c("object", "...", "batch", "assay", "layer", "features", "coldata", "name", "keep_model")

hooks <- new.env(parent = baseenv())           # where the class and its method are, once they are needed

#' Define the class, a subclass of `parent`, and its method for `generic`; once.
#' @noRd
hook_into <- function(generic, parent) {
  if (methods::existsMethod(generic, "ScviParam")) {
    return(invisible())
  }
  methods::setClass("ScviParam", contains = parent, where = hooks)
  methods::setMethod(generic, "ScviParam", where = hooks, definition = function(..., batch = NULL, restrict = NULL,
                                                                                subset.row = NULL, correct.all = FALSE,
                                                                                assay.type = NULL, PARAM) {
    correct_batches(list(...), batch, restrict, subset.row, correct.all, assay.type, as.list(PARAM))
  })
}

#' What batchCorrect() does.
#' @noRd
correct_batches <- function(objects, batch, restrict, subset.row, correct.all, assay.type, arguments,
                            call = rlang::caller_env()) {
  if (!is.null(restrict)) {
    abort_latome("`restrict` has no meaning for scVI, which learns from all cells.", "Leave it out.",
      field = "restrict", call = call)
  }
  object <- one_object(objects, batch, assay.type, call)
  genes <- rownames(object)
  if (!is.null(subset.row)) genes <- if (is.character(subset.row)) subset.row else genes[subset.row]
  features <- if (is.null(subset.row)) "all" else genes
  arguments <- c(arguments, list(batch = "batch", features = features, name = "corrected"))
  object <- call_on(object, "run_scvi", arguments)
  names <- SingleCellExperiment::reducedDimNames(object)
  SingleCellExperiment::reducedDimNames(object) <- replace(names, names == "CORRECTED", "corrected")
  if (isTRUE(correct.all)) object else object[intersect(rownames(object), genes), ]
}

#' The counts of all batches as one SingleCellExperiment, with a column `batch`.
#' @noRd
one_object <- function(objects, batch, assay.type, call) {
  parts <- lapply(objects, function(object) {
    if (inherits(object, "SummarizedExperiment")) {
      get_cells(methods::as(object, "SingleCellExperiment"), assay = assay.type, call = call)$counts
    } else {
      get_cells(object, call = call)$counts
    }
  })
  if (length(unique(lapply(parts, rownames))) > 1L) {
    abort_latome("The batches have not the same genes in the same order.",
      "Take those that all have: x[genes, ] of each.", kind = "FieldError", field = "object", call = call)
  }
  if (length(parts) > 1L) {
    names <- names(objects) %||% as.character(seq_along(objects))
    batch <- factor(rep(names, vapply(parts, ncol, 0L)), unique(names))
  } else if (length(batch) != ncol(parts[[1]])) {
    abort_supplied("batch", paste("the batch of each of the", count_of(ncol(parts[[1]]), "cell")), batch, call)
  }
  counts <- if (length(parts) > 1L) do.call(cbind, unname(parts)) else parts[[1]]
  if (anyDuplicated(colnames(counts))) colnames(counts) <- NULL        # the same barcodes in several batches
  SingleCellExperiment::SingleCellExperiment(list(counts = counts), colData = S4Vectors::DataFrame(batch = batch))
}
