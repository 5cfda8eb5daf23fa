#' Counts drawn from a model
#'
#' Draws from the posterior predictive distribution: each cell's latent is drawn,
#' decoded, and counts are drawn from their distribution. What a model has
#' understood of the data looks like the data (see [predictive_check()]).
#'
#' @inheritParams normalized_expression
#' @param n_samples how many sets of counts.
#' @param transform_batch name of the batch that all cells are taken to come from,
#'   instead of their own.
#' @return A `dgCMatrix` of genes x cells; of several samples a list of them.
#' @export
#' @examplesIf latome_available()
#' counts <- matrix(rpois(2000, 2), 40, 50, dimnames = list(paste0("g", 1:40), paste0("c", 1:50)))
#' fit <- run_scvi(counts, training = training_options(max_epochs = 3, threads = 2), verbose = FALSE)
#' posterior_samples(counts, fit, features = c("g1", "g2"), cells = 1:8)
posterior_samples <- function(x, model = NULL, features = NULL, n_samples = 1L, transform_batch = NULL, ...,
                              cells = NULL, seed = 42L, assay = NULL, layer = NULL, coldata = NULL,
                              allow_noninteger = FALSE) {
  check_no_dots(..., known = names(formals(posterior_samples)))
  call <- rlang::current_env()
  n_samples <- check_whole_number(n_samples, ge = 1)
  seed <- check_seed(seed)
  asked <- open_query(x, model, cells, counts_in(assay, layer, coldata, allow_noninteger), call)
  genes <- model_genes(asked$fit, features, call)
  how <- list(genes = as_python_strings(genes), n_samples = n_samples,
    transform_batch = model_batches(asked$fit, transform_batch, "transform_batch", call))
  draws <- ask(asked, "posterior_samples", how, seed, call)$samples
  draws <- lapply(draws, as_sparse, genes = genes, cells = asked$cells)
  if (n_samples == 1L) draws[[1]] else draws
}

#' Parameters of the distribution of the counts
#'
#' @inheritParams normalized_expression
#' @param give_mean the mean over the samples; or else all of them.
#' @return A list of matrices of genes x cells (arrays of genes x cells x samples
#'   of several samples that are kept apart), those that the likelihood has:
#'   `mean`, the expected counts before extra zeros; `dispersions`, the inverse
#'   dispersion of a negative binomial (variance = mean + mean^2 / dispersion);
#'   `dropout`, the probability of an extra zero; `sd` of a normal likelihood.
#' @export
#' @examplesIf latome_available()
#' counts <- matrix(rpois(2000, 2), 40, 50, dimnames = list(paste0("g", 1:40), paste0("c", 1:50)))
#' fit <- run_scvi(counts, training = training_options(max_epochs = 3, threads = 2), verbose = FALSE)
#' parameters <- likelihood_parameters(counts, fit, cells = 1:5)
#' lapply(parameters, function(values) values[1:2, ])
likelihood_parameters <- function(x, model = NULL, features = NULL, n_samples = 1L, give_mean = FALSE,
                                  transform_batch = NULL, ..., cells = NULL, seed = 42L, assay = NULL, layer = NULL,
                                  coldata = NULL, allow_noninteger = FALSE) {
  check_no_dots(..., known = names(formals(likelihood_parameters)))
  call <- rlang::current_env()
  how <- list(n_samples = check_whole_number(n_samples, ge = 1), give_mean = check_flag(give_mean))
  seed <- check_seed(seed)
  asked <- open_query(x, model, cells, counts_in(assay, layer, coldata, allow_noninteger), call)
  genes <- model_genes(asked$fit, features, call)
  apart <- n_samples > 1 && !give_mean
  check_size(3 * length(genes) * as.double(length(asked$cells)) * if (apart) n_samples else 1,
    "The parameters", "Ask for fewer `features` or `cells`.", call)
  how$genes <- as_python_strings(genes)
  how$transform_batch <- model_batches(asked$fit, transform_batch, "transform_batch", call)
  lapply(ask(asked, "likelihood_parameters", how, seed, call)$parameters, function(values) {
    dimnames(values) <- c(list(genes, asked$cells), if (apart) list(NULL))
    values
  })
}

#' Library sizes of cells
#'
#' @inheritParams normalized_expression
#' @param give_mean where the library size is inferred, its posterior mean; or
#'   else a draw.
#' @return A number for each cell, named: the library size that the model infers,
#'   or the total count over its genes where it takes that
#'   (`use_observed_lib_size`). To keep it:
#'   `object$library <- latent_library_size(object)`.
#' @export
#' @examplesIf latome_available()
#' counts <- matrix(rpois(2000, 2), 40, 50, dimnames = list(paste0("g", 1:40), paste0("c", 1:50)))
#' fit <- run_scvi(counts, use_observed_lib_size = FALSE,
#'   training = training_options(max_epochs = 3, threads = 2), verbose = FALSE)
#' head(latent_library_size(counts, fit))
latent_library_size <- function(x, model = NULL, give_mean = TRUE, ..., cells = NULL, seed = 42L, assay = NULL,
                                layer = NULL, coldata = NULL, allow_noninteger = FALSE) {
  check_no_dots(..., known = names(formals(latent_library_size)))
  call <- rlang::current_env()
  check_flag(give_mean)
  seed <- check_seed(seed)
  asked <- open_query(x, model, cells, counts_in(assay, layer, coldata, allow_noninteger), call)
  values <- ask(asked, "latent_library_size", list(give_mean = give_mean), seed, call)$value
  stats::setNames(as.vector(values), asked$cells)
}

#' Correlation of genes
#'
#' Correlations between genes of expression that is decoded and has the noise of
#' its biology (the dispersion) but not that of counting: the zeros that hide
#' correlations in counts are not in the way.
#'
#' @inheritParams normalized_expression
#' @param n_samples draws of each cell.
#' @param library_size what expression fractions are multiplied by.
#' @param method `"spearman"` or `"pearson"`.
#' @return A symmetric matrix of genes x genes.
#' @export
#' @examplesIf latome_available()
#' counts <- matrix(rpois(2000, 2), 40, 50, dimnames = list(paste0("g", 1:40), paste0("c", 1:50)))
#' fit <- run_scvi(counts, training = training_options(max_epochs = 3, threads = 2), verbose = FALSE)
#' feature_correlation(counts, fit, features = c("g1", "g2", "g3"))
feature_correlation <- function(x, model = NULL, features = NULL, n_samples = 10L, library_size = 1000,
                                transform_batch = NULL, method = "spearman", ..., cells = NULL, seed = 42L,
                                assay = NULL, layer = NULL, coldata = NULL, allow_noninteger = FALSE) {
  check_no_dots(..., known = names(formals(feature_correlation)))
  call <- rlang::current_env()
  how <- list(n_samples = check_whole_number(n_samples, ge = 1), rna_size_factor = check_number(library_size, gt = 0),
    correlation_type = check_choice(method, c("spearman", "pearson")))
  seed <- check_seed(seed)
  asked <- open_query(x, model, cells, counts_in(assay, layer, coldata, allow_noninteger), call)
  genes <- model_genes(asked$fit, features, call)
  check_size(as.double(length(genes))^2, "The matrix", "Ask for fewer `features`.", call)
  how$genes <- as_python_strings(genes)
  how$transform_batch <- model_batches(asked$fit, transform_batch, "transform_batch", call)
  name_genes(ask(asked, "feature_correlation", how, seed, call)$value, genes, genes)
}

#' Learnt vectors of the batches
#'
#' @param x a trained model, or an object that carries one, trained with
#'   `batch_representation = "embedding"`.
#' @param model name of the model in `x`; `NULL` where there is only one.
#' @return A matrix of batches x dimensions: batches that the model finds alike
#'   lie close together.
#' @export
#' @examplesIf latome_available()
#' counts <- matrix(rpois(2000, 2), 40, 50, dimnames = list(paste0("g", 1:40), paste0("c", 1:50)))
#' cells <- data.frame(donor = rep(c("a", "b"), 25), row.names = colnames(counts))
#' fit <- run_scvi(counts, batch = "donor", batch_representation = "embedding", coldata = cells,
#'   training = training_options(max_epochs = 3, threads = 2), verbose = FALSE)
#' batch_representation(fit)
batch_representation <- function(x, model = NULL) {
  call <- rlang::current_env()
  fit <- find_model(x, model, call)
  values <- request("batch_representation", fit$document, model_weights(fit, call), call = call)$value
  dimnames(values) <- list(fit$levels$batch, paste0("batch_", seq_len(ncol(values))))
  values
}
