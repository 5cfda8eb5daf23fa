# Colours and a theme for all plots, and the training curve.

# Blue, vermilion and grey of Okabe and Ito: told apart by colour-blind eyes too.
BLUE <- "#0072B2"
VERMILION <- "#D55E00"
GREY <- "#999999"

#' What all plots look like: made for a figure of 6.5 x 3 inches.
#' @noRd
plot_theme <- function(...) {
  ggplot2::theme_minimal(base_size = 10) +
    ggplot2::theme(panel.grid.minor = ggplot2::element_blank(), legend.position = "top",
      legend.justification = "left", legend.margin = ggplot2::margin(0, 0, 0, 0),
      legend.key.size = ggplot2::unit(10, "pt"),
      plot.title = ggplot2::element_text(size = 11), plot.subtitle = ggplot2::element_text(size = 9), ...)
}

#' Names beside points, without overlap: those that have no place are moved (ggrepel) or left out.
#' @noRd
name_points <- function(named, mapping) {
  if (rlang::is_installed("ggrepel")) {
    return(ggrepel::geom_text_repel(mapping, named, size = 2.6, colour = "black", bg.color = "white", seed = 1L,
      max.overlaps = Inf, segment.size = 0.2, segment.colour = "grey40", box.padding = 0.25, min.segment.length = 0.1))
  }
  ggplot2::geom_text(mapping, named, size = 2.6, colour = "black", vjust = -0.7, check_overlap = TRUE)
}

percent_labels <- function(x) paste0(format(round(100 * x, 1), trim = TRUE, drop0trailing = TRUE), "%")

#' Plot the training curve
#'
#' Of a loss the axis leaves out the steep fall of the first twentieth of the epochs, so that what comes later can
#' be seen.
#'
#' @param x a trained model, or an object that carries one.
#' @param model name of the model in `x`; `NULL` where there is only one.
#' @param metric what to draw: a name such as `"elbo"`, of which the history has
#'   a training and perhaps a validation column (see [training_history()]).
#' @param object a trained model.
#' @param ... passed on to `plot_training()`.
#' @return A ggplot object; print it to draw it.
#' @export
#' @examplesIf latome_available() && requireNamespace("ggplot2", quietly = TRUE)
#' counts <- matrix(rpois(2000, 2), 40, 50, dimnames = list(paste0("g", 1:40), paste0("c", 1:50)))
#' fit <- run_scvi(counts, training = training_options(max_epochs = 3, threads = 2), verbose = FALSE)
#' plot(fit)
plot_training <- function(x, model = NULL, metric = "elbo") {
  call <- rlang::current_env()
  fit <- find_model(x, model, call)
  curve <- training_curve(fit$history, metric, call)
  rlang::check_installed("ggplot2", "to plot")
  few <- length(unique(curve$epoch)) <= 50L
  ggplot2::ggplot(curve, ggplot2::aes(x = .data$epoch, y = .data$value, colour = .data$set)) +
    ggplot2::geom_line() +
    (if (few) ggplot2::geom_point(size = 0.8)) +
    ggplot2::coord_cartesian(ylim = settled_range(curve, metric)) +
    ggplot2::scale_x_continuous(breaks = whole_breaks) +
    ggplot2::scale_colour_manual(values = c(train = BLUE, validation = VERMILION)) +
    ggplot2::labs(x = "Epoch", y = metric_label(metric, fit$kind), colour = NULL, title = fit$title) +
    plot_theme()
}

#' @rdname plot_training
#' @export
plot.latome_model <- function(x, ...) plot_training(x, ...)

#' @rdname plot_training
#' @exportS3Method ggplot2::autoplot
autoplot.latome_model <- function(object, ...) plot_training(object, ...)

#' The history of one metric in long form: epoch, value, set.
#' @noRd
training_curve <- function(history, metric, call) {
  if (!nrow(history)) {
    abort_latome("The model has no history of training to draw.",
      kind = "QueryError", field = "model", call = call)
  }
  known <- unique(sub("_(train|validation)$", "", grep("_(train|validation)$", names(history), value = TRUE)))
  check_choice(metric, known, arg = "metric", call = call)
  parts <- lapply(c("train", "validation"), function(set) {
    values <- history[[paste0(metric, "_", set)]]
    if (!is.null(values)) data.frame(epoch = history$epoch, value = values, set = rep(set, length(values)))
  })
  curve <- do.call(rbind, parts)
  curve[is.finite(curve$value), , drop = FALSE]
}

#' The range of a loss after its fall in the first twentieth of the epochs; NULL for all there is.
#' @noRd
settled_range <- function(curve, metric) {
  later <- curve$epoch > max(curve$epoch) / 20
  if (!metric %in% c("elbo", "reconstruction_loss") || max(curve$epoch) < 20 || !any(later)) {
    return(NULL)
  }
  range(curve$value[later])
}

whole_breaks <- function(limits) {
  breaks <- unique(round(pretty(limits)))
  breaks[breaks >= max(1, limits[[1]]) & breaks <= limits[[2]]]                  # the first epoch is 1
}

metric_label <- function(metric, kind) {
  if (metric == "elbo" && !has_latent(kind)) {
    return("Loss (nats per cell)")
  }
  labels <- c(
    elbo = "Negative ELBO (nats per cell)",
    reconstruction_loss = "Reconstruction loss (nats per cell)",
    kl_local = "KL divergence (nats per cell)",
    accuracy = "Accuracy of labels",
    f1_score = "F1 score, mean over labels",
    calibration_error = "Calibration error of labels",
    classification_loss = "Cross-entropy (nats per cell)"
  )
  if (metric %in% names(labels)) labels[[metric]] else metric
}
