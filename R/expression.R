#' Normalized expression
#'
#' What a model thinks each cell expresses once noise, depth and, if asked,
#' batch are taken away: the decoded expression fractions of a draw of the
#' cell's latent, times `library_size`.
#'
#' @section Large results:
#' The result has a number for each gene and cell: 2,000 genes of 10,000 cells
#' take 160 MB. Beyond 8 GB (option `latome.largest_result`, in bytes) a dense
#' matrix is refused. The ways out: fewer `features` or `cells`; `smallest`, which
#' leaves out small values and gives a sparse matrix; `file`, which writes to
#' disk block by block.
#'
#' @inheritParams latent_representation
#' @param features names of genes that the model was trained on; `NULL` for all
#'   of them.
#' @param library_size what the fractions, which sum to 1 over the genes of the
#'   model, are multiplied by: a number such as 1e4, or `"latent"` for each cell's
#'   own library size, which gives expected counts.
#' @param transform_batch names of batches to decode every cell under, instead of
#'   its own; of several, the mean is taken. This is how expression is compared
#'   between batches.
#' @param n_samples draws of each cell's latent.
#' @param n_samples_overall instead of a value a cell, this many draws from all
#'   cells together.
#' @param weights `"uniform"`, or `"importance"` to weight the
#'   `n_samples_overall` draws by how well they explain the cells (slow).
#' @param importance options of these weights, a named list: `max_cells` (1024)
#'   from which draws come, at random of more; `truncation` (`FALSE`) of large
#'   weights; `n_mc_samples` (500) for the marginal likelihood of each cell.
#' @param return_mean with several samples a cell, their mean; or else all of them.
#' @param cells which cells: names, positions, or `TRUE` and `FALSE`; `NULL` for all.
#' @param smallest values below it become 0, and the result is sparse.
#' @param file path of an HDF5 file to write instead of making a matrix.
#' @param seed a whole number; the same seed gives the same draws. R's own random
#'   numbers are neither used nor changed.
#' @return A matrix of genes x cells. With `smallest` a `dgCMatrix`; with `file`
#'   a `DelayedMatrix` on the file, or where the package HDF5Array is not installed the path
#'   (the data set `expression` holds genes x cells as R sees it; `genes` and
#'   `cells` hold the names). With `return_mean = FALSE` an array of genes x cells
#'   x samples; with `n_samples_overall` a matrix of genes x draws.
#' @seealso [add_normalized_expression()] puts it into the object.
#' @export
#' @examplesIf latome_available()
#' counts <- matrix(rpois(2000, 2), 40, 50, dimnames = list(paste0("g", 1:40), paste0("c", 1:50)))
#' fit <- run_scvi(counts, training = training_options(max_epochs = 3, threads = 2), verbose = FALSE)
#' normalized_expression(counts, fit, features = c("g1", "g2"), library_size = 1e4, cells = 1:5)
#' normalized_expression(counts, fit, smallest = 0.02, cells = 1:5)[1:4, ]
normalized_expression <- function(x, model = NULL, features = NULL, library_size = 1, transform_batch = NULL,
                                  n_samples = 1L, n_samples_overall = NULL, weights = "uniform",
                                  importance = list(), return_mean = TRUE, ..., cells = NULL, smallest = NULL, file = NULL,
                                  seed = 42L, assay = NULL, layer = NULL, coldata = NULL,
                                  allow_noninteger = FALSE) {
  check_no_dots(..., known = names(formals(normalized_expression)))
  call <- rlang::current_env()
  how <- list(
    library_size = check_library_size(library_size, call), n_samples = check_whole_number(n_samples, ge = 1),
    n_samples_overall = check_whole_number(n_samples_overall, ge = 1, null = TRUE),
    weights = check_choice(weights, c("uniform", "importance")), importance = check_importance(importance, weights, call),
    return_mean = check_flag(return_mean)
  )
  where <- list(
    smallest = check_number(smallest, gt = 0, null = TRUE), file = check_new_file(file, call), seed = check_seed(seed)
  )
  check_one_shape(how, where, call)
  asked <- open_query(x, model, cells, counts_in(assay, layer, coldata, allow_noninteger), call)
  how$transform_batch <- model_batches(asked$fit, transform_batch, "transform_batch", call)
  genes <- model_genes(asked$fit, features, call)
  if (!identical(genes, asked$fit$genes)) how$genes <- as_python_strings(genes)
  make_expression(asked, genes, how, where, call)
}

#' @param how arguments of the engine
#' @param where list: smallest, file, seed
#' @noRd
make_expression <- function(asked, genes, how, where, call) {
  if (!is.null(where$file)) {
    return(filed_expression(asked, genes, how, where, call))
  }
  if (!is.null(where$smallest)) {
    return(sparse_expression(asked, genes, how, where, call))
  }
  apart <- how$n_samples > 1L && !how$return_mean
  n_columns <- how$n_samples_overall %||% (length(asked$cells) * if (apart) how$n_samples else 1)
  check_size(length(genes) * as.double(n_columns),
    paste(count_of(length(genes), "gene"), "x", count_of(n_columns, if (is.null(how$n_samples_overall)) "cell" else "draw")),
    c("Ask for fewer `features` or `cells`; or set `smallest` for a sparse matrix, or `file` to write to disk."), call)
  if (apart || !is.null(how$n_samples_overall)) {
    return(sampled_expression(asked, genes, how, where$seed, call))
  }
  dense_expression(asked, genes, how, where$seed, call)
}

BLOCK <- 2^19                                  # values of a block: 4 MB, small beside any result worth the care

#' One matrix, filled block by block of cells as they come from the engine.
#' @noRd
dense_expression <- function(asked, genes, how, seed, call) {
  values <- matrix(0, length(genes), length(asked$cells), dimnames = list(genes, asked$cells))
  how$batch_size <- as.integer(min(1024, max(32, BLOCK / length(asked$fit$genes))))
  blocks <- open_blocks(asked, "expression_blocks", how, seed, "Decoding", call)
  on.exit(blocks$close())
  while (!is.null(block <- blocks$get())) {
    values[, block$start:block$stop] <- block$values
  }
  values
}

#' The same where small values are zero: blocks of dgCMatrix.
#' @noRd
sparse_expression <- function(asked, genes, how, where, call) {
  blocks <- open_blocks(asked, "expression_blocks", c(how, list(smallest = where$smallest)), where$seed, "Decoding",
    call)
  on.exit(blocks$close())
  parts <- list()
  while (!is.null(block <- blocks$get())) {
    parts[[length(parts) + 1L]] <- as_sparse(block, genes, asked$cells[block$start:block$stop])
  }
  if (length(parts) == 1L) parts[[1]] else do.call(cbind, parts)
}

#' On disk: the engine writes block by block, and the file appears when it is complete.
#' @noRd
filed_expression <- function(asked, genes, how, where, call) {
  blocks <- open_blocks(asked, "expression_blocks", c(how, list(file = where$file)), where$seed, "Decoding", call)
  on.exit(blocks$close())
  while (!is.null(blocks$get())) NULL
  if (!rlang::is_installed("HDF5Array")) {              # not among the suggested packages: it brings a library of HDF5
    return(where$file)
  }
  values <- getExportedValue("HDF5Array", "HDF5Array")(where$file, "expression")
  dimnames(values) <- list(genes, asked$cells)
  values
}

#' Samples that are kept apart: an array, or draws from all cells together.
#' @noRd
sampled_expression <- function(asked, genes, how, seed, call) {
  values <- ask_in_steps(asked, "normalized_expression", how, seed, "Decoding", call)$values
  if (is.null(how$n_samples_overall)) {
    dimnames(values) <- list(genes, asked$cells, NULL)
    return(values)
  }
  name_genes(values, genes)
}

#' Options of importance weights; the engine knows which there are.
#' @noRd
check_importance <- function(importance, weights, call) {
  if (!is.list(importance) || (length(importance) && is.null(names(importance)))) {
    abort_supplied("importance", "a named list, such as list(max_cells = 500)", importance, call)
  }
  if (length(importance) && weights != "importance") {
    abort_latome("`importance` is for weights = \"importance\".", field = "importance", call = call)
  }
  if (length(importance)) importance
}

check_library_size <- function(library_size, call) {
  if (identical(library_size, "latent")) {
    return(library_size)
  }
  if (!is_number(library_size) || library_size <= 0) {
    abort_supplied("library_size", "one number above 0, or \"latent\"", library_size, call)
  }
  as.double(library_size)
}

check_new_file <- function(file, call) {
  file <- check_string(file, null = TRUE, arg = "file", call = call)
  if (is.null(file)) {
    return(NULL)
  }
  file <- path.expand(file)
  if (file.exists(file)) {
    abort_latome(paste0("There is a file '", file, "' already."), "Choose another path, or remove it first.",
      field = "file", call = call)
  }
  if (!dir.exists(dirname(file))) {
    abort_latome(paste0("There is no folder '", dirname(file), "'."), "Make it first: dir.create().",
      field = "file", call = call)
  }
  file.path(normalizePath(dirname(file)), basename(file))
}

#' A sparse matrix and a file hold one value for each gene and cell.
#' @noRd
check_one_shape <- function(how, where, call) {
  given <- c(
    smallest = !is.null(where$smallest), file = !is.null(where$file), n_samples_overall = !is.null(how$n_samples_overall),
    "return_mean = FALSE" = how$n_samples > 1L && !how$return_mean
  )
  if (sum(given) > 1L) {
    abort_latome(paste0(paste0("`", names(given)[given], "`", collapse = " and "), " do not go together."),
      "Each of them gives another kind of result.", field = names(given)[given][[1]], call = call)
  }
  if (how$weights == "importance" && is.null(how$n_samples_overall)) {
    abort_latome("`weights = \"importance\"` weights draws from all cells together.",
      "Say how many: n_samples_overall = 5000.", field = "weights", call = call)
  }
}
