# Starting the Python engine, inside R or in a process of its own. Nothing here runs before it is first needed.

# What this session holds: the transport that was found to work; of the engine inside R the bridge module, the R
# process that imported it and its Python; of the engine outside its process (see process.R), its Python and, where it
# was not asked for, the reason.
session <- new.env(parent = emptyenv())

#' The engine, started where it is not yet.
#'
#' @return the transport that reaches it: "in-process" or "process"
#' @noRd
engine <- function(call = rlang::caller_env()) {
  asked <- asked_transport(call)
  transport <- if (asked == "auto") session$transport else asked
  if (!identical(transport, "process")) check_folder_there(call)
  if (identical(transport, "in-process") && !is.null(session$bridge)) {
    settle_after_fork()
  } else if (identical(transport, "process") && !is.null(session$outside)) {
    if (!child_works()) start_child(session$outside, call)
  } else {
    transport <- start_engine(asked, call)
  }
  invisible(transport)
}

start_engine <- function(asked, call) {
  plan <- plan_engine(call)
  if (!is.null(plan$problem)) {
    abort_latome(plan$problem$problem, plan$problem$hint, kind = "EngineError", field = "python", call = call)
  }
  if (plan$transport == "in-process") {
    failure <- start_inside(plan$python)
    if (is.null(failure)) {
      return(use_transport("in-process", asked))
    }
    plan$python <- if (asked == "auto" && has_processx()) find_outside(plan$python, call)
    if (is.null(plan$python)) {
      abort_latome(failure$problem, failure$hint, kind = "EngineError", field = "python", call = call)
    }
    plan$reason <- failure$problem
  }
  if (!is.null(plan$reason)) {
    inform_latome(c(plan$reason, i = paste0("The engine works in a process of its own instead, with ",
      plan$python$path, " (", plan$python$how, ").")))
  }
  start_child(plan$python, call)
  session$reason <- plan$reason
  use_transport("process", asked)
}

#' What was found stays; what was asked for lasts as long as it is.
#' @noRd
use_transport <- function(transport, asked) {
  if (asked == "auto") session$transport <- transport
  transport
}

engine_started <- function() !is.null(session$bridge) || !is.null(session$outside)

#' Start the engine inside R. It must come before any array moves: reticulate 1.28 crashes when an array is its
#' first request of Python.
#'
#' @return NULL; or where it does not start, the problem and a hint
#' @noRd
start_inside <- function(python) {
  bridge <- tryCatch({
    if (python$how == "py_require()") {
      require_python()
    } else if (!is_bound(python)) {
      reticulate::use_python(python$path, required = TRUE)
    }
    import_bridge()
  }, error = identity)
  if (inherits(bridge, "error")) {
    text <- trimws(conditionMessage(bridge))
    return(list(problem = paste0("The Python engine does not start inside R: ", text), hint = start_hint(text, python)))
  }
  session$python <- python
  session$pid <- Sys.getpid()
  session$bridge <- bridge
  NULL
}

#' In a folder that is gone some libraries of torch end the process as they load.
#' @noRd
check_folder_there <- function(call) {
  if (is.null(getwd())) {
    abort_latome("The folder that R works in has been deleted.", "Go to one that is there: setwd(\"~\")",
      kind = "EngineError", field = "folder", call = call)
  }
}

#' After a fork torch's threads are gone, and a product would wait for them for ever.
#' @noRd
settle_after_fork <- function() {
  if (!identical(session$pid, Sys.getpid())) {
    reticulate::import("torch", convert = FALSE)$set_num_threads(1L)
    session$pid <- Sys.getpid()
  }
}

#' The bridge module, which looks for the compiled kernels as it is imported. Where they are is told
#' to Python's own environment, which does not see what Sys.setenv() does after Python has started,
#' and is not left there for other processes.
#' @noRd
import_bridge <- function(library = kernels_library()) {
  environment <- reticulate::import("os", convert = FALSE)$environ
  name <- "LATOME_KERNELS_LIBRARY"
  if (!is.null(library) && !reticulate::py_to_r(environment$`__contains__`(name))) {
    environment$`__setitem__`(name, library)
    on.exit(environment$pop(name, NULL))
  }
  look_here_last()
  reticulate::import_from_path("latome.bridge", path = engine_folder(), convert = FALSE)
}

#' Files in the folder that R is in must not stand for Python's packages: it goes to the end of Python's search path.
#' @noRd
look_here_last <- function() {
  sys <- reticulate::import("sys", convert = FALSE)
  path <- unlist(reticulate::py_to_r(sys$path))
  if ("" %in% path) reticulate::py_set_attr(sys, "path", as.list(c(setdiff(path, ""), "")))
}

#' The compiled kernels: in libs/ of an installed package, in src/ of a loaded checkout; NULL where
#' they did not compile.
#' @noRd
kernels_library <- function(package = find.package("latome")) {
  name <- paste0("latome", .Platform$dynlib.ext)
  found <- Find(file.exists, file.path(package, c(file.path("libs", .Platform$r_arch), "src"), name))
  if (!is.null(found)) normalizePath(found, "/")
}

engine_folder <- function() system.file("python", package = "latome", mustWork = TRUE)

#' What to do when a Python that looked right does not start inside R.
#' @noRd
start_hint <- function(text, python) {
  if (is.null(python$path)) {
    return("reticulate could not prepare a Python. Restart R and run latome::install_latome().")
  }
  if (grepl("shared library|libpython", text, ignore.case = TRUE)) {
    return(paste0("The Python at ", python$path, " has no shared library that R could load. On Debian and Ubuntu ",
      "install the one of its version, such as libpython3.11, with apt; then restart R."))
  }
  paste0("The Python is ", python$path, " (", python$how, "). Restart R and try that of ",
    "latome::install_latome(), or name another by options(latome.python = ).")
}

#' Can the engine start here?
#'
#' Looks for a Python with the engine's packages without starting it.
#'
#' @return `TRUE` or `FALSE`.
#' @export
#' @examples
#' latome_available()
latome_available <- function() {
  if (engine_started()) {
    return(TRUE)
  }
  plan <- tryCatch(plan_engine(), error = function(e) list(problem = e))
  is.null(plan$problem) && !is.null(plan$python$path)
}

#' The engine as a Python module
#'
#' For those who want to go deeper: the Python package `latome`, whose
#' `model$SCVI` reads like scvi-tools. It needs the engine inside R (see
#' [latome_status()]).
#'
#' @param convert turn results into R values? `FALSE` keeps Python objects.
#' @return A Python module (see [reticulate::import()]).
#' @seealso [as_anndata()]
#' @export
#' @examplesIf latome_available() && latome_status()$transport == "in-process"
#' latome_python()$`__version__`
latome_python <- function(convert = TRUE) {
  check_flag(convert)
  check_inside("latome_python()", rlang::current_env())
  reticulate::import_from_path("latome", path = engine_folder(), convert = convert)
}
