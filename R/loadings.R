# Loadings of genes on the factors of a linear decoder: LDVAE.

#' Loadings of genes on factors
#'
#' The decoder of LDVAE ([run_ldvae()]) is linear: a step of one along a factor (a dimension of the latent
#' space) changes the logarithm of a gene's expected share by its loading, up to a constant that all genes of a
#' cell have in common. Genes with large loadings of one sign go up and down together.
#'
#' @param x a model trained by [run_ldvae()], or an object that carries one.
#' @param model a model, or the name of one that `x` carries; `NULL` where it carries only one.
#' @return `feature_loadings()` returns a matrix of genes x factors, both named. In a Seurat object they are
#'   also the loadings of the reduction (`Loadings(object, "ldvae")`), in a SingleCellExperiment
#'   `attr(reducedDim(object, "LDVAE"), "rotation")`.
#' @export
#' @examplesIf latome_available()
#' counts <- matrix(rpois(2000, 2), 40, 50, dimnames = list(paste0("g", 1:40), paste0("c", 1:50)))
#' fit <- run_ldvae(counts, n_latent = 3, training = training_options(max_epochs = 3, threads = 2),
#'   verbose = FALSE)
#' head(feature_loadings(fit))
feature_loadings <- function(x, model = NULL) {
  call <- rlang::current_env()
  fit <- the_model(x, model, call)
  ask_loadings(fit, model_weights(fit, call), call)
}

#' Loadings from the engine: genes x factors.
#' @noRd
ask_loadings <- function(fit, weights, call) {
  if (fit$kind != "ldvae") {
    abort_latome(paste0(fit$title, " has no linear decoder, so genes have no loadings."),
      "Train a model that does: run_ldvae().", kind = "QueryError", field = "model", call = call)
  }
  values <- request("loadings", fit$document, weights, call = call)$value
  dimnames(values) <- list(fit$genes, paste0("factor_", seq_len(ncol(values))))
  values
}

#' Loadings for results.R.
#' @noRd
ldvae_results <- function(asked, name, call) {
  list(loadings = ask_loadings(asked$fit, asked$weights, call))
}

#' Plot the genes with the largest loadings
#'
#' A panel for each factor: its genes with the largest loadings, whatever their sign, the largest on top.
#'
#' @inheritParams feature_loadings
#' @param factors which factors: positions, such as `1:4`; `NULL` for the first six.
#' @param n how many genes of each factor.
#' @return A ggplot object; print it to draw it.
#' @seealso [feature_loadings()]
#' @export
#' @examplesIf latome_available() && requireNamespace("ggplot2", quietly = TRUE)
#' counts <- matrix(rpois(2000, 2), 40, 50, dimnames = list(paste0("g", 1:40), paste0("c", 1:50)))
#' fit <- run_ldvae(counts, n_latent = 3, training = training_options(max_epochs = 3, threads = 2),
#'   verbose = FALSE)
#' plot_loadings(fit, factors = 1:2, n = 8)
plot_loadings <- function(x, model = NULL, factors = NULL, n = 10) {
  call <- rlang::current_env()
  n <- check_whole_number(n, ge = 1)
  fit <- the_model(x, model, call)
  loadings <- ask_loadings(fit, model_weights(fit, call), call)
  top <- top_loadings(loadings, check_factors(factors, ncol(loadings), call), n)
  rlang::check_installed("ggplot2", "to plot")
  long <- nchar(top$gene) > 16L
  names <- rlang::set_names(ifelse(long, paste0(substr(top$gene, 1L, 15L), "..."), top$gene), rownames(top))
  ggplot2::ggplot(top, ggplot2::aes(x = .data$loading, y = .data$place, fill = .data$loading > 0)) +
    ggplot2::geom_col(width = 0.7, show.legend = FALSE) +
    ggplot2::geom_vline(xintercept = 0, linewidth = 0.3) +
    ggplot2::facet_wrap(ggplot2::vars(.data$factor), scales = "free_y", ncol = 3L) +
    ggplot2::scale_x_continuous(breaks = symmetric_breaks) +
    ggplot2::scale_y_discrete(labels = names) +
    ggplot2::scale_fill_manual(values = c(`FALSE` = VERMILION, `TRUE` = BLUE)) +
    ggplot2::labs(x = "Loading (log change per unit of the factor)", y = NULL, title = fit$title) +
    plot_theme(panel.grid.major.y = ggplot2::element_blank(),
      axis.text.y = ggplot2::element_text(size = if (nlevels(top$factor) > 3L) 6.5 else 8))
}

#' The n genes with the largest loadings of each factor: factor, gene, loading, and place, which orders the
#' genes of a factor from below.
#' @noRd
top_loadings <- function(loadings, factors, n) {
  of_factor <- function(j) {
    chosen <- utils::head(order(-abs(loadings[, j])), n)
    data.frame(factor = colnames(loadings)[[j]], gene = rownames(loadings)[chosen], loading = loadings[chosen, j])
  }
  top <- do.call(rbind, lapply(factors, of_factor))
  top$factor <- factor(top$factor, colnames(loadings)[factors])
  rownames(top) <- seq_len(nrow(top))
  top$place <- factor(rownames(top), rev(rownames(top)))                 # a gene may be on top of several factors
  top
}

#' 0 and a number on either side of it, for panels that are narrow.
#' @noRd
symmetric_breaks <- function(limits) {
  step <- signif(0.7 * max(abs(limits)), 1)
  Filter(function(at) at >= limits[[1]] && at <= limits[[2]], c(-step, 0, step))
}

#' Positions of factors: NULL for the first six, or whole numbers.
#' @noRd
check_factors <- function(factors, k, call) {
  if (is.null(factors)) {
    return(seq_len(min(k, 6L)))                # more panels leave no room for the names of genes
  }
  whole <- is.numeric(factors) && length(factors) && all(is.finite(factors)) && all(factors == round(factors))
  if (!whole || any(factors < 1 | factors > k) || anyDuplicated(factors)) {
    abort_supplied("factors", paste0("positions of factors, whole numbers from 1 to ", k, ", each once"), factors, call)
  }
  as.integer(factors)
}
