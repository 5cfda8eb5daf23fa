#' Save a model as a folder, and read one
#'
#' The folder holds `model.safetensors` (the weights) and `model.json` (all
#' else), and Python reads it too: `latome.model.SCVI.load()`. Inside R,
#' [saveRDS()] on a model does as well.
#'
#' @param x a trained model, or an object that carries one.
#' @param path the folder.
#' @param model name of the model in `x`; `NULL` where there is only one.
#' @param overwrite replace a model that is there already?
#' @return `save_model()` returns `path` invisibly, `load_model()` and
#'   `read_scvi_tools()` a `latome_model`.
#' @export
#' @examplesIf latome_available()
#' counts <- matrix(rpois(2000, 2), 40, 50, dimnames = list(paste0("g", 1:40), paste0("c", 1:50)))
#' fit <- run_scvi(counts, training = training_options(max_epochs = 3, threads = 2), verbose = FALSE)
#' folder <- save_model(fit, file.path(tempdir(), "my-model"))
#' load_model(folder)
save_model <- function(x, path, model = NULL, overwrite = FALSE) {
  check_string(path)
  check_flag(overwrite)
  call <- rlang::current_env()
  invisible(write_folder(find_model(x, model, call), path, overwrite, call))
}

write_folder <- function(fit, path, overwrite, call) {
  path <- path.expand(path)
  request("write_model", fit$document, model_weights(fit, call), path, overwrite, call = call)
  normalizePath(path)
}

#' @rdname save_model
#' @export
load_model <- function(path) {
  read_folder(path, rlang::current_env())
}

#' @rdname save_model
#' @param dir a folder that scvi-tools saved (it holds `model.pt`, or before version
#'   0.15 `model_params.pt` and two files beside it). Nothing in
#'   it is executed: the file is read through a list of allowed types.
#' @export
read_scvi_tools <- function(dir) {
  call <- rlang::current_env()
  check_string(dir)
  if (dir.exists(dir) && !length(list.files(dir, "model(_params)?\\.pt$"))) {
    abort_latome(paste0("The folder '", dir, "' holds no model of scvi-tools (model.pt)."),
      if (file.exists(file.path(dir, "model.json"))) "It holds a model of latome: use load_model()." else "",
      kind = "ArchiveError", field = "dir", call = call)
  }
  read_folder(dir, call)
}

read_folder <- function(path, call) {
  check_string(path, arg = "path", call = call)
  path <- path.expand(path)
  if (!dir.exists(path)) {
    abort_latome(paste0("There is no folder '", path, "'."),
      if (file.exists(path)) "This is a file; an .rds file is read by readRDS()." else "",
      kind = "ArchiveError", field = "path", call = call)
  }
  new_model(request("read_model", path, call = call))
}
