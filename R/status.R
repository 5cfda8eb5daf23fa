#' Is all well with Python?
#'
#' Starts the engine, if it can be started, and reports what it found; where
#' something is wrong, the report ends with the one command that mends it. Nothing
#' is installed or downloaded.
#'
#' @section Inside R, or in a process of its own:
#' The engine works inside R, through reticulate. Where that cannot be (another
#' Python runs in this session already; reticulate is too old for the Python's
#' NumPy; R cannot load the Python), latome says so and runs it in a process of
#' its own, with the same results: values then cross through files, progress and
#' Ctrl-C work as before, and when that process crashes or runs out of memory,
#' it is an R error, not the end of the session. `options(latome.transport =
#' "process")` asks for it, `"in-process"` forbids it; [as_anndata()] and
#' [latome_python()] need the engine inside R.
#'
#' @return A list of class `latome_status`: `ok`, `problem`, `hint`, and what was
#'   found: `transport` ("in-process" or "process", and `reason` where it had to be), `python`, `how`,
#'   `versions`, `threads`, `devices`, and `kernels`: "compiled" and
#'   the processor's instructions they use, or "torch operations", which give the same results
#'   more slowly, and why.
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
    status$transport <- engine()
    status$reason <- if (status$transport == "process") session$reason
    status$how <- (if (status$transport == "process") session$outside else session$python)$how
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
  if (!engine_started() && plan_engine(call)$python$how == "py_require()") {
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
    place <- if (x$transport == "process") "in a process of its own" else "inside R"
    cat("Runs:    ", place, if (!is.null(x$reason)) paste0(" (", x$reason, ")"), "\n", sep = "")
    cat("Device:  ", paste(unlist(x$devices), collapse = ", "), " | ", count_of(x$threads, "thread"), "\n", sep = "")
    cat("Kernels: ", x$kernels, "\n", sep = "")
  }
  if (is.null(x$problem)) cat("All is well.\n") else cat("Problem: ", x$problem, "\n", sep = "")
  if (length(x$hint)) cat("To mend: ", paste(x$hint, collapse = "\n         "), "\n", sep = "")
  invisible(x)
}
