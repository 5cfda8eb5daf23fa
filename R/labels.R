# Labels that a model gives to cells: scANVI, CellAssign, and whatever else offers probabilities of labels.

#' Which label each cell has
#'
#' `label_probabilities()` asks a model for the probability of each of its labels in
#' each cell; `predict()` on a model gives the most probable one. The model may be one that learnt
#' labels ([run_scanvi()]) or that knows types by their markers ([run_cellassign()]); the cells may be
#' those it was trained on or others.
#'
#' A probability near 1 says that the model has no doubt, not that it is right: in a batch none of whose cells had a
#' label, and for types that no labelled cell has, it is surer than it may be. See `vignette("annotation")`.
#'
#' @inheritParams latent_representation
#' @param batch_size cells that are computed together; it bounds the memory used, not the result.
#' @param object a model; of one that was trained on a matrix, `predict()` without `x` gives the labels of its cells.
#' @return `label_probabilities()` returns a matrix of cells x labels whose rows sum to 1, both named.
#'   `predict()` returns a data.frame with a row for each cell: `label`, a factor, and `score`, its
#'   probability.
#' @seealso [plot_predictions()]
#' @export
#' @examplesIf latome_available()
#' counts <- matrix(rpois(2000, 2), 40, 50, dimnames = list(paste0("g", 1:40), paste0("c", 1:50)))
#' known <- data.frame(type = rep(c("a", "b", NA), length.out = 50), row.names = colnames(counts))
#' fit <- run_scanvi(counts, labels = "type", coldata = known,
#'   training = training_options(max_epochs = 3, threads = 2), verbose = FALSE)
#' label_probabilities(counts[, 1:5], fit)
#' predict(fit, counts[, 1:5])
label_probabilities <- function(x, model = NULL, ..., cells = NULL, batch_size = NULL, assay = NULL, layer = NULL,
                                coldata = NULL, allow_noninteger = FALSE) {
  check_no_dots(..., known = names(formals(label_probabilities)))
  call <- rlang::current_env()
  batch_size <- check_whole_number(batch_size, ge = 1, null = TRUE)
  if (inherits(x, "latome_model") && is.null(model) && !is.null(x$probabilities) && is.null(cells)) {
    return(t(x$probabilities))
  }
  check_labels_known(the_model(x, model, call), call)
  asked <- open_query(x, model, cells, counts_in(assay, layer, coldata, allow_noninteger), call, latent = FALSE)
  ask_labels(asked, batch_size, call)
}

#' @rdname label_probabilities
#' @method predict latome_model
#' @export
predict.latome_model <- function(object, x = NULL, ...) {
  best_labels(if (is.null(x)) label_probabilities(object, ...) else label_probabilities(x, object, ...))
}

#' Columns and probabilities for results.R.
#' @noRd
label_results <- function(asked, name, call) {
  probabilities <- ask_labels(asked, NULL, call)
  empty <- !nzchar(colnames(probabilities))              # no name for a row of an assay
  colnames(probabilities)[empty] <- "(empty)"
  names <- result_names(asked$fit$kind, name)$coldata
  list(coldata = rlang::set_names(best_labels(probabilities), names), probabilities = t(probabilities))
}

#' The most probable label of each cell, and its probability.
#' @noRd
best_labels <- function(probabilities) {
  best <- max.col(probabilities, ties.method = "first")
  data.frame(
    label = factor(colnames(probabilities)[best], colnames(probabilities)),
    score = probabilities[cbind(seq_along(best), best)], row.names = rownames(probabilities)
  )
}

#' Probabilities of labels from the engine: cells x labels.
#' @noRd
ask_labels <- function(asked, batch_size, call) {
  found <- ask(asked, "label_probabilities", list(batch_size = batch_size), 0L, call)$probabilities
  matrix(as.double(found), length(asked$cells), dimnames = list(asked$cells, asked$fit$levels$labels))
}

#' Only some models give labels.
#' @noRd
check_labels_known <- function(fit, call) {
  if (!tells_labels(fit)) {
    abort_latome(paste0(fit$title, " gives no labels."), "Train a model that does: run_scanvi() or run_cellassign().",
      kind = "QueryError", field = "model", call = call)
  }
}

#' The value of the labels that means "no label": NULL for NA.
#' @noRd
check_unlabeled <- function(unlabeled, call) {
  if (is.null(unlabeled) || (length(unlabeled) == 1L && is.na(unlabeled))) {
    return(NULL)
  }
  if (!identical(unlabeled, "")) check_string(unlabeled, arg = "unlabeled", call = call)
  unlabeled
}

#' A named category that no cell has is a typo, and some cell must have a label.
#' @noRd
check_unlabeled_there <- function(coldata, roles, call) {
  if (is.null(roles$unlabeled) || !roles$labels %in% colnames(coldata)) {
    return(invisible())
  }
  found <- unique(as.character(coldata[[roles$labels]]))
  found <- found[!is.na(found)]
  abort <- function(problem, hint) {
    abort_latome(problem, hint, kind = "FieldError", field = "unlabeled", call = call)
  }
  if (!roles$unlabeled %in% found) {
    abort(paste0("No cell has the label '", roles$unlabeled, "' in column '", roles$labels, "'."),
      c(suggest(roles$unlabeled, found, "Labels"), "Leave `unlabeled` out where cells without a label are NA."))
  }
  if (length(found) == 1L) {
    abort(paste0("Every cell is '", roles$unlabeled, "' in column '", roles$labels, "'."),
      "Some cells must have a label to learn from.")
  }
}

#' Plot predicted against given labels
#'
#' A heat map with a row for each given label: the share of its cells that the model gives each label.
#' Shares off the diagonal are confusions, or errors in the labels given. The row "(none)" holds the
#' cells without a label.
#'
#' @param x an object with the results of [run_scanvi()] or [run_cellassign()], or cells to ask the model
#'   about.
#' @inheritParams label_probabilities
#' @param labels name of the column of the cell data that holds the given labels; by default that which the
#'   model was trained with.
#' @param ... further arguments of [label_probabilities()], such as `coldata`.
#' @return A ggplot object; print it to draw it.
#' @export
#' @examplesIf latome_available() && requireNamespace("ggplot2", quietly = TRUE)
#' counts <- matrix(rpois(2000, 2), 40, 50, dimnames = list(paste0("g", 1:40), paste0("c", 1:50)))
#' known <- data.frame(type = rep(c("a", "b", NA), length.out = 50), row.names = colnames(counts))
#' fit <- run_scanvi(counts, labels = "type", coldata = known,
#'   training = training_options(max_epochs = 3, threads = 2), verbose = FALSE)
#' plot_predictions(counts, fit, coldata = known)
plot_predictions <- function(x, model = NULL, labels = NULL, ...) {
  call <- rlang::current_env()
  further <- c("cells", "batch_size", "assay", "layer", "coldata", "allow_noninteger")
  check_passed_on(list(...), further, call)
  fit <- the_model(x, model, call)
  check_labels_known(fit, call)
  labels <- check_names(labels, 1L, "labels", call) %||% fit$summary$columns$labels
  if (is.null(labels)) {
    abort_latome("There are no given labels to compare with.", "Name their column: labels = \"cell_type\".",
      kind = "QueryError", field = "labels", call = call)
  }
  predicted <- stats::predict(fit, x, ...)
  given <- given_labels(x, labels, rownames(predicted), list(...)$coldata, fit, call)
  rlang::check_installed("ggplot2", "to plot")
  draw_confusion(confusion(given, predicted$label), fit$title)
}

#' Labels given to cells: a factor, levels of the model first, "(none)" for no label.
#' @noRd
given_labels <- function(x, column, cells, coldata, fit, call) {
  if (is.null(coldata)) coldata <- if (can_hold(x)) get_coldata(x) else no_given_labels(call)
  values <- as.character(find_column(as.data.frame(coldata), column, "labels", call))
  values <- values[match(cells, rownames(coldata))]
  values[is.na(values) | values %in% fit$summary$columns$unlabeled] <- "(none)"
  others <- setdiff(sort(unique(values)), c(fit$levels$labels, "(none)"))
  droplevels(factor(values, c(fit$levels$labels, others, "(none)")))
}

no_given_labels <- function(call) {
  abort_latome("The given labels are in the cell data, and there are none.", "Give them as `coldata`.",
    kind = "FieldError", field = "coldata", call = call)
}

#' Share of each label among the predictions, by given label: data.frame given, predicted, n, share.
#' @noRd
confusion <- function(given, predicted) {
  table <- table(given = given, predicted = predicted)
  share <- table / pmax(rowSums(table), 1)
  data.frame(
    given = factor(rownames(table)[row(table)], rownames(table)),
    predicted = factor(colnames(table)[col(table)], colnames(table)),
    n = as.vector(table), share = as.vector(share)
  )
}

draw_confusion <- function(cells, title) {
  cells$text <- ifelse(cells$share >= 0.005, sprintf("%.0f", 100 * cells$share), "")
  n <- tapply(cells$n, cells$given, sum)
  rows <- rlang::set_names(paste0(names(n), " (", vapply(n, count_of, ""), ")"), names(n))
  many <- max(nlevels(cells$given), nlevels(cells$predicted)) > 12L        # no room for more
  ggplot2::ggplot(cells, ggplot2::aes(x = .data$predicted, y = .data$given, fill = .data$share)) +
    ggplot2::geom_tile(colour = "grey92") +
    ggplot2::geom_text(ggplot2::aes(label = .data$text, colour = .data$share > 0.5), size = if (many) 1.8 else 2.6,
      show.legend = FALSE) +
    ggplot2::scale_fill_gradient(low = "white", high = BLUE, limits = c(0, 1), labels = percent_labels) +
    ggplot2::scale_colour_manual(values = c("FALSE" = "black", "TRUE" = "white")) +
    ggplot2::scale_x_discrete(expand = c(0, 0)) +
    ggplot2::scale_y_discrete(limits = rev, labels = rows, expand = c(0, 0)) +
    ggplot2::labs(x = "Predicted label", y = "Given label (cells)", fill = "Share of row", title = title) +
    plot_theme(panel.grid = ggplot2::element_blank(), axis.text.x = ggplot2::element_text(angle = 45, hjust = 1)) +
    ggplot2::theme(legend.position = "right", axis.text = ggplot2::element_text(size = if (many) 6.5 else 8))
}
