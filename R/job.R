#' Train on another machine, or on many
#'
#' `write_job()` writes counts and request of a training into a folder; a
#' cluster runs it with the command line of the engine, on one process or on
#' several; `read_job()` puts the results back into the object, as `run_*()`
#' would have done.
#'
#' @section Running it:
#' The folder goes to the machine that shall train (or lies where that machine sees it). There
#' the engine must be installed (`pip install` of the folder `python` of this
#' package, or the environment of [install_latome()]). Then
#'
#' ```
#' latome train FOLDER                                   # one process
#' torchrun --nproc-per-node 4 -m latome train FOLDER    # four, on one machine; torchrun --help for more
#' latome de FOLDER --group-by cell_type                 # afterwards: a table of differential expression
#' latome map FOLDER                                     # of a job written with a model
#' ```
#'
#' Several processes train one model: each sees its share of the cells of a step,
#' so a step has `batch_size` cells *for each process*, and the result is that of one
#' process at the larger batch, up to rounding and the units that dropout drops.
#' Each process has a GPU of its own where there are any. The folder must lie
#' where all of them see it.
#'
#' A cluster that takes the machine away says so by SIGTERM. Training then stops
#' after the current step, writes where it is, and ends with status 75 (torchrun itself
#' ends with 1, whatever happened). The same command, given again to as many
#' processes, goes on as if nothing had happened. `state.json` and `log.txt` in the
#' folder tell how far it is.
#'
#' @param object a Seurat object, a SingleCellExperiment, a matrix of counts (genes x
#'   cells) or a store (see [prepare_store()]). For `read_job()` that from which
#'   the job was written; cells are matched by name.
#' @param folder the folder of the job. `write_job()` makes it; it must not exist.
#' @param model short name of the model to train, such as `"scvi"`; or a trained
#'   model, onto which the cells of `object` shall be mapped.
#' @param ... for `write_job()` the arguments of the model's `run_*()`, such as `batch`
#'   and `training` of [run_scvi()]; with a trained model only `assay`, `layer`,
#'   `coldata` and `allow_noninteger`. For `read_job()` nothing.
#' @param groups names of columns of groups to take along, for `latome de`.
#' @param name name under which the results are stored; `NULL` for that given to
#'   `write_job()`.
#' @param keep_model where the model is kept, see [run_scvi()].
#' @param verbose say what to run, and what was stored?
#' @return `write_job()` returns the folder, invisibly. `read_job()` returns the object
#'   with the results, or of a matrix or store the model, as [run_scvi()] does; a table
#'   made by `latome de` is read by [get_de()], under the same name.
#' @export
#' @examplesIf latome_available() && requireNamespace("processx", quietly = TRUE)
#' counts <- matrix(rpois(2000, 2), 40, 50, dimnames = list(paste0("g", 1:40), paste0("c", 1:50)))
#' folder <- tempfile("job")
#' write_job(counts, folder, training = training_options(max_epochs = 3, threads = 1))
#'
#' # what a cluster would do
#' python <- reticulate::py_exe()
#' engine <- c("current", PYTHONPATH = system.file("python", package = "latome"), LD_LIBRARY_PATH = "")
#' processx::run(python, c("-m", "latome", "train", folder), env = engine)$stdout
#'
#' read_job(counts, folder)
write_job <- function(object, folder, model = "scvi", ..., groups = NULL, verbose = TRUE) {
  call <- rlang::current_env()
  check_string(folder)
  check_flag(verbose)
  groups <- check_names(groups)
  folder <- normalizePath(folder, mustWork = FALSE)
  if (file.exists(folder)) {
    abort_latome(paste0("'", folder, "' exists already."), "Name a folder that does not.", kind = "ArchiveError",
      field = "folder", call = call)
  }
  job <- if (inherits(model, "latome_model")) {
    job_to_map(object, model, folder, list(...), call)
  } else {
    job_to_train(object, check_choice(model, trainable()), folder, list(...), groups, verbose, call)
  }
  inform_latome(c(
    paste0("Wrote ", folder, ": ", count_of(job$n_cells, "cell"), " x ", count_of(job$n_genes, "gene"), "."),
    i = paste0("Run there: latome ", job$verb, " ", shQuote(folder)),
    i = paste0("On several processes: torchrun --nproc-per-node 4 -m latome ", job$verb, " ", shQuote(folder)),
    i = paste0("Then: read_job(object, ", deparse(folder), ")")
  ), verbose)
  invisible(folder)
}

#' Models that have a run_*().
#' @noRd
trainable <- function() {
  kinds <- sub("^run_", "", grep("^run_[a-z]+$", getNamespaceExports("latome"), value = TRUE))
  Filter(has_latent, kinds)                    # the others do more than train one model on all cells
}

job_to_train <- function(object, kind, folder, arguments, groups, verbose, call) {
  asked <- arguments_of(kind, object, arguments)
  arguments <- check_run(utils::modifyList(asked$arguments, list(verbose = verbose)), call)
  arguments$allow_noninteger <- arguments$allow_noninteger || identical(asked$settings$gene_likelihood, "normal")
  make <- if (is_store(object)) store_to_train else cells_to_train
  ready <- make(object, arguments, call, groups = groups)
  note <- Filter(Negate(is.null), c(list(name = arguments$name), ready$source))
  request("write_job", ready$data, folder, kind, as_python_dict(asked$settings), as_python_roles(arguments$roles),
    as_python_dict(unclass(arguments$training)), arguments$seed, arguments$allow_noninteger,
    as_python_strings(groups), note, call = call)
}

#' The arguments of a run_*(), checked by it, without running it.
#' @noRd
arguments_of <- function(kind, object, arguments) {
  verb <- paste0("run_", kind)
  run <- getExportedValue("latome", verb)
  environment(run) <- rlang::new_environment(
    list(run_model = function(kind, object, settings, arguments, call) list(settings = settings, arguments = arguments)),
    parent = asNamespace("latome")
  )
  here <- rlang::new_environment(rlang::set_names(list(run, object), c(verb, "object")), parent = baseenv())
  rlang::eval_bare(rlang::call2(verb, quote(object), !!!arguments), here)
}

job_to_map <- function(object, model, folder, arguments, call) {
  arguments <- check_passed_on(arguments, c("assay", "layer", "coldata", "allow_noninteger"), call)
  fractions <- arguments$allow_noninteger %||% takes_fractions(model)
  asked <- open_query(object, model, NULL, counts_in(arguments$assay, arguments$layer, arguments$coldata, fractions), call)
  if (asked$stored) {
    abort_latome("The object holds no counts to map.", "Give the object as it was before minify_counts().",
      kind = "QueryError", field = "object", call = call)
  }
  note <- Filter(Negate(is.null), c(list(name = model$kind), model$source))
  request("write_job", asked$data, folder, model$kind, as_python_dict(list()), NULL, as_python_dict(list()), model$seed,
    fractions, NULL, note, model$document, asked$weights, call = call)
}

#' @rdname write_job
#' @export
read_job <- function(object, folder, ..., name = NULL, keep_model = "auto", verbose = TRUE) {
  check_no_dots(..., known = names(formals(read_job)))
  call <- rlang::current_env()
  check_string(folder)
  check_flag(verbose)
  check_choice(keep_model, c("auto", "object", "file", "none"))
  found <- request("read_job", normalizePath(folder, mustWork = FALSE), call = call)
  name <- check_result_name(name %||% found$note$name %||% found$summary$kind, "name", call)
  check_places(object, found$summary$kind, name, call)
  latent <- name_latent(found$latent, as.character(unlist(found$cells)))
  latent <- latent[match_job(object, rownames(latent), call), , drop = FALSE]
  where <- intersect(names(found$note), c("assay", "layer", "allow_noninteger"))
  fit <- new_model(found, source = found$note[where])
  arguments <- list(name = name, keep_model = keep_model, verbose = verbose, training = list(), folder = folder)
  results <- c(list(latent = latent), job_results(object, fit, name, call))
  object <- store(object, fit, results, "read_job", arguments, call)
  if (is.null(found$table) || !inherits(object, c("Seurat", "SingleCellExperiment"))) {
    return(object)
  }
  kept <- get_kept(object, call)
  kept$de[[name]] <- order_de(as_table(found$table))
  inform_latome(paste0("Sets: table \"", name, "\" (see get_de())."), verbose)
  put_kept(object, kept)
}

#' What the model of a job gives beside the latent; of the cells of a matrix only what needs no columns of theirs.
#' @noRd
job_results <- function(object, fit, name, call) {
  more <- after_training(fit$kind)
  of_cells <- !is.null(result_names(fit$kind, name)$coldata)
  if (is.null(more) || (of_cells && !can_hold(object))) {
    return(NULL)
  }
  asked <- if (of_cells) open_query(object, fit, NULL, fit$source, call) else list(fit = fit, weights = fit$weights)
  more(asked, name, call)
}

#' Names of the cells of an object, each of which must be in the job.
#' @noRd
match_job <- function(object, known, call) {
  cells <- if (is_store(object)) open_store(if (is_string(object)) object else object$path, FALSE)$cells else colnames(object)
  cells <- cells %||% as.character(seq_len(ncol(object)))
  other <- setdiff(cells, known)
  if (length(other)) {
    abort_latome(
      paste0(count_of(length(other)), " of the ", count_of(length(cells), "cell"), " of the object are not in the job: ",
        quoted(other, 3L), "."),
      paste0("Give the object from which the job was written; its cells are named like ", quoted(known, 2L), "."),
      kind = "QueryError", field = "object", call = call
    )
  }
  cells
}
