# Models of several objects in one: after merge(), and after a change of container.

#' Carry models over from other objects
#'
#' `merge()` of Seurat objects keeps counts and cell data and drops what else the objects hold, their models among it;
#' so does a change of container such as `as.SingleCellExperiment()`. `carry_models()` puts the models back: those of
#' `from` into `object`, and with them the tables of [add_differential_expression()] and what [run_solo()] found.
#'
#' `cbind()` of SingleCellExperiments and what subsets an object (`x[, cells]`, `subset()`) keep the models by
#' themselves. No latent is put back: [latent_representation()] gives it, for the cells that a model was trained on as
#' for others.
#'
#' @param object a Seurat object or a SingleCellExperiment.
#' @param from what carries the models: an object, or a list of objects; or models, a named list of them, such as
#'   those of [load_model()].
#' @param verbose say which models the object carries now?
#' @return The object with the models, under the names that they had; of two different ones of a name the second gets a
#'   number (`scvi`, `scvi.1`).
#' @seealso [get_model()]
#' @export
#' @examplesIf latome_available() && requireNamespace("SeuratObject", quietly = TRUE)
#' quick <- training_options(max_epochs = 2, threads = 2)
#' one <- run_scvi(SeuratObject::pbmc_small[, 1:40], training = quick, verbose = FALSE)
#' two <- run_scvi(SeuratObject::pbmc_small[, 41:80], training = quick, seed = 1, verbose = FALSE)
#' both <- carry_models(merge(one, two), list(one, two))
#' get_model(both, "scvi.1")
carry_models <- function(object, from, verbose = TRUE) {
  call <- rlang::current_env()
  check_flag(verbose)
  if (!can_hold(object)) no_place(object, call)
  parts <- lapply(unname(carriers(from, call)), get_kept, call = call)
  kept <- join_kept(c(list(get_kept(object, call)), parts))
  kept$columns <- intersect(kept$columns, coldata_names(object))
  inform_latome(paste0("Carries ", count_of(length(kept$models), "model"),
    if (length(kept$models)) paste0(": ", quoted(names(kept$models), 8L)), "."), verbose)
  put_kept(object, kept)
}

#' What `from` names: a list of objects; models as an object would hold them.
#' @noRd
carriers <- function(from, call) {
  if (can_hold(from)) {
    return(list(from))
  }
  are <- function(what) is.list(from) && length(from) > 0L && all(vapply(from, what, NA))
  if (are(can_hold)) {
    return(from)
  }
  if (!are(function(one) inherits(one, "latome_model")) || is.null(names(from)) || !all(nzchar(names(from)))) {
    abort_supplied("from", "an object, a list of objects, or a named list of models", from, call)
  }
  for (name in names(from)) check_result_name(name, "from", call)
  list(structure(list(models = from), class = "latome_carrier"))
}

#' @export
#' @noRd
get_kept.latome_carrier <- function(object, call = rlang::caller_env()) unclass(object)

#' What several objects keep, as one keeps it; see get_kept().
#' @noRd
join_kept <- function(parts) {
  further <- function(held, part) c(held, Filter(function(one) !any(vapply(held, identical, NA, one)), part))
  named <- function(what) {
    found <- Reduce(further, lapply(parts, `[[`, what))
    if (length(found)) stats::setNames(found, make.unique(names(found)))
  }
  ours <- function(what) unique(unlist(lapply(parts, `[[`, what)))
  Filter(Negate(is.null), list(
    models = named("models"), de = named("de"), doublets = named("doublets"), written = ours("written"),
    columns = ours("columns"), features = ours("features")
  ))
}
