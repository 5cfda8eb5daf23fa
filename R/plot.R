#' Plot the training curve
#'
#' @param x a trained model, or an object that carries one.
#' @param model name of the model in `x`; `NULL` where there is only one.
#' @param metric what to draw: a name such as `"elbo"`, of which the history has
#'   a training and perhaps a validation column (see [training_history()]).
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
  ggplot2::ggplot(curve, ggplot2::aes(x = .data$epoch, y = .data$value, colour = .data$set)) +
    ggplot2::geom_line() +
    ggplot2::geom_point(size = 0.8) +
    ggplot2::scale_x_continuous(breaks = whole_breaks) +
    ggplot2::scale_colour_manual(values = c(train = "#0072B2", validation = "#D55E00")) +
    ggplot2::labs(x = "Epoch", y = metric_label(metric, fit$kind), colour = NULL, title = fit$title) +
    ggplot2::theme_minimal()
}

#' @rdname plot_training
#' @export
plot.latome_model <- function(x, ...) plot_training(x, ...)

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

whole_breaks <- function(limits) {
  breaks <- unique(round(pretty(limits)))
  breaks[breaks >= limits[[1]] & breaks <= limits[[2]]]
}

metric_label <- function(metric, kind) {
  if (metric == "elbo" && !has_latent(kind)) {
    return("Loss (nats a cell)")
  }
  labels <- c(
    elbo = "Loss: negative ELBO (nats a cell)",
    reconstruction_loss = "Reconstruction loss (nats a cell)",
    kl_local = "KL divergence of the latents (nats a cell)",
    accuracy = "Share of labelled cells whose label is predicted",
    f1_score = "F1 score, mean over labels",
    calibration_error = "Calibration error of the label probabilities",
    classification_loss = "Cross-entropy of the labels (nats a cell)"
  )
  if (metric %in% names(labels)) labels[[metric]] else metric
}
