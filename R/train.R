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
  if (is_store(object)) {
    return(run_stored(kind, object, settings, arguments, call))
  }
  check_place(object, arguments$name, call)
  ready <- cells_to_train(object, arguments, call)
  trained <- train(kind, ready$data, settings, arguments, call)
  latent <- name_latent(trained$latent, ready$cells)
  fit <- new_model(trained, source = ready$source)
  store(object, fit, latent, paste0("run_", kind), c(arguments, settings), call)
}

#' The cells of an object as the engine takes them.
#'
#' @param arguments as check_run() returns them
#' @param groups names of columns of groups to take along
#' @return list: data (an AnnData in Python), cells (names), source (where the counts were)
#' @noRd
cells_to_train <- function(object, arguments, call, groups = NULL) {
  cells <- read_cells(object, arguments, call)
  check_enough_cells(cells, call)
  columns <- code_columns(cells$coldata, arguments$roles, call = call)
  engine(call)
  batch <- if (!is.null(arguments$roles$batch)) columns[[arguments$roles$batch]]
  genes <- choose_genes(cells, arguments$features, batch, arguments$verbose, call)
  check_empty_cells(cells, genes, call)

  along <- code_groups(cells$coldata, setdiff(groups, names(columns)), call)
  list(
    data = to_anndata(take_genes(cells$counts, genes), c(columns, along), call), cells = colnames(cells$counts),
    source = c(cells[c("assay", "layer")], arguments["allow_noninteger"])
  )
}

check_run <- function(arguments, call) {
  a <- arguments
  a$name <- check_result_name(a$name, "name", call)
  a$training <- check_training(a$training, "training", call)
  a$seed <- check_whole_number(a$seed, ge = 0, arg = "seed", call = call)
  places <- c("auto", "object", "file", "none")
  a$keep_model <- check_choice(a$keep_model, places, arg = "keep_model", call = call)
  a$allow_noninteger <- check_flag(a$allow_noninteger, arg = "allow_noninteger", call = call)
  a$verbose <- check_flag(a$verbose, arg = "verbose", call = call)
  a$roles <- list(
    batch = check_names(a$batch, 1L, "batch", call),
    labels = check_names(a$labels, 1L, "labels", call),
    categorical = check_names(a$categorical_covariates, Inf, "categorical_covariates", call),
    continuous = check_names(a$continuous_covariates, Inf, "continuous_covariates", call),
    size_factor = check_names(a$size_factor, 1L, "size_factor", call)
  )
  a
}

#' Results may replace results of the same name, never somebody else's reduction.
#' @noRd
check_place <- function(object, name, call) {
  if (is_taken(object, name) && !name %in% names(get_models(object, call))) {
    abort_latome(
      paste0("The results would be stored as ", latent_place(object, name), ", and the name is taken by ",
        "something that belongs to no model of latome in the object."),
      "Choose another `name`, or remove it first.", field = "name", call = call
    )
  }
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
    continuous = as.list(roles$continuous), size_factor = roles$size_factor)
}

#' R drives: the engine trains for a twentieth of a second a call and never calls back.
#' @noRd
train <- function(kind, data, settings, arguments, call) {
  started <- request("start", data, kind, as_python_dict(settings), as_python_roles(arguments$roles), NULL,
    as_python_dict(unclass(arguments$training)), arguments$seed, arguments$allow_noninteger,
    keep = "trainer", call = call)
  show <- progress(started, arguments$verbose)
  state <- tryCatch({
    repeat {
      state <- request("advance", started$trainer, 0.05, call = call)
      show(state)
      if (state$state != "running") break
    }
    state
  }, interrupt = function(condition) list(state = "interrupted"))
  trained <- request("finish", started$trainer, call = call)
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

#' A function that shows where training is: show(state), and show(NULL) at the end.
#'
#' One bar where the line can be rewritten, else a plain line every tenth of the epochs.
#' @noRd
progress <- function(started, verbose) {
  if (!verbose) {
    return(function(state) invisible())
  }
  inform_latome(headline(started))
  if (cli::is_dynamic_tty()) progress_bar(started) else progress_lines(started)
}

progress_bar <- function(started) {
  bar <- cli::cli_progress_bar(
    total = started$n_steps, clear = FALSE, auto_terminate = FALSE, .envir = environment(),
    .auto_close = FALSE, format = "{cli::pb_bar} {cli::pb_percent}  {cli::pb_extra$text}",
    extra = list(text = "")
  )
  function(state) {
    if (is.null(state)) {
      return(cli::cli_progress_done(id = bar))
    }
    step <- min(state$step, started$n_steps)
    cli::cli_progress_update(id = bar, set = step, extra = list(text = progress_text(state)))
  }
}

progress_lines <- function(started) {
  every <- max(1L, ceiling(started$n_epochs / 10))
  said <- 0L
  last <- environment()
  function(state) {
    if (is.null(state)) {
      return(invisible())
    }
    due <- state$epoch %/% every > last$said %/% every
    ended <- state$state != "running" && state$epoch > last$said
    if (state$epoch > 0 && (due || ended)) {
      inform_latome(progress_text(state))
      assign("said", state$epoch, envir = last)
    }
  }
}

headline <- function(started) {
  paste(
    started$title, paste(count_of(started$n_cells, "cell"), "x", count_of(started$n_genes, "gene")),
    count_of(started$n_batch, "batch", "batches"),
    paste0(started$device, ", ", count_of(started$threads, "thread")),
    sep = " | "
  )
}

progress_text <- function(state) {
  paste(c(
    paste0("epoch ", state$epoch, "/", state$n_epochs),
    if (is_number(state$elbo)) paste("elbo", one_decimal(state$elbo)),
    if (is_number(state$elbo_validation)) paste("validation", one_decimal(state$elbo_validation)),
    duration(state$seconds)
  ), collapse = "  ")
}

one_decimal <- function(x) format(round(x, 1), nsmall = 1, big.mark = ",")

duration <- function(seconds) {
  if (!is_number(seconds)) {
    return(NULL)
  }
  if (seconds < 60) {
    return(paste0(one_decimal(seconds), "s"))
  }
  minutes <- seconds %/% 60
  if (minutes < 60) {
    return(paste0(minutes, "m ", round(seconds %% 60), "s"))
  }
  paste0(minutes %/% 60, "h ", minutes %% 60, "m")
}

store <- function(object, fit, latent, verb, arguments, call) {
  name <- arguments$name
  place <- latent_place(object, name)
  if (is.null(place)) {                        # a matrix: the model is all there is to return
    fit$latent <- latent
    return(keep_weights(fit, name, arguments$keep_model, arguments$verbose, call))
  }
  assay <- fit$source$assay
  object <- put_latent(object, latent, name, assay)
  if (arguments$keep_model != "none") {
    fit <- keep_weights(fit, name, arguments$keep_model, arguments$verbose, call)
    object <- put_model(object, fit, name)
  }
  arguments$roles <- NULL
  object <- put_command(object, verb, c(arguments, unclass(arguments$training)), assay)
  model <- if (arguments$keep_model != "none") paste0(", model \"", name, "\" (see get_model())")
  inform_latome(paste0("Sets: ", place, model, "."), arguments$verbose)
  object
}
