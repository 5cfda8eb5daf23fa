# Which genes are zero-inflated: AutoZI.

#' Which genes are zero-inflated
#'
#' The answer of AutoZI ([run_autozi()]) for each gene. The share of the gene's counts that need no extra
#' zeros, \eqn{\delta_g}, has the posterior Beta(`alpha`, `beta`); a gene is called zero-inflated where
#' \eqn{P(\delta_g < 0.5) > 0.5}.
#'
#' @param x a model trained by [run_autozi()], or an object that carries one.
#' @param model a model, or the name of one that `x` carries; `NULL` where it carries only one.
#' @return A data.frame with a row for each gene, or for each gene and batch or label where the model was
#'   trained with `zero_inflation = "gene-batch"` or `"gene-label"`: `gene`, `batch` or `label`, `alpha`,
#'   `beta`, `prob_zero_inflated` and `is_zero_inflated`.
#' @export
#' @examplesIf latome_available()
#' counts <- matrix(rpois(2000, 2), 40, 50, dimnames = list(paste0("g", 1:40), paste0("c", 1:50)))
#' fit <- run_autozi(counts, training = training_options(max_epochs = 3, threads = 2), verbose = FALSE)
#' head(zero_inflation(fit))
zero_inflation <- function(x, model = NULL) {
  call <- rlang::current_env()
  fit <- the_model(x, model, call)
  ask_zero_inflation(fit, model_weights(fit, call), call)
}

#' The table from the engine.
#' @noRd
ask_zero_inflation <- function(fit, weights, call) {
  if (fit$kind != "autozi") {
    abort_latome(paste0(fit$title, " does not decide which genes are zero-inflated."),
      "Train a model that does: run_autozi().", kind = "QueryError", field = "model", call = call)
  }
  as_table(request("zero_inflation", fit$document, weights, call = call)$table)
}

#' Columns for results.R: `<name>.prob_zi` and `<name>.zero_inflated`, and where zero inflation was decided by
#' batch or label a pair for each, with its name at the end.
#' @noRd
autozi_results <- function(asked, name, call) {
  table <- ask_zero_inflation(asked$fit, asked$weights, call)
  by <- intersect(c("batch", "label"), names(table))
  groups <- if (length(by)) unique(table[[by]]) else ""
  columns <- lapply(groups, function(group) {
    rows <- if (length(by)) table[table[[by]] == group, ] else table
    found <- data.frame(prob_zi = rows$prob_zero_inflated, zero_inflated = rows$is_zero_inflated, row.names = rows$gene)
    rlang::set_names(found, paste0(name, ".", names(found), if (length(by)) paste0(".", group)))
  })
  list(rowdata = do.call(cbind, columns))
}
