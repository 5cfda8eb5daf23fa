#' Where cells lie: densities in the latent space
#'
#' The mixture of the posteriors of all cells asked about, `mean over cells of
#' q(z | x)`, is the density of those cells in the latent space. Its logarithm at
#' points tells how usual a place is.
#'
#' @inheritParams normalized_expression
#' @param at points to ask about: a matrix with a column for each latent dimension,
#'   such as [latent_representation()] of other cells; `NULL` for the posterior means
#'   of the cells themselves.
#' @param dof degrees of freedom of the Student t distribution that each cell
#'   spreads out as; `NULL` for the normal distribution, which falls off faster.
#' @return The log density at each point, in nats, named as the rows of `at`.
#' @seealso [differential_abundance()]
#' @export
#' @examplesIf latome_available()
#' counts <- matrix(rpois(2000, 2), 40, 50, dimnames = list(paste0("g", 1:40), paste0("c", 1:50)))
#' fit <- run_scvi(counts, training = training_options(max_epochs = 3, threads = 2), verbose = FALSE)
#' usual <- aggregated_posterior(counts, fit, cells = 1:40)
#' aggregated_posterior(counts, fit, cells = 1:40, at = latent_representation(counts[, 41:50], fit))
aggregated_posterior <- function(x, model = NULL, at = NULL, dof = 3, ..., cells = NULL, seed = 42L, assay = NULL,
                                 layer = NULL, coldata = NULL, allow_noninteger = FALSE) {
  check_no_dots(..., known = names(formals(aggregated_posterior)))
  call <- rlang::current_env()
  dof <- check_number(dof, gt = 0, null = TRUE)
  seed <- check_seed(seed)
  asked <- open_query(x, model, cells, counts_in(assay, layer, coldata, allow_noninteger), call)
  at <- check_points(at, asked$fit, call)
  how <- list(dof = dof, at = if (!is.null(at)) unname(at))
  values <- as.vector(ask(asked, "aggregated_posterior", how, seed, call)$value)
  names(values) <- if (is.null(at)) asked$cells else rownames(at)
  values
}

check_points <- function(at, fit, call) {
  if (is.null(at)) {
    return(NULL)
  }
  k <- fit$settings$n_latent
  if (!is.matrix(at) || !is.numeric(at) || ncol(at) != k || !nrow(at) || any(!is.finite(at))) {
    found <- if (is.matrix(at)) paste("a", nrow(at), "x", ncol(at), "matrix") else shown_value(at)
    abort_latome(paste0("`at` must be a matrix of finite numbers with ", count_of(k, "column"),
        ", one for each latent dimension; you supplied ", found, "."),
      "latent_representation() gives such matrices.", field = "at", call = call)
  }
  storage.mode(at) <- "double"
  at
}

#' Abundance of cell states in samples
#'
#' For each sample (donor, condition), how dense its cells lie where each cell of
#' the data lies: the log density of the cell's latent under the
#' [aggregated_posterior()] of the sample's cells. Differences between two columns
#' are log ratios of abundance, without clusters.
#'
#' @inheritParams normalized_expression
#' @param samples name of the column of the cell data that holds the samples.
#' @param leave_one_out leave each cell out of the mixture of its own sample.
#'   Otherwise it raises the density of that sample at its own place, the more the
#'   fewer the cells.
#' @param n_cells at most this many cells of each sample, at random; `NULL` for all.
#' @param dof see [aggregated_posterior()]; `NULL` is the normal distribution.
#' @return `differential_abundance()` returns a matrix of cells x samples of log
#'   densities, in nats. `add_differential_abundance()` returns the object with them
#'   as features by cells: an assay of a Seurat object (features with `-` for `_`), an
#'   `altExp` of a SingleCellExperiment.
#' @export
#' @examplesIf latome_available()
#' counts <- matrix(rpois(2000, 2), 40, 50, dimnames = list(paste0("g", 1:40), paste0("c", 1:50)))
#' cells <- data.frame(donor = rep(c("a", "b"), 25), row.names = colnames(counts))
#' fit <- run_scvi(counts, training = training_options(max_epochs = 3, threads = 2), verbose = FALSE)
#' density <- differential_abundance(counts, fit, samples = "donor", coldata = cells)
#' head(density[, "a"] - density[, "b"])
differential_abundance <- function(x, model = NULL, samples, n_cells = NULL, dof = NULL, leave_one_out = FALSE, ...,
                                   cells = NULL, seed = 42L, assay = NULL, layer = NULL, coldata = NULL, allow_noninteger = FALSE) {
  check_no_dots(..., known = names(formals(differential_abundance)))
  call <- rlang::current_env()
  samples <- check_names(if (missing(samples)) character() else samples, 1L, "samples", call)
  how <- list(num_cells_posterior = check_whole_number(n_cells, ge = 1, null = TRUE),
    dof = check_number(dof, gt = 0, null = TRUE), leave_one_out = check_flag(leave_one_out))
  seed <- check_seed(seed)
  asked <- open_query(x, model, cells, counts_in(assay, layer, coldata, allow_noninteger), call)
  groups <- find_samples(asked$coldata, samples, call)
  coded <- as_codes(groups)
  how[c("codes", "levels")] <- list(as_numpy(coded$codes), as_python_strings(coded$levels))
  values <- ask(asked, "differential_abundance", how, seed, call)$value
  dimnames(values) <- list(asked$cells, levels(groups))
  values
}

find_samples <- function(coldata, name, call) {
  values <- find_column(coldata, name, "samples", call)
  code_factor(values, na_allowed = FALSE, training = TRUE, function(problem, hint = "") {
    abort_latome(paste0("Column '", name, "' (samples) ", problem), hint, kind = "FieldError", field = name, call = call)
  })
  droplevels(as.factor(values))
}

#' @rdname differential_abundance
#' @param name name of the assay or `altExp`.
#' @param verbose say where the densities went?
#' @export
add_differential_abundance <- function(x, samples, model = NULL, ..., name = "abundance", verbose = TRUE) {
  call <- rlang::current_env()
  check_flag(verbose)
  known <- c("n_cells", "dof", "leave_one_out", "seed", "allow_noninteger")
  arguments <- check_passed_on(list(...), known, call)
  name <- check_result_name(name, "name", call)
  assay_place(x, name, call)
  values <- call_on(x, "differential_abundance", c(list(model = model, samples = samples), arguments))
  store_assay(x, t(values), name, "add_differential_abundance",
    c(list(samples = samples, model = model_name(x, model, call)), arguments), verbose, call)
}
