#' Make the Python environment that the models need
#'
#' Creates a virtual environment and installs the engine's packages into it:
#' PyTorch, anndata and what they need, about 1 GB on disk. It says what it will
#' do, asks when R is interactive, and later sessions find the environment by
#' themselves. It is the only function of this package that installs anything.
#' (Where it was never called and no other Python fits, reticulate 1.41 or later
#' prepares one in its cache when a model is first run;
#' `RETICULATE_USE_MANAGED_VENV=no` prevents that.)
#'
#' @param path folder of the environment.
#' @param python the Python (3.10 or later) to make it with; by default the
#'   newest one found.
#' @param torch what to ask pip for, such as `"torch==2.5.1"`.
#' @param torch_index where to get PyTorch from: `"cpu"` for PyTorch's own
#'   builds for the processor (the default: small), `"cuda"` for the builds of
#'   PyPI, which use an NVIDIA GPU on Linux, or the address of another index.
#'   `NULL` leaves it to pip's configuration.
#' @param pip_arguments further arguments for pip.
#' @param ask ask before starting?
#' @param force start afresh when there is an environment already?
#' @return The path of the environment's Python, invisibly.
#' @seealso [latome_status()]
#' @export
#' @examplesIf interactive()
#' install_latome()
install_latome <- function(path = getOption("latome.environment"), python = NULL, torch = "torch",
                           torch_index = "cpu", pip_arguments = character(),
                           ask = interactive(), force = FALSE) {
  call <- rlang::current_env()
  check_string(torch)
  check_flag(ask)
  check_flag(force)
  path <- path.expand(check_string(path, null = TRUE) %||% latome_environment())
  python <- base_python(python, call)
  index <- torch_index_arguments(check_string(torch_index, null = TRUE))
  packages <- requirement_strings()[-1L]

  inform_latome(c("latome will make a Python environment:",
    "*" = paste("with", python), "*" = paste("in", path),
    "*" = paste("holding", paste(c(torch, packages), collapse = ", "))))
  if (ask && !isTRUE(utils::askYesNo("Go on?"))) {
    return(invisible(NULL))
  }
  if (force) unlink(path, recursive = TRUE)
  inside <- make_environment(python, path, call)
  pip <- c("-m", "pip", "install", "--disable-pip-version-check", "--no-input", shQuote(pip_arguments))
  run_step(inside, c(pip, shQuote(torch), index), "install PyTorch", call)
  run_step(inside, c(pip, shQuote(c(torch, packages)), index), "install the other packages", call)
  problem <- python_problem(list(path = inside, how = "install_latome()"))
  if (!is.null(problem)) {
    abort_latome(problem$problem, problem$hint, kind = "EngineError", field = "path", call = call)
  }
  finish_installation(path, inside)
  invisible(inside)
}

#' An environment with pip in it; one that could only be half made is not left behind.
#' @return the path of its Python
#' @noRd
make_environment <- function(python, path, call) {
  inside <- environment_python(path)
  if (file.exists(inside) && !is.null(run_python(inside, c("-m", "pip", "--version")))) {
    return(inside)
  }
  keep <- dir.exists(path)
  on.exit(if (!keep) unlink(path, recursive = TRUE))
  run_step(python, c("-m", "venv", shQuote(path)), "make the environment", call)
  keep <- TRUE
  inside
}

finish_installation <- function(path, inside) {
  default <- identical(normalizePath(path), normalizePath(latome_environment(), mustWork = FALSE))
  inform_latome(c("Done.",
    i = if (!default) paste0("In later sessions first call options(latome.environment = \"", path, "\")."),
    i = if (python_running()) "Restart R: another Python runs in this session already.",
    i = if (nzchar(Sys.getenv("RETICULATE_PYTHON"))) "RETICULATE_PYTHON is set and goes before it."
  ))
}

#' The Python to make the environment with.
#' @noRd
base_python <- function(python, call) {
  if (!is.null(python)) {
    check_string(python, call = call)
    candidates <- python
  } else {
    candidates <- Sys.which(c(paste0("python3.", 13:10), "python3", "python"))
    candidates <- candidates[nzchar(candidates)]
  }
  for (candidate in candidates) {
    versions <- probe_python(path.expand(candidate))
    if (!is.null(versions) && package_version(versions$python) >= "3.10") {
      return(path.expand(candidate))
    }
  }
  tried <- if (length(candidates)) paste0(" among: ", quoted(candidates)) else " on the search path"
  abort_latome(
    paste0("There is no Python 3.10 or later", tried, "."),
    "Install it (Debian: apt install python3-venv; else from python.org), or give its path as `python`.",
    kind = "EngineError", field = "python", call = call
  )
}

torch_index_arguments <- function(torch_index) {
  if (is.null(torch_index) || torch_index == "cuda") {
    return(character())
  }
  if (torch_index == "cpu") {
    if (Sys.info()[["sysname"]] == "Darwin") {
      return(character())                      # PyPI's builds for macOS are small already
    }
    torch_index <- "https://download.pytorch.org/whl/cpu"
  }
  c("--extra-index-url", shQuote(torch_index))
}

run_step <- function(python, arguments, what, call) {
  inform_latome(paste0("latome: ", what, " ..."))
  log <- tempfile(fileext = ".log")
  on.exit(unlink(log))
  status <- suppressWarnings(
    system2(python, arguments, stdout = log, stderr = log, env = clean_environment())
  )
  if (status != 0L) {
    lines <- utils::tail(readLines(log, warn = FALSE), 8L)
    abort_latome(c(paste0("Could not ", what, "; the last lines said:"), paste0("  ", lines)),
      "On Debian and Ubuntu a virtual environment needs: apt install python3-venv. pip needs the network.",
      kind = "EngineError", field = "path", call = call)
  }
}
