#' Where cells lie in the latent space of a model
#'
#' The encoder's answer for each cell: the mean of `q(z | x)`, or one draw from
#' it. Cells and genes are matched by name, so the object may have been
#' subset or hold other cells than those the model was trained on.
#'
#' @param x a Seurat object, a SingleCellExperiment, a matrix of counts (genes x
#'   cells), or a model that remembers its cells (see [minify_counts()]; the latent
#'   alone is remembered by every model trained on a matrix).
#' @param model a model, or the name of one that `x` carries; `NULL` where it
#'   carries only one.
#' @param give_mean `TRUE` for the mean of the posterior, `FALSE` for a draw.
#' @param ... not used; an argument that is not known is an error.
#' @param cells which cells: names, positions, or `TRUE` and `FALSE`; `NULL` for all.
#' @param seed a whole number; the same seed gives the same draws. R's own random
#'   numbers are neither used nor changed.
#' @param assay,layer where the counts are; by default where they were for
#'   training, if `x` has it.
#' @param coldata for a matrix: a data.frame of the covariates, rows named by cell.
#' @param allow_noninteger accept counts that are not whole numbers; a model that was
#'   trained on such counts accepts them anyway.
#' @return A matrix of cells x latent dimensions, rows named by cell.
#' @export
#' @examplesIf latome_available()
#' counts <- matrix(rpois(2000, 2), 40, 50, dimnames = list(paste0("g", 1:40), paste0("c", 1:50)))
#' fit <- run_scvi(counts, training = training_options(max_epochs = 3, threads = 2), verbose = FALSE)
#' latent_representation(counts[, 1:5], model = fit)
latent_representation <- function(x, model = NULL, give_mean = TRUE, ..., cells = NULL, seed = 42L, assay = NULL,
                                  layer = NULL, coldata = NULL, allow_noninteger = FALSE) {
  check_no_dots(..., known = names(formals(latent_representation)))
  call <- rlang::current_env()
  check_flag(give_mean)
  seed <- check_seed(seed)
  if (inherits(x, "latome_model") && !is.null(x$latent) && is.null(x$posterior) && is.null(model) && is.null(cells) && give_mean) {
    return(x$latent)
  }
  asked <- open_query(x, model, cells, counts_in(assay, layer, coldata, allow_noninteger), call)
  name_latent(ask(asked, "latent", list(give_mean = give_mean), seed, call)$latent, asked$cells)
}

#' Which latent dimensions a model uses
#'
#' A dimension that a model does not need stays at its prior: the KL divergence
#' of its posteriors from the prior is near 0 in every cell. If many are unused,
#' fewer (`n_latent`) would do; if none is, more may help.
#'
#' @inheritParams latent_representation
#' @return `latent_dimensions()` returns a data.frame with a row for each
#'   dimension, the most used first: `dimension`, `kl` (mean over cells of the KL
#'   divergence, in nats) and `sd` (standard deviation over cells of the posterior
#'   mean). `plot_latent_dimensions()` returns a ggplot object of it, in which a cross marks the dimensions that are
#'   unused: those whose `sd` is below 0.1.
#' @export
#' @examplesIf latome_available() && requireNamespace("ggplot2", quietly = TRUE)
#' counts <- matrix(rpois(2000, 2), 40, 50, dimnames = list(paste0("g", 1:40), paste0("c", 1:50)))
#' fit <- run_scvi(counts, training = training_options(max_epochs = 3, threads = 2), verbose = FALSE)
#' latent_dimensions(counts, fit)
#' plot_latent_dimensions(counts, fit)
latent_dimensions <- function(x, model = NULL, ..., cells = NULL, assay = NULL, layer = NULL, coldata = NULL,
                              allow_noninteger = FALSE) {
  check_no_dots(..., known = names(formals(latent_dimensions)))
  call <- rlang::current_env()
  asked <- open_query(x, model, cells, counts_in(assay, layer, coldata, allow_noninteger), call)
  found <- ask(asked, "latent_moments", list(), 0L, call)
  dimension_table(found$mean, found$variance)
}

#' KL divergence from Normal(0, 1) and spread of each latent dimension, from moments of cells x k.
#' @noRd
dimension_table <- function(mean, variance) {
  kl <- colMeans(mean^2 + variance - 1 - log(variance)) / 2
  used <- data.frame(dimension = seq_len(ncol(mean)), kl = kl, sd = apply(mean, 2, stats::sd))
  used <- used[order(-used$kl), ]
  rownames(used) <- NULL
  used
}

#' @rdname latent_dimensions
#' @export
plot_latent_dimensions <- function(x, model = NULL, ...) {
  used <- latent_dimensions(x, model, ...)
  rlang::check_installed("ggplot2", "to plot")
  draw_dimensions(used)
}

UNUSED_SD <- 0.1                               # of the posterior mean over cells: a KL divergence of about 0.005 nats

#' @param used as latent_dimensions() returns it
#' @noRd
draw_dimensions <- function(used) {
  used$dimension <- factor(used$dimension, used$dimension)
  used$state <- factor(ifelse(used$sd < UNUSED_SD, "unused", "used"), c("used", "unused"))
  some <- any(used$state == "unused")
  ggplot2::ggplot(used, ggplot2::aes(x = .data$dimension, y = .data$kl, fill = .data$state)) +
    ggplot2::geom_col(width = 0.7, show.legend = some) +
    (if (some) ggplot2::geom_point(data = used[used$state == "unused", ], shape = 4, colour = GREY,
      show.legend = FALSE)) +
    ggplot2::scale_fill_manual(values = c(used = BLUE, unused = GREY), drop = TRUE) +
    ggplot2::scale_y_continuous(expand = ggplot2::expansion(c(0.01, 0.05))) +
    ggplot2::labs(x = "Latent dimension", y = "KL divergence (nats per cell)", fill = NULL) +
    plot_theme(panel.grid.major.x = ggplot2::element_blank())
}
