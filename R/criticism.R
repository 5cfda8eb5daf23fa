#' Does a model replicate the data?
#'
#' Counts are drawn anew for each cell, and a statistic of the data is compared
#' with that of the replicates. A model that has understood the data replicates
#' them; where it does not, its other answers deserve less trust.
#'
#' @inheritParams normalized_expression
#' @param metric `"cv"`, the coefficient of variation (standard deviation over
#'   mean); `"zero_fraction"`, the share of zeros; or `"calibration"`, how often
#'   counts lie in the central intervals of their predictive distributions, against
#'   how often they should.
#' @param by a value for each `"gene"`, taken over cells; or for each `"cell"`.
#' @param n_samples replicates; by default 10, for calibration 50.
#' @param levels of the intervals, for calibration.
#' @return `predictive_check()` returns a data.frame with a row a gene (or cell):
#'   `observed`, and `predicted` and `sd`, mean and standard deviation over the
#'   replicates. For calibration a row a gene and level: `level`, `coverage` and
#'   `error`, their difference: above 0 the predictions are too wide, below too
#'   narrow. `plot_predictive()` returns a ggplot object of it.
#' @export
#' @examplesIf latome_available() && requireNamespace("ggplot2", quietly = TRUE)
#' counts <- matrix(rpois(2000, 2), 40, 50, dimnames = list(paste0("g", 1:40), paste0("c", 1:50)))
#' fit <- run_scvi(counts, training = training_options(max_epochs = 10, threads = 2), verbose = FALSE)
#' check <- predictive_check(counts, fit, metric = "zero_fraction")
#' head(check)
#' plot_predictive(check)
#' plot_predictive(predictive_check(counts, fit, metric = "calibration"))
predictive_check <- function(x, model = NULL, metric = "cv", by = "gene", n_samples = NULL,
                             levels = c(0.5, 0.8, 0.9, 0.95), ..., cells = NULL, seed = 42L, assay = NULL, layer = NULL,
                             coldata = NULL, allow_noninteger = FALSE) {
  check_no_dots(..., known = names(formals(predictive_check)))
  call <- rlang::current_env()
  check_choice(metric, c("cv", "zero_fraction", "calibration"))
  check_choice(by, c("gene", "cell"))
  how <- list(
    metric = metric, dim = if (by == "gene") "cells" else "features",
    n_samples = check_whole_number(n_samples, ge = 1, null = TRUE) %||% if (metric == "calibration") 50L else 10L
  )
  if (metric == "calibration") how$levels <- check_levels(levels, call, "levels")
  seed <- check_seed(seed)
  asked <- open_query(x, model, cells, counts_in(assay, layer, coldata, allow_noninteger), call)
  check_counts_there(asked, "A check against the data", "Give the object with its counts.", call)
  table <- as_table(ask(asked, "predictive_check", how, seed, call)$table)
  attr(table, "metric") <- metric
  table
}

#' @rdname predictive_check
#' @param check a table of `predictive_check()`.
#' @export
plot_predictive <- function(check) {
  call <- rlang::current_env()
  kind <- if (all(c("level", "coverage") %in% names(check))) "calibration" else "statistic"
  if (!is.data.frame(check) || (kind == "statistic" && !all(c("observed", "predicted") %in% names(check)))) {
    abort_latome("This is no table of predictive_check().", kind = "QueryError", field = "check", call = call)
  }
  rlang::check_installed("ggplot2", "to plot")
  if (kind == "calibration") plot_calibration(check) else plot_replicated(check)
}

plot_replicated <- function(check) {
  words <- c(cv = "coefficient of variation", zero_fraction = "share of zeros")
  what <- c(words[attr(check, "metric") %||% ""], "statistic")
  what <- what[!is.na(what)][[1]]
  check <- check[is.finite(check$observed) & is.finite(check$predicted), ]
  spread <- identical(attr(check, "metric"), "cv")             # over orders of magnitude
  if (spread) check <- check[check$observed > 0 & check$predicted > 0, ]
  axis <- function(make) make(labels = if (identical(attr(check, "metric"), "zero_fraction")) percent_labels else
    ggplot2::waiver())
  ends <- range(check$observed, check$predicted)
  rank <- stats::cor(check$observed, check$predicted, method = "spearman")
  ggplot2::ggplot(check, ggplot2::aes(x = .data$observed, y = .data$predicted)) +
    ggplot2::geom_point(size = 0.7, alpha = if (nrow(check) > 1000L) 0.3 else 0.6, colour = BLUE) +
    ggplot2::geom_abline(colour = "grey40", linetype = "dashed") +
    (if (spread) ggplot2::scale_x_log10() else axis(ggplot2::scale_x_continuous)) +
    (if (spread) ggplot2::scale_y_log10() else axis(ggplot2::scale_y_continuous)) +
    ggplot2::coord_cartesian(xlim = ends, ylim = ends) +
    ggplot2::labs(x = paste("Observed", what), y = paste("Predicted", what),
      subtitle = paste0("One point per ", names(check)[[1]], "; rank correlation ",
        format(round(rank, 3), nsmall = 3))) +
    plot_theme()
}

plot_calibration <- function(check) {
  by_level <- split(check$coverage, check$level)
  shown <- data.frame(level = as.numeric(names(by_level)), coverage = vapply(by_level, mean, 0),
    low = vapply(by_level, stats::quantile, 0, 0.1), high = vapply(by_level, stats::quantile, 0, 0.9))
  ggplot2::ggplot(shown, ggplot2::aes(x = .data$level, y = .data$coverage)) +
    ggplot2::geom_abline(colour = "grey60", linetype = "dashed") +
    ggplot2::geom_linerange(ggplot2::aes(ymin = .data$low, ymax = .data$high), colour = BLUE, alpha = 0.5) +
    ggplot2::geom_line(colour = BLUE) +
    ggplot2::geom_point(colour = BLUE) +
    ggplot2::scale_x_continuous(labels = percent_labels, breaks = shown$level) +
    ggplot2::scale_y_continuous(labels = percent_labels) +
    ggplot2::coord_cartesian(xlim = c(min(shown$level, 0.5), 1), ylim = c(min(shown$low, 0.5), 1)) +
    ggplot2::labs(x = "Level of the predictive interval", y = "Counts inside",
      subtitle = paste0("Mean over ", names(check)[[1]], "s; bars: 80% of them")) +
    plot_theme()
}
