#' A trained model: a plain R value, without pointers into Python.
#'
#' @param trained reply of the engine with document, weights, summary, history
#' @param source where the counts came from: assay, layer
#' @return list of class latome_model: kind, title, settings, genes, levels, seed, version,
#'   history (data.frame), summary (facts for printing), source, document (JSON, one string),
#'   weights (raw, safetensors), latent (only for a model trained on a matrix)
#' @noRd
new_model <- function(trained, source = list()) {
  facts <- trained$summary
  structure(
    list(
      kind = facts$kind, title = facts$title, settings = facts$settings,
      genes = strings(facts$genes),
      levels = list(batch = strings(facts$batch_levels), labels = strings(facts$label_levels)),
      seed = facts$seed, version = facts$version, history = as_history(trained$history),
      summary = facts[setdiff(names(facts), c("kind", "title", "settings", "genes", "seed", "version"))],
      source = source, document = trained$document, weights = trained$weights
    ),
    class = "latome_model"
  )
}

strings <- function(x) as.character(unlist(x))

#' The trained model that an object carries
#'
#' @param x a Seurat object or a SingleCellExperiment that a `run_*()` function
#'   returned, or a model.
#' @param name name of the model, as given to `run_*()`; `NULL` where there is
#'   only one.
#' @return A `latome_model`: a plain R list, safe to [saveRDS()] and to read in
#'   another session.
#' @seealso [carry_models()] after `merge()` of Seurat objects, which drops their models
#' @export
#' @examplesIf latome_available() && requireNamespace("SeuratObject", quietly = TRUE)
#' seu <- run_scvi(SeuratObject::pbmc_small,
#'   training = training_options(max_epochs = 2, threads = 2), verbose = FALSE)
#' get_model(seu)
get_model <- function(x, name = NULL) {
  find_model(x, name, rlang::current_env())
}

find_model <- function(x, name, call) {
  if (inherits(x, "latome_model")) {
    return(x)
  }
  name <- check_string(name, null = TRUE, arg = "name", call = call)
  models <- get_models(x, call)
  if (!length(models)) {
    abort_latome("There is no model of latome in this object.",
      c("Train one with run_scvi(), or give a model as `model`.",
        "If it was merged or converted from objects that carry one, carry_models() puts theirs back."),
      kind = "QueryError", field = "name", call = call)
  }
  if (is.null(name) && length(models) > 1L) {
    abort_latome(paste0("The object carries ", length(models), " models."),
      paste0("Name one of ", quoted(names(models)), "."), kind = "QueryError", field = "name", call = call)
  }
  name <- name %||% names(models)
  if (!name %in% names(models)) {
    abort_latome(paste0("The object carries no model '", name, "'."), suggest(name, names(models), "Models"),
      kind = "QueryError", field = "name", call = call)
  }
  models[[name]]
}

#' The name of a model in an object, for results that are stored under it.
#' @noRd
model_name <- function(x, model, call) {
  models <- get_models(x, call)
  if (inherits(model, "latome_model")) {
    return(c(names(Filter(function(held) identical(held, model), models)), model$kind)[[1]])
  }
  find_model(x, model, call)
  model %||% names(models)
}

#' The model that a verb is asked to use: given itself, by name, or the only one.
#' @noRd
the_model <- function(x, model, call) if (inherits(model, "latome_model")) model else find_model(x, model, call)

#' The history of training
#'
#' @param x a trained model, or an object that carries one.
#' @param model name of the model in `x`; `NULL` where there is only one.
#' @return A data.frame with one row an epoch: `epoch`, and a column for each
#'   quantity. `elbo_*` are losses (the negative evidence lower bound, nats a
#'   cell), so smaller is better; what was not measured in an epoch is `NA`.
#' @export
#' @examplesIf latome_available()
#' counts <- matrix(rpois(2000, 2), 40, 50, dimnames = list(paste0("g", 1:40), paste0("c", 1:50)))
#' fit <- run_scvi(counts, training = training_options(max_epochs = 3, threads = 2), verbose = FALSE)
#' training_history(fit)
training_history <- function(x, model = NULL) {
  find_model(x, model, rlang::current_env())$history
}

#' Print, summarise and plot a trained model
#'
#' @param x,object a `latome_model`.
#' @param ... not used.
#' @return `print()` returns `x` invisibly; `summary()` a list of class
#'   `summary.latome_model`; `plot()` a ggplot object (see [plot_training()]).
#' @name latome_model
#' @examplesIf latome_available()
#' counts <- matrix(rpois(2000, 2), 40, 50, dimnames = list(paste0("g", 1:40), paste0("c", 1:50)))
#' fit <- run_scvi(counts, training = training_options(max_epochs = 3, threads = 2), verbose = FALSE)
#' fit
#' summary(fit)
NULL

#' @rdname latome_model
#' @method print latome_model
#' @export
print.latome_model <- function(x, ...) {
  verbs <- c(own_verbs(x), if (has_latent(x)) c("normalized_expression", "differential_expression",
    "latent_representation"), "plot", "summary")
  cat(c(model_lines(x), paste0("Ask it: ", paste0(verbs, "()", collapse = ", "), ".")), sep = "\n")
  invisible(x)
}

model_lines <- function(x) {
  facts <- x$summary
  columns <- vapply(Filter(length, facts$columns), function(names) paste(unlist(names), collapse = " + "), "")
  c(
    paste(c(
      paste("<latome_model>", x$title), paste(count_of(facts$n_cells, "cell"), "x", count_of(length(x$genes), "gene")),
      count_of(max(1, length(x$levels$batch)), "batch", "batches"),
      if (length(own_verbs(x)) && length(x$levels$labels)) count_of(length(x$levels$labels), "label"),
      if (is_number(x$settings$n_latent)) count_of(x$settings$n_latent, "latent dimension")
    ), collapse = " | "),
    if (length(columns)) paste0("Columns: ", paste(names(columns), columns, sep = " = ", collapse = ", ")),
    if (isTRUE(facts$mapped)) "Mapped onto a reference, whose weights it holds as they were",
    training_line(x), loss_line(x), accuracy_line(x),
    if (has_latent(x) && is_number(facts$kl_weight) && facts$kl_weight < 1) {
      paste0("The weight of the KL divergence had risen to ", format(facts$kl_weight, digits = 2),
        " (n_epochs_kl_warmup of training_options())")
    },
    if (!is.null(x$file)) paste0("Weights in file ", x$file),
    if (!is.null(x$posterior)) paste0("Remembers the posterior of ", count_of(nrow(x$posterior$mean), "cell"))
  )
}

loss_line <- function(x) {
  found <- unlist(Filter(is_number, list(train = x$summary$elbo_train, validation = x$summary$elbo_validation)))
  if (!length(found)) {
    return(NULL)
  }
  what <- if (has_latent(x)) "negative ELBO, nats a cell" else "nats a cell"
  paste0("Loss (", what, "): ", paste(names(found), vapply(found, loss_text, ""), collapse = ", "))
}

#' How well a classifier inside does, where the history tells.
#' @noRd
accuracy_line <- function(x) {
  last <- function(metric) {
    found <- unlist(lapply(c(train = "train", validation = "validation"), function(set) {
      values <- x$history[[paste0(metric, "_", set)]]
      utils::tail(values[is.finite(values)], 1L)
    }))
    if (length(found)) paste(names(found), format(round(found, 2), nsmall = 2), collapse = ", ")
  }
  accuracy <- last("accuracy")
  if (is.null(accuracy)) {
    return(NULL)
  }
  paste0("Labels: accuracy ", accuracy, "; calibration error ", last("calibration_error"))
}

#' Named values as lines of two columns.
#' @noRd
table_lines <- function(values) {
  shown <- vapply(values, function(value) paste(format(value), collapse = ", "), "")
  paste0("  ", format(names(values)), "  ", shown)
}

training_line <- function(x) {
  facts <- x$summary
  if (identical(as.numeric(facts$epochs), 0)) {
    return("No history of training")
  }
  ended <- list(finished = "all epochs", early = "stopped early", interrupted = "interrupted")
  paste0(
    "Trained: ", count_of(facts$epochs, "epoch"),
    if (is_string(facts$stopped)) paste0(" (", ended[[facts$stopped]] %||% facts$stopped, ")"),
    if (is_number(facts$seconds)) paste0(" in ", duration(facts$seconds)),
    if (is_string(facts$device)) paste0(" on ", facts$device),
    if (identical(facts$parent, "scvi")) ", from a trained scVI",
    "; ", if (is_string(facts$source)) facts$source else paste0("seed ", x$seed, "; latome ", x$version)
  )
}

#' @rdname latome_model
#' @method summary latome_model
#' @export
summary.latome_model <- function(object, ...) {
  facts <- object$summary
  structure(
    list(
      lines = model_lines(object), settings = object$settings, genes = object$genes, levels = object$levels,
      columns = facts$columns, n_parameters = facts$n_parameters, z_sd = unlist(facts$z_sd),
      history = utils::tail(object$history, 1L)
    ),
    class = "summary.latome_model"
  )
}

#' @rdname latome_model
#' @method print summary.latome_model
#' @export
print.summary.latome_model <- function(x, ...) {
  cat(x$lines, sep = "\n")
  if (is_number(x$n_parameters)) cat("Parameters: ", count_of(x$n_parameters), "\n", sep = "")
  cat("Genes: ", quoted(x$genes, 5L), "\n", sep = "")
  if (length(x$levels$batch)) cat("Batches: ", quoted(x$levels$batch, 8L), "\n", sep = "")
  if (length(x$levels$labels)) cat("Labels: ", quoted(x$levels$labels, 8L), "\n", sep = "")
  cat("Settings:", table_lines(x$settings), sep = "\n")
  if (length(x$z_sd)) {
    cat("Spread of the latent dimensions (sd over cells; near 0 is unused):\n  ",
      paste(format(x$z_sd, digits = 2), collapse = "  "), "\n", sep = "")
  }
  invisible(x)
}

# --- where the weights are kept -----------------------------------------------------------------

LARGEST_IN_OBJECT <- 50 * 1024^2               # bytes

#' Weights in the object, or in a file when they are large or the user says so.
#' @noRd
keep_weights <- function(fit, name, keep_model, verbose, call) {
  large <- length(fit$weights) > LARGEST_IN_OBJECT
  if (!(keep_model == "file" || (keep_model == "auto" && large))) {
    return(fit)
  }
  folder <- getOption("latome.models", file.path(tools::R_user_dir("latome", "data"), "models"))
  dir.create(folder, recursive = TRUE, showWarnings = FALSE)
  fit$file <- write_folder(fit, tempfile(paste0(name, "-"), folder), overwrite = FALSE, call)
  inform_latome(c(
    paste0("Keeps the weights (", format_bytes(length(fit$weights)), ") in ", fit$file,
      ", not in the object."),
    i = "keep_model = \"object\" keeps them with it."
  ), verbose)
  fit["weights"] <- list(NULL)
  fit
}

#' The weights as raw, from wherever they are.
#' @noRd
model_weights <- function(fit, call) {
  if (is.raw(fit$weights)) {
    return(fit$weights)
  }
  file <- file.path(fit$file, "model.safetensors")
  if (!file.exists(file)) {
    abort_latome(paste0("The weights of this model were kept in ", fit$file, ", which is gone."),
      "Put the folder back, or train again with keep_model = \"object\".",
      kind = "ArchiveError", field = "model", call = call)
  }
  readBin(file, "raw", file.size(file))
}

format_bytes <- function(n) paste(format(round(n / 1024^2, 1), nsmall = 1), "MB")
