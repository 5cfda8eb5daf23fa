# Mapping: new cells on a trained reference.

#' Map new cells onto a trained reference
#'
#' `map_query()` places new cells in the latent space of a trained model (scArches): the model is extended by
#' the batches and other categories that the new cells bring, and only the weights of these are trained, on the
#' new cells alone. **The reference stays as it is, bit for bit**: its cells keep their place, and what the model says
#' of them. With a reference that learnt labels ([run_scanvi()]) the new cells receive labels too.
#'
#' @details
#' Genes are matched by name. Those that the query lacks count as zero in each of its cells; the share that is there
#' is reported, and too small a one is an error that says which genes are missing and why they may be.
#'
#' Whether training can move the new cells depends on the reference: its encoder must take the covariates. Train it
#' with `for_mapping = TRUE` (see [run_scvi()]), which sets that and layer normalisation; where a model has no such
#' argument, with `encode_covariates = TRUE`. A reference whose encoder takes no covariates, or a query that brings no
#' new category, is projected without training, and the message says so.
#'
#' Categories that the reference knows keep their weights. Labels are never added: a label that the reference does not
#' know is an error, and a query without a column of labels is unlabeled. Where the query has a column of the name
#' that the reference's labels had, its labels are used in training, and a message says so: take the column out to see
#' what would be predicted.
#'
#' The number of epochs matters where the query is small: what counts are the steps, of which 800 cells make seven
#' in an epoch. With fewer than about a thousand cells take a smaller `batch_size` in [training_options()].
#'
#' Mapping goes on: the result is a model like any other, onto which a further query can be mapped; the cells of
#' the first query then stay as they are as well.
#'
#' @param query the new cells: a Seurat object, a SingleCellExperiment, a matrix of counts (genes x cells), or a
#'   store that has all genes of the reference (see [prepare_store()]).
#' @param reference the trained model, or an object that carries it.
#' @param model name of the model in `reference`; `NULL` where there is only one.
#' @param batch,labels,categorical_covariates,continuous_covariates,size_factor names of the columns of the query that
#'   play the roles of the reference's, by default columns of the same names. A reference that was trained without a
#'   batch is one batch; `batch` then names those of the query. Covariates are matched in their order.
#' @param ... not used; an argument that is not known is an error.
#' @param assay,layer where the raw counts are; by default where they were for training the reference, if the
#'   query has it.
#' @param coldata for a matrix: a data.frame of the columns, rows named by cell.
#' @param min_overlap the smallest share of the reference's genes that the query must have, 0 to 1.
#' @param training options of training, see [training_options()].
#' @param name name under which the results and the extended model are stored; by default that of the reference.
#' @param keep_model,allow_noninteger,verbose see [run_scvi()].
#' @param seed a whole number; by default that of the reference.
#' @return The query with the latent, the extended model and, for scANVI, labels (`predicted.<name>`,
#'   `predicted.<name>.score` and the assay `prediction.score.<name>`). For a matrix or a store: the model, with these
#'   in it.
#' @references Lotfollahi et al., Nature Biotechnology 40 (2022), doi:10.1038/s41587-021-01001-7.
#' @export
#' @examplesIf latome_available()
#' counts <- matrix(rpois(4000, 2), 40, 100, dimnames = list(paste0("g", 1:40), paste0("c", 1:100)))
#' donors <- data.frame(donor = rep(c("a", "b", "c", "d"), each = 25), row.names = colnames(counts))
#' quick <- training_options(max_epochs = 3, threads = 2)
#' reference <- run_scvi(counts[, 1:50], batch = "donor", coldata = donors, for_mapping = TRUE,
#'   training = quick, verbose = FALSE)
#' mapped <- map_query(counts[, 51:100], reference, coldata = donors, training = quick)
#' head(latent_representation(mapped), 3)
map_query <- function(query, reference, model = NULL, batch = NULL, labels = NULL, categorical_covariates = NULL,
                      continuous_covariates = NULL, size_factor = NULL, ..., assay = NULL, layer = NULL, coldata = NULL,
                      min_overlap = 0.5, training = training_options(max_epochs = 200L, weight_decay = 0), name = NULL,
                      keep_model = "auto", seed = NULL, allow_noninteger = FALSE, verbose = TRUE) {
  check_no_dots(..., known = names(formals(map_query)))
  call <- rlang::current_env()
  min_overlap <- check_number(min_overlap, ge = 0, le = 1)
  fit <- find_reference(reference, model, call)
  arguments <- check_run(list(
    batch = batch, labels = labels, categorical_covariates = categorical_covariates,
    continuous_covariates = continuous_covariates, size_factor = size_factor, assay = assay, layer = layer,
    coldata = coldata, training = training, name = name %||% model_name(reference, model %||% fit, call),
    keep_model = keep_model, seed = seed %||% fit$seed, allow_noninteger = allow_noninteger, verbose = verbose
  ), call)
  check_places(query, fit$kind, arguments$name, call)
  ready <- ready_to_map(query, fit, arguments, min_overlap, call)
  started <- request("start_mapping", ready$data, fit$document, model_weights(fit, call), as_python_roles(ready$roles),
    as_python_dict(unclass(arguments$training)), arguments$seed, ready$source$allow_noninteger, keep = "trainer",
    call = call)
  say_mapping(started, fit, verbose)
  trained <- if (started$learns) drive(started, "finish", verbose, call) else started
  mapped <- new_model(trained, source = ready$source)
  results <- results_of(mapped, trained$latent, ready, arguments$name, call)
  arguments$min_overlap <- min_overlap
  store(query, mapped, results, "map_query", arguments, call)
}

#' A model onto which cells can be mapped.
#' @noRd
find_reference <- function(reference, model, call) {
  fit <- find_model(reference, model, call)
  if (!has_latent(fit)) {
    abort_latome(paste0(fit$title, " has no latent space onto which cells could be mapped."),
      "Ask it about the new cells: predict(model, query).", kind = "QueryError", field = "reference", call = call)
  }
  fit
}

#' The new cells as the engine takes them, with the genes of the reference.
#'
#' @return list: data (an AnnData in Python), cells (names), roles, source (where the counts were, and which
#'   genes were absent)
#' @noRd
ready_to_map <- function(query, fit, arguments, min_overlap, call) {
  if (is_store(query)) {
    return(store_to_map(query, fit, arguments, call))
  }
  arguments$allow_noninteger <- arguments$allow_noninteger || takes_fractions(fit)
  arguments[c("assay", "layer")] <- place_of_counts(query, fit, arguments)
  cells <- get_cells(query, arguments$assay, arguments$layer, arguments$coldata, call)
  cells <- hold_cells(cells, arguments$allow_noninteger, arguments$verbose, call)
  rownames(cells$counts) <- spelled_as(rownames(cells$counts), fit$genes)
  share <- request("gene_overlap", as_python_strings(rownames(cells$counts)), as_python_strings(fit$genes), min_overlap,
    call = call)$share
  absent <- setdiff(fit$genes, rownames(cells$counts))
  say_genes(share, absent, fit$genes, arguments$verbose)
  check_empty_cells(cells, setdiff(fit$genes, absent), call)
  roles <- roles_to_map(fit, arguments$roles, cells$coldata)
  say_labels(roles, arguments$verbose)
  columns <- code_columns(cells$coldata, roles, training = FALSE, call = call)
  source <- c(cells[c("assay", "layer")], arguments["allow_noninteger"], list(absent = absent))
  list(data = hand_over(genes_of(cells$counts, fit$genes), columns, call), cells = colnames(cells$counts),
    roles = roles, source = source)
}

#' The same of a store, which must have all genes of the reference: a store is read as it is.
#' @noRd
store_to_map <- function(query, fit, arguments, call) {
  opened <- use_store(query, call)
  check_genes_there(fit, opened$store$genes, call)
  arguments$roles <- roles_to_map(fit, arguments$roles, store_coldata(opened$data, opened$store, call))
  ready <- store_to_train(query, c(arguments, list(genes = fit$genes, parent = fit)), call)
  say_genes(1, character(), fit$genes, arguments$verbose)
  say_labels(arguments$roles, arguments$verbose)
  c(ready, list(roles = arguments$roles))
}

#' Names of genes, "_", "|" or "-" as the reference has it: Seurat turns the first two into the third.
#' @noRd
spelled_as <- function(names, genes) {
  theirs <- genes[match(as_seurat_names(names), as_seurat_names(genes))]
  changed <- !names %in% genes & !is.na(theirs) & !theirs %in% names
  replace(names, changed, theirs[changed])
}

#' The rows of a model's genes, in its order; zeros where there are none.
#' @noRd
genes_of <- function(counts, genes) {
  counts <- rows_or_zeros(counts, match(genes, rownames(counts)))
  rownames(counts) <- genes
  counts
}

#' The columns of the query: as told, else those of the reference; labels only where they are there and of use.
#' @noRd
roles_to_map <- function(fit, roles, coldata) {
  known <- model_columns(fit, coldata)
  uses_labels <- tells_labels(fit) || identical(fit$settings$dispersion, "gene-label")
  if (!uses_labels || !is.null(known$labels) && all(is.na(coldata[[known$labels]]))) known["labels"] <- list(NULL)
  for (role in c("batch", "labels", "categorical", "continuous", "size_factor")) {
    roles[role] <- list(roles[[role]] %||% known[[role]])
  }
  roles["unlabeled"] <- list(fit$summary$columns$unlabeled)
  roles
}

say_genes <- function(share, absent, genes, verbose) {
  inform_latome(paste0(
    "Genes: ", format(round(100 * share, 1)), "% of the ", count_of(length(genes)),
    " of the reference are in the query",
    if (length(absent)) paste0("; ", count_of(length(absent)), " count as zero (", quoted(absent, 3L), ")"), "."
  ), verbose)
}

#' Labels of the query teach the model; whoever wants to test it by them must know.
#' @noRd
say_labels <- function(roles, verbose) {
  if (!is.null(roles$labels)) {
    inform_latome(c(paste0("Labels: those in column '", roles$labels, "' of the query are used in training."),
      i = "To predict them instead, map without that column."), verbose)
  }
}

say_mapping <- function(started, fit, verbose) {
  new <- lapply(started$new, strings)
  shown <- vapply(names(new), function(role) paste(role, quoted(new[[role]], 4L)), "")
  inform_latome(if (length(new)) paste0("New categories: ", paste(shown, collapse = "; "), ".") else
    "The query brings no new category.", verbose)
  if (!started$learns) {
    why <- if (length(new)) "the encoder of the reference takes no covariates" else "there is nothing to learn"
    inform_latome(c(
      paste0("Projects the cells without training: ", why, "."),
      i = if (length(new)) "A reference trained with for_mapping = TRUE can learn the batches of new cells."
    ), verbose)
  }
}
