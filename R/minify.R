# Objects without counts: the model remembers where each cell lies, and answers from that.

#' Drop the counts, keep what the model needs of them
#'
#' A trained model asks of a cell's counts only where they put it in the latent
#' space, and their total. `minify_counts()` stores these few numbers a cell with
#' the model and takes the counts out of the object, which is then a fraction of
#' its size and still answers [normalized_expression()],
#' [differential_expression()], [posterior_samples()] and the like.
#'
#' What is about the counts themselves can no longer be asked: [elbo()] and its
#' kind, [predictive_check()]; and [differential_expression()] needs its
#' `pseudocounts` given and has no statistics of the counts.
#'
#' @param x a Seurat object, a SingleCellExperiment or a matrix of counts.
#' @param model a model, or the name of one that `x` carries; `NULL` where it
#'   carries only one. It must take the library size as observed
#'   (`use_observed_lib_size`).
#' @param coldata,allow_noninteger see [latent_representation()].
#' @param verbose say what was done?
#' @return The object, without the layer or assay of counts that the model was
#'   trained on and with the posterior of its cells in the model. Other layers and
#'   assays stay: in a Seurat object there must be one, such as `data` after
#'   `NormalizeData()`. Of a matrix, the model itself, which then answers alone:
#'   `normalized_expression(fit)`.
#'
#' The counts are gone from what is returned; keep them elsewhere. Cells are
#' matched by name, so the object may be subset afterwards.
#' @export
#' @examplesIf latome_available()
#' counts <- matrix(rpois(2000, 2), 40, 50, dimnames = list(paste0("g", 1:40), paste0("c", 1:50)))
#' fit <- run_scvi(counts, training = training_options(max_epochs = 3, threads = 2), verbose = FALSE)
#' small <- minify_counts(counts, fit)
#' normalized_expression(small, features = "g1", cells = c("c1", "c2"))
minify_counts <- function(x, model = NULL, coldata = NULL, allow_noninteger = FALSE, verbose = TRUE) {
  call <- rlang::current_env()
  check_flag(verbose)
  fit <- the_model(x, model, call)
  check_minifiable(fit, call)
  asked <- open_query(x, fit, NULL, counts_in(NULL, NULL, coldata, allow_noninteger), call)
  if (asked$stored) {
    abort_latome("The counts of this object are gone already.", kind = "QueryError", field = "x", call = call)
  }
  check_cell_names(x, call)
  found <- ask(asked, "latent_moments", list(), 0L, call)
  fit$posterior <- list(
    mean = name_latent(found$mean, asked$cells), variance = name_latent(found$variance, asked$cells),
    totals = stats::setNames(as.vector(found$totals), asked$cells),
    coldata = asked$coldata[intersect(unlist(model_columns(fit, asked$coldata)), colnames(asked$coldata))]
  )
  if (!inherits(x, c("Seurat", "SingleCellExperiment"))) {
    fit$latent <- NULL
    return(fit)
  }
  name <- model_name(x, model, call)
  slim <- drop_counts(x, fit$source$assay, fit$source$layer, call)
  inform_latome(paste0("Drops ", asked$where, " (", format_bytes(as.numeric(utils::object.size(x)) -
    as.numeric(utils::object.size(slim))), "). Model \"", name, "\" remembers the posterior of ",
    count_of(length(asked$cells), "cell"), "."), verbose)
  put_command(put_model(slim, fit, name), "minify_counts", list(model = name), fit$source$assay)
}

check_minifiable <- function(fit, call) {
  if (isFALSE(fit$settings$use_observed_lib_size) && is.null(fit$summary$columns$size_factor)) {
    abort_latome("The model infers the library size of a cell from its counts, so it needs them.",
      "Train with use_observed_lib_size = TRUE.", kind = "QueryError", field = "model", call = call)
  }
}

check_cell_names <- function(x, call) {
  if (is.null(colnames(x))) {
    abort_latome("The cells have no names, and the posterior of each is found by its name.",
      "Set colnames(x) first.", kind = "FieldError", field = "x", call = call)
  }
}

#' Take counts out of an object.
#' @noRd
drop_counts <- function(object, assay, layer, call) UseMethod("drop_counts")

#' Does an object hold these counts?
#' @noRd
holds_counts <- function(object, assay, layer) UseMethod("holds_counts")

#' The cell data of an object, rows named by cell.
#' @noRd
get_coldata <- function(object) UseMethod("get_coldata")

#' @export
#' @noRd
holds_counts.default <- function(object, assay, layer) TRUE

#' @export
#' @noRd
holds_counts.latome_model <- function(object, assay, layer) FALSE

#' @export
#' @noRd
get_coldata.latome_model <- function(object) object$posterior$coldata

#' Is a question to be answered from the posterior that a model remembers?
#' @noRd
answers_alone <- function(x, fit, source) {
  !is.null(fit$posterior) && is.null(source$coldata) &&
    !holds_counts(x, source$assay %||% fit$source$assay, source$layer %||% fit$source$layer)
}

#' The query of open_query(), where there are no counts.
#' @noRd
open_stored <- function(x, fit, cells, call) {
  held <- fit$posterior
  coldata <- get_coldata(x)
  names <- rownames(coldata)
  absent <- setdiff(names, rownames(held$mean))
  if (length(absent)) {
    abort_latome(
      paste0("The object holds no counts, and the model remembers no posterior of ", count_of(length(absent), "cell"), ": ",
        quoted(absent, 3L), "."),
      "Give the object with its counts; minify_counts() makes the model remember its cells.",
      kind = "QueryError", field = "x", call = call
    )
  }
  places <- if (is.null(cells)) seq_along(names) else match_cells(cells, names, "cells", call)
  coldata <- coldata[places, , drop = FALSE]
  rows <- match(names[places], rownames(held$mean))
  nothing <- Matrix::sparseMatrix(i = integer(), j = integer(), x = numeric(),
    dims = c(length(fit$genes), length(rows)), dimnames = list(fit$genes, names[places]))
  posterior <- list(mean = held$mean[rows, , drop = FALSE], variance = held$variance[rows, , drop = FALSE],
    totals = held$totals[rows])
  columns <- code_columns(coldata, model_columns(fit, coldata), training = FALSE, call = call)
  list(
    fit = fit, weights = model_weights(fit, call), cells = names[places], places = places, coldata = coldata,
    stored = TRUE, data = to_anndata(nothing, columns, call, posterior)
  )
}

#' Questions about the counts themselves need them.
#' @noRd
check_counts_there <- function(asked, what, hint, call) {
  if (asked$stored) {
    abort_latome(paste0(what, " needs counts, and the object holds none (minify_counts())."), hint,
      kind = "QueryError", field = "x", call = call)
  }
}
