#' Is all well with Python?
#'
#' Starts the engine, if it can be started, and reports what it found; where
#' something is wrong, the report ends with the command that mends it. Nothing
#' is installed or downloaded.
#'
#' @return A list of class `latome_status`: `ok`, `problem`, `hint`, and what was
#'   found (`python`, `how`, `versions`, `threads`, `devices`, and `kernels`: "compiled" and
#'   the processor's instructions they use, or "torch operations", which give the same results
#'   more slowly, and why).
#' @seealso [install_latome()]
#' @export
#' @examples
#' latome_status()
latome_status <- function() {
  status <- list(
    ok = FALSE, problem = NULL, hint = NULL, latome = as.character(utils::packageVersion("latome")),
    r = as.character(getRversion()), reticulate = as.character(utils::packageVersion("reticulate"))
  )
  reply <- tryCatch(ask_status(), latome_error = function(error) error)
  if (inherits(reply, "latome_error")) {
    status$problem <- reply$problem
    status$hint <- reply$hint
  } else {
    status$ok <- TRUE
    status$how <- session$python$how
    status$python <- reply$executable
    status$versions <- unlist(reply[c("python", "torch", "numpy", "anndata", "safetensors")])
    status[c("threads", "devices", "kernels")] <- reply[c("threads", "devices", "kernels")]
    if (isTRUE(reply$borrowed_blas)) {
      status$problem <- "torch was loaded before latome and uses R's BLAS: training may be many times slower."
      status$hint <- "Restart R and start latome before other packages that use torch."
    }
  }
  structure(status, class = "latome_status")
}

#' The engine's own report. A report downloads nothing: where only reticulate could prepare a
#' Python, that is left to the first model.
#' @noRd
ask_status <- function(call = rlang::caller_env()) {
  if (is.null(session$bridge) && find_python(call)$how == "py_require()") {
    abort_latome("No Python with the engine's packages was found.",
      c("Run latome::install_latome().", "Without it, reticulate prepares one when a model is first run."),
      kind = "EngineError", field = "python", call = call)
  }
  request("status", call = call)
}

#' @rdname latome_status
#' @param x a `latome_status`.
#' @param ... not used.
#' @method print latome_status
#' @export
print.latome_status <- function(x, ...) {
  cat("latome ", x$latome, " | R ", x$r, " | reticulate ", x$reticulate, "\n", sep = "")
  if (x$ok) {
    cat("Python:  ", x$python, " (", x$how, ")\n", sep = "")
    cat("         ", paste(names(x$versions), x$versions, collapse = ", "), "\n", sep = "")
    cat("Device:  ", paste(unlist(x$devices), collapse = ", "), " | ", count_of(x$threads, "thread"), "\n", sep = "")
    cat("Kernels: ", x$kernels, "\n", sep = "")
  }
  if (is.null(x$problem)) cat("All is well.\n") else cat("Problem: ", x$problem, "\n", sep = "")
  if (length(x$hint)) cat("To mend: ", paste(x$hint, collapse = "\n         "), "\n", sep = "")
  invisible(x)
}
