# The one core behind every run_*(): fetch, check, train, store.

#' Train a model on an object and store what came of it.
#'
#' @param kind the engine's name of the model
#' @param settings checked settings of the model, a named list
#' @param arguments the remaining arguments of run_*(), unchecked, a named list
#' @return the object with the results, or the model where the object cannot hold any
#' @noRd
run_model <- function(kind, object, settings, arguments, call = rlang::caller_env()) {
  arguments <- check_run(arguments, call)
  # a normal likelihood is for values that are no counts
  arguments$allow_noninteger <- arguments$allow_noninteger || identical(settings$gene_likelihood, "normal")
  check_places(object, kind, arguments$name, call)
  if (kind == "solo") {
    return(find_doublets(object, settings, arguments, call))
  }
  if (kind == "cellassign") {
    return(assign_cells(object, settings, arguments, call))
  }
  if (!is.null(arguments$model)) {
    settings <- settings[intersect(names(settings), arguments$given)]
    arguments <- stand_on(find_parent(object, arguments$model, call), object, arguments, call)
  }
  ready <- ready_to_train(object, arguments, call)
  trained <- train(kind, ready$data, settings, arguments, call)
  fit <- new_model(trained, source = ready$source)
  results <- results_of(fit, trained$latent, ready, arguments$name, call)
  store(object, fit, results, paste0("run_", kind), c(arguments, settings), call)
}

#' What a model gives of the cells it was trained on; see results.R.
#' @noRd
results_of <- function(fit, latent, ready, name, call) {
  results <- if (!is.null(latent)) list(latent = name_latent(latent, ready$cells))
  more <- after_training(fit$kind)
  if (is.null(more)) {
    return(results)
  }
  asked <- list(fit = fit, weights = fit$weights, data = ready$data, cells = ready$cells)
  c(results, more(asked, name, call))
}

#' @noRd
ready_to_train <- function(object, arguments, call) {
  make <- if (is_store(object)) store_to_train else cells_to_train
  make(object, arguments, call)
}

#' The cells of an object as the engine takes them.
#'
#' @param arguments as check_run() returns them
#' @param groups names of columns of groups to take along
#' @return list: data (an AnnData in Python), cells and genes (names), coldata, source (where the counts were)
#' @noRd
cells_to_train <- function(object, arguments, call, groups = NULL) {
  cells <- get_cells(object, arguments$assay, arguments$layer, arguments$coldata, call)
  check_enough_cells(cells, call)
  columns <- code_columns(cells$coldata, arguments$roles, call = call)
  check_unlabeled_there(cells$coldata, arguments$roles, call)
  along <- code_groups(cells$coldata, setdiff(groups, names(columns)), call)
  cells <- hold_cells(cells, arguments$allow_noninteger, arguments$verbose, call)
  engine(call)
  batch <- if (!is.null(arguments$roles$batch)) columns[[arguments$roles$batch]]
  genes <- settled_genes(arguments, rownames(cells$counts), call) %||%
    choose_genes(cells, arguments$features, batch, arguments$verbose, call)
  check_empty_cells(cells, genes, call)

  list(
    data = hand_over(take_genes(cells$counts, genes), c(columns, along), call), cells = colnames(cells$counts),
    genes = genes, coldata = cells$coldata, source = c(cells[c("assay", "layer")], arguments["allow_noninteger"])
  )
}

#' The genes where there is nothing to choose: those of the model that is started from, or all; else NULL.
#' @noRd
settled_genes <- function(arguments, there, call) {
  if (isTRUE(arguments$whole)) {
    return(there)
  }
  if (!is.null(arguments$parent)) check_genes_there(arguments$parent, there, call)
  arguments$parent$genes
}

check_run <- function(arguments, call) {
  a <- arguments
  a$name <- check_result_name(a$name, "name", call)
  a$training <- use_recipe(check_training(a$training, "training", call), a$recipe)
  a$seed <- check_whole_number(a$seed, ge = 0, arg = "seed", call = call)
  places <- c("auto", "object", "file", "none")
  a$keep_model <- check_choice(a$keep_model, places, arg = "keep_model", call = call)
  a$allow_noninteger <- check_flag(a$allow_noninteger, arg = "allow_noninteger", call = call)
  a$verbose <- check_flag(a$verbose, arg = "verbose", call = call)
  a$roles <- list(
    batch = check_names(a$batch, 1L, "batch", call),
    labels = check_names(a$labels, 1L, "labels", call),
    unlabeled = check_unlabeled(a$unlabeled, call),
    categorical = check_names(a$categorical_covariates, Inf, "categorical_covariates", call),
    continuous = check_names(a$continuous_covariates, Inf, "continuous_covariates", call),
    size_factor = check_names(a$size_factor, 1L, "size_factor", call)
  )
  a
}

#' @method print latome_training
#' @export
#' @noRd
print.latome_training <- function(x, ...) {
  cat("<latome_training>", table_lines(x), sep = "\n")
  invisible(x)
}

#' The roles of columns, as the engine takes them.
#' @noRd
as_python_roles <- function(roles) {
  list(batch = roles$batch, labels = roles$labels, categorical = as.list(roles$categorical),
    continuous = as.list(roles$continuous), size_factor = roles$size_factor, unlabeled = roles$unlabeled)
}

#' A trained model of a kind, on whatever it stands on.
#' @noRd
train <- function(kind, data, settings, arguments, call) {
  parent <- arguments$parent
  started <- request("start", data, kind, as_python_dict(settings), as_python_roles(arguments$roles), NULL,
    as_python_dict(unclass(arguments$training)), arguments$seed, arguments$allow_noninteger,
    parent = if (!is.null(parent)) list(document = parent$document, weights = model_weights(parent, call)),
    keep = "trainer", call = call)
  drive(started, "finish", arguments$verbose, call)
}

#' R drives: the engine trains for a twentieth of a second a call and never calls back.
#'
#' @param started reply of a request that starts training
#' @param finish name of the request that ends it
#' @return reply of that request
#' @noRd
drive <- function(started, finish, verbose, call) {
  show <- progress(started, verbose)
  state <- tryCatch({
    repeat {
      state <- request("advance", started$trainer, 0.05, call = call)
      show(state)
      if (state$state != "running") break
    }
    state
  }, interrupt = function(condition) list(state = "interrupted"))
  trained <- request(finish, started$trainer, call = call)
  show(NULL)
  if (state$state == "interrupted") {
    warn_latome(
      paste0("Training was interrupted after ", count_of(trained$summary$epochs, "epoch"), " of ",
        count_of(started$n_epochs), "."),
      "The model trained so far is kept.", class = "latome_interrupted"
    )
  }
  trained
}
