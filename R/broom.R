# Methods for the generics that broom's users know, registered when the package generics is loaded.

#' A model as tables: one row, its history, its cells
#'
#' Methods of [generics::glance()], [generics::tidy()] and [generics::augment()] (also known from the package broom) for
#' trained models.
#'
#' @param x a trained model.
#' @param data a data.frame with rows named by cell, to which columns are added; `NULL` for none. Cells that the model
#'   does not know get `NA`.
#' @param ... not used.
#' @return `glance()` returns a data.frame of one row: what the model is and how it was trained (`elbo_*` are losses in
#'   nats per cell). `tidy()` returns the history of training in long form, a row for each epoch and quantity: `epoch`,
#'   `metric`, `set` (`"train"`, `"validation"`, or `NA` where there is only one) and `value`. `augment()` returns a
#'   data.frame with a row for each cell that the model remembers, which is a model that was trained on a matrix:
#'   `.latent_1`, `.latent_2`, ... of models with a latent space, `.label` and `.score` of models that give labels.
#' @seealso [training_history()], [latent_representation()], [label_probabilities()]
#' @name broom
#' @examplesIf latome_available() && requireNamespace("generics", quietly = TRUE)
#' counts <- matrix(rpois(2000, 2), 40, 50, dimnames = list(paste0("g", 1:40), paste0("c", 1:50)))
#' fit <- run_scvi(counts, training = training_options(max_epochs = 3, threads = 2), verbose = FALSE)
#' generics::glance(fit)
#' head(generics::tidy(fit))
#' head(generics::augment(fit))
NULL

#' @rdname broom
#' @exportS3Method generics::glance
glance.latome_model <- function(x, ...) {
  facts <- x$summary
  number <- function(value) if (is_number(value)) as.double(value) else NA_real_
  whole <- function(value) as.integer(number(value))
  word <- function(value) if (is_string(value)) value else NA_character_
  data.frame(
    kind = x$kind, n_cells = whole(facts$n_cells), n_genes = length(x$genes),
    n_batches = max(1L, length(x$levels$batch)),
    n_latent = if (has_latent(x)) whole(x$settings$n_latent) else NA_integer_, epochs = whole(facts$epochs),
    stopped = word(facts$stopped), elbo_train = number(facts$elbo_train),
    elbo_validation = number(facts$elbo_validation), n_parameters = number(facts$n_parameters),
    seconds = number(facts$seconds), device = word(facts$device), seed = number(x$seed), version = word(x$version)
  )
}

#' @rdname broom
#' @exportS3Method generics::tidy
tidy.latome_model <- function(x, ...) {
  columns <- setdiff(names(x$history), "epoch")
  long <- lapply(columns, function(column) {
    set <- if (grepl("_(train|validation)$", column)) sub(".*_", "", column) else NA_character_
    values <- as.double(x$history[[column]])
    n <- length(values)
    data.frame(epoch = as.integer(x$history$epoch), metric = rep(sub("_(train|validation)$", "", column), n),
      set = rep(set, n), value = values)
  })
  long <- do.call(rbind, c(list(data.frame(epoch = integer(), metric = character(), set = character(),
    value = double())), long))
  long <- long[is.finite(long$value), ]
  rownames(long) <- NULL
  long
}

#' @rdname broom
#' @exportS3Method generics::augment
augment.latome_model <- function(x, data = NULL, ...) {
  known <- remembered_cells(x)
  if (is.null(known)) {
    abort_latome("The model remembers no cells: those of a Seurat object or a SingleCellExperiment are in the object.",
      "Ask the object: latent_representation(object), label_probabilities(object).", kind = "QueryError", field = "x")
  }
  if (is.null(data)) {
    return(known)
  }
  if (!is.data.frame(data)) {
    abort_latome("`data` must be a data.frame with one row a cell.", kind = "FieldError", field = "data")
  }
  found <- known[match(rownames(data), rownames(known)), , drop = FALSE]
  if (nrow(data) && all(is.na(match(rownames(data), rownames(known))))) {
    abort_latome("`data` has no row for any cell of the model.",
      paste0("Rows are matched by name: the model's cells are ", quoted(rownames(known), 2L), "."), kind = "FieldError",
      field = "data")
  }
  rownames(found) <- rownames(data)
  cbind(data, found)
}

#' Latent and labels of the cells that a model holds itself: a data.frame, rows named by cell, or NULL.
#' @noRd
remembered_cells <- function(fit) {
  latent <- fit$latent %||% fit$posterior$mean
  parts <- list()
  if (!is.null(latent)) {
    parts$latent <- stats::setNames(as.data.frame(latent), paste0(".latent_", seq_len(ncol(latent))))
  }
  if (!is.null(fit$probabilities)) {
    parts$labels <- stats::setNames(best_labels(t(fit$probabilities)), c(".label", ".score"))
  }
  if (length(parts)) do.call(cbind, unname(parts))
}
