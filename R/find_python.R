# Which Python: found without starting it.

#' Which Python to use, found without starting it.
#'
#' @return list: path (NULL where reticulate is to make one), how
#' @noRd
find_python <- function(call = rlang::caller_env()) {
  if (python_running()) {
    return(list(path = reticulate::py_config()$python, how = "already running in this session"))
  }
  first <- asked_python(call) %||% option_python() %||% installed_python()
  if (!is.null(first)) {
    return(first)
  }
  found <- discover_python()
  usable <- !is.null(found) && is.null(python_problem(list(path = found$python, how = "found")))
  if (!usable && can_require()) {
    return(list(path = NULL, how = "py_require()"))
  }
  list(path = found$python, how = "found by reticulate")
}

python_running <- function() reticulate::py_available(initialize = FALSE)

#' RETICULATE_PYTHON, or what use_python() and its like asked for in this session.
#' @noRd
asked_python <- function(call) {
  path <- Sys.getenv("RETICULATE_PYTHON")
  if (nzchar(path) && path != "managed") {
    return(list(path = path.expand(path), how = "RETICULATE_PYTHON"))
  }
  found <- discover_python()
  if (is.null(found$forced)) NULL else list(path = found$python, how = found$forced)
}

option_python <- function() {
  option <- getOption("latome.python")
  if (!is.null(option)) list(path = path.expand(option), how = "latome.python")
}

installed_python <- function() {
  installed <- environment_python(latome_environment())
  if (file.exists(installed)) list(path = installed, how = "install_latome()")
}

#' Pythons beside the one that runs in this session, which cannot be changed any more.
#' @noRd
other_pythons <- function(call) {
  searched <- discover_python()
  Filter(Negate(is.null), list(asked_python(call), option_python(), installed_python(),
    if (!is.null(searched)) list(path = searched$python, how = "found by reticulate")))
}

#' reticulate's own search; it starts nothing. NULL where it finds none or fails.
#' @noRd
discover_python <- function() {
  suppressWarnings(tryCatch(reticulate::py_discover_config("torch"), error = function(e) NULL))
}

can_require <- function() {
  utils::packageVersion("reticulate") >= "1.41" &&
    !tolower(Sys.getenv("RETICULATE_USE_MANAGED_VENV")) %in% c("no", "false", "0")
}

require_python <- function() {
  inform_latome(c("No Python with the engine's packages was found; reticulate prepares one.",
    i = "The first time takes some minutes. install_latome() makes a lasting one instead."))
  getExportedValue("reticulate", "py_require")(requirement_strings(), python_version = ">=3.10")
}

#' Does reticulate use this Python without being told?
#' @noRd
is_bound <- function(python) {
  !python$how %in% c("latome.python", "install_latome()", "found by reticulate")
}

latome_environment <- function() {
  getOption("latome.environment", file.path(tools::R_user_dir("latome", "data"), "python"))
}

environment_python <- function(folder) {
  if (.Platform$OS.type == "windows") {
    file.path(folder, "Scripts", "python.exe")
  } else {
    file.path(folder, "bin", "python")
  }
}
