#' The evidence lower bound of a model on data
#'
#' Mean over cells of `log p(x | z) - KL(q(z | x) || p(z))`, with one draw of
#' `z` a cell. Higher is better. (The training curve shows the loss, which is
#' its negative.)
#'
#' @inheritParams latent_representation
#' @param seed a whole number; the same seed gives the same value.
#' @return One number, in nats a cell.
#' @export
#' @examplesIf latome_available()
#' counts <- matrix(rpois(2000, 2), 40, 50, dimnames = list(paste0("g", 1:40), paste0("c", 1:50)))
#' fit <- run_scvi(counts, training = training_options(max_epochs = 3, threads = 2), verbose = FALSE)
#' elbo(counts, model = fit)
elbo <- function(x, model = NULL, ..., seed = 42L, assay = NULL, layer = NULL, coldata = NULL,
                 allow_noninteger = FALSE) {
  check_no_dots(..., known = names(formals(elbo)))
  seed <- check_whole_number(seed, ge = 0)
  check_flag(allow_noninteger)
  asked <- open_query(x, model, assay, layer, coldata, allow_noninteger, rlang::current_env())
  as.numeric(request("elbo", asked$fit$document, asked$weights, asked$data, seed)$elbo)
}
