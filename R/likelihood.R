#' How well a model explains cells
#'
#' Three measures, in nats a cell. `elbo()` is the evidence lower bound, the mean
#' over cells of `log p(x | z) - KL(q(z | x) || p(z))` with one draw of `z` a cell:
#' higher is better. (The training curve shows the loss, its negative.)
#' `reconstruction_error()` is `-log p(x | z)` alone: lower is better.
#' `marginal_likelihood()` estimates `log p(x)` itself by importance sampling, and
#' is at least the bound: higher is better. All are of the genes of the model only,
#' so they compare models of the same genes and cells.
#'
#' @inheritParams normalized_expression
#' @param return_mean one number, the mean over cells; or one for each cell.
#' @return One number, or with `return_mean = FALSE` a number for each cell, named.
#' @name likelihood
#' @examplesIf latome_available()
#' counts <- matrix(rpois(2000, 2), 40, 50, dimnames = list(paste0("g", 1:40), paste0("c", 1:50)))
#' fit <- run_scvi(counts, training = training_options(max_epochs = 3, threads = 2), verbose = FALSE)
#' elbo(counts, fit)
#' reconstruction_error(counts, fit)
#' marginal_likelihood(counts, fit, n_samples = 100)
#' head(marginal_likelihood(counts, fit, n_samples = 100, return_mean = FALSE))
NULL

#' @rdname likelihood
#' @export
elbo <- function(x, model = NULL, return_mean = TRUE, ..., cells = NULL, seed = 42L, assay = NULL, layer = NULL,
                 coldata = NULL, allow_noninteger = FALSE) {
  check_no_dots(..., known = names(formals(elbo)))
  call <- rlang::current_env()
  measure(x, model, "elbo", check_flag(return_mean), check_seed(seed), cells,
    counts_in(assay, layer, coldata, allow_noninteger), call)
}

#' @rdname likelihood
#' @export
reconstruction_error <- function(x, model = NULL, return_mean = TRUE, ..., cells = NULL, seed = 42L, assay = NULL,
                                 layer = NULL, coldata = NULL, allow_noninteger = FALSE) {
  check_no_dots(..., known = names(formals(reconstruction_error)))
  call <- rlang::current_env()
  measure(x, model, "reconstruction_error", check_flag(return_mean), check_seed(seed), cells,
    counts_in(assay, layer, coldata, allow_noninteger), call)
}

#' @rdname likelihood
#' @param n_samples draws of each cell's latent; the more, the closer the estimate
#'   comes to the truth, from below.
#' @export
marginal_likelihood <- function(x, model = NULL, n_samples = 1000L, return_mean = TRUE, ..., cells = NULL, seed = 42L,
                                assay = NULL, layer = NULL, coldata = NULL, allow_noninteger = FALSE) {
  check_no_dots(..., known = names(formals(marginal_likelihood)))
  call <- rlang::current_env()
  how <- list(n_mc_samples = check_whole_number(n_samples, ge = 1))
  check_flag(return_mean)
  seed <- check_seed(seed)
  asked <- open_explained(x, model, cells, counts_in(assay, layer, coldata, allow_noninteger), call)
  values <- stats::setNames(numeric(length(asked$cells)), asked$cells)
  blocks <- open_blocks(asked, "marginal_blocks", how, seed, "Estimating", call)
  on.exit(blocks$close())
  while (!is.null(block <- blocks$get())) {
    values[block$start:block$stop] <- block$values
  }
  if (return_mean) mean(values) else values
}

open_explained <- function(x, model, cells, source, call) {
  asked <- open_query(x, model, cells, source, call)
  check_counts_there(asked, "The likelihood", "Give the object with its counts.", call)
  asked
}

#' @noRd
measure <- function(x, model, verb, return_mean, seed, cells, source, call) {
  asked <- open_explained(x, model, cells, source, call)
  values <- as.vector(ask(asked, verb, list(return_mean = return_mean), seed, call)$value)
  if (return_mean) values else stats::setNames(values, asked$cells)
}
