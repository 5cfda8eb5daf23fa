# Which genes made a model give cells their labels: scANVI.

#' Which genes make a cell's label
#'
#' Credits each gene with what its counts add to the probability of a cell's label, by integrated gradients: the
#' counts grow from nothing to what they are, and each gene receives the share of the change that its own growth
#' brings. The attributions of a cell add up to the probability of the label, less that of a cell without counts;
#' a gene without counts has none, a gene that speaks against the label a negative one.
#'
#' They say what this model looks at, not what a cell type is: of several genes that tell the same, a network may
#' use one. For genes that differ between groups see [differential_expression()].
#'
#' @inheritParams latent_representation
#' @param label the label to explain in every cell; `NULL` for the most probable one of each.
#' @param each_cell return the attributions of each cell, in place of a table?
#' @param n_steps points along the path; what the sum of a cell is off by falls like 1 / `n_steps`.
#' @param batch_size cells that are computed together; it bounds the memory used, not the result.
#' @return A data.frame with a row for each label and gene, the largest mean first within a label: `label`,
#'   `gene`, `attribution_mean` and `attribution_sd` over the cells whose label is explained, in units of
#'   probability, and `cells`, the number of them in which the gene has an attribution. With `each_cell = TRUE` a
#'   sparse matrix (`dgCMatrix`) of genes x cells.
#' @references Sundararajan, Taly and Yan, Proceedings of Machine Learning Research 70 (2017),
#'   <https://proceedings.mlr.press/v70/sundararajan17a.html>.
#' @seealso [run_scanvi()], [label_probabilities()]
#' @export
#' @examplesIf latome_available()
#' counts <- matrix(rpois(2000, 2), 40, 50, dimnames = list(paste0("g", 1:40), paste0("c", 1:50)))
#' known <- data.frame(type = rep(c("a", "b", NA), length.out = 50), row.names = colnames(counts))
#' fit <- run_scanvi(counts, labels = "type", coldata = known,
#'   training = training_options(max_epochs = 3, threads = 2), verbose = FALSE)
#' head(label_attributions(counts, fit, n_steps = 10), 3)
label_attributions <- function(x, model = NULL, ..., label = NULL, each_cell = FALSE, n_steps = 50L, cells = NULL,
                               batch_size = NULL, assay = NULL, layer = NULL, coldata = NULL,
                               allow_noninteger = FALSE) {
  check_no_dots(..., known = names(formals(label_attributions)))
  call <- rlang::current_env()
  label <- check_string(label, null = TRUE)
  each_cell <- check_flag(each_cell)
  n_steps <- check_whole_number(n_steps, ge = 1)
  batch_size <- check_whole_number(batch_size, ge = 1, null = TRUE)
  fit <- the_model(x, model, call)
  check_labels_known(fit, call)
  asked <- open_query(x, model, cells, counts_in(assay, layer, coldata, allow_noninteger), call, latent = FALSE)
  options <- list(label = label, each_cell = each_cell, n_steps = n_steps, batch_size = batch_size)
  found <- ask(asked, "label_attributions", options, 0L, call)
  if (each_cell) as_sparse(found, fit$genes, asked$cells) else as_table(found$table)
}
