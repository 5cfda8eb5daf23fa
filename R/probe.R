# What a Python has, asked of a process of its own, and the one command that mends it.

#' Python packages that the engine imports, with the least version of each.
#' @noRd
engine_requirements <- function() {
  c(torch = "2.4", anndata = "0.10", numpy = "1.26", pandas = "0", scipy = "0", safetensors = "0.4")
}

#' What is wrong with a Python, and the one command that mends it; NULL where all is well.
#'
#' @param inside is it to run inside R?
#' @noRd
python_problem <- function(python, inside = TRUE) {
  if (is.null(python$path)) {
    if (inside && python$how == "py_require()") {
      return(NULL)
    }
    return(list(problem = "No Python was found.", hint = "Run latome::install_latome()."))
  }
  versions <- probe_python(python$path)
  if (is.null(versions)) {
    return(list(
      problem = paste0("There is no working Python at '", python$path, "' (", python$how, ")."),
      hint = mend(python)
    ))
  }
  faults <- version_faults(versions, inside)
  if (length(faults)) {
    return(list(
      problem = paste0("The Python at '", python$path, "' (", python$how, ") ",
        paste(faults, collapse = "; "), "."),
      hint = mend(python, versions)
    ))
  }
  NULL
}

version_faults <- function(versions, inside = TRUE) {
  faults <- character()
  if (package_version(versions$python) < "3.10") {
    faults <- paste0("is version ", versions$python, ", the engine needs 3.10 or later")
  }
  least <- engine_requirements()
  missing <- setdiff(names(least), names(Filter(Negate(is.null), versions$packages)))
  if (length(missing)) {
    lacks <- if (length(missing) == 1L) "lacks the package" else "lacks the packages"
    faults <- c(faults, paste(lacks, paste(missing, collapse = ", ")))
  }
  for (name in setdiff(names(least), missing)) {
    found <- versions$packages[[name]]
    if (numeric_part(found) < least[[name]]) {
      faults <- c(faults, paste0("has ", name, " ", found, ", the engine needs ", least[[name]], " or later"))
    }
  }
  numpy <- versions$packages[["numpy"]]
  if (inside && !is.null(numpy) && numeric_part(numpy) >= "2" && needs_old_numpy()) {
    faults <- c(faults, paste0("has numpy ", numpy, ", which reticulate ",
      utils::packageVersion("reticulate"), " cannot exchange arrays with"))
  }
  faults
}

needs_old_numpy <- function() utils::packageVersion("reticulate") < "1.38"

numeric_part <- function(version) numeric_version(sub("^([0-9]+(\\.[0-9]+)*).*$", "\\1", version))

#' The one command that mends a Python: the user's own is added to, ours is made anew.
#'
#' @param versions as probe_python() returns them; NULL where it does not run
#' @noRd
mend <- function(python, versions = NULL, call = rlang::caller_env()) {
  if (python_running()) {
    if (has_processx() && asked_transport(call) != "in-process") {
      return(paste("Run latome::install_latome(); the engine then works in a process of its own, beside the Python",
        "that runs in this session."))
    }
    return(paste0("Restart R", if (nzchar(Sys.getenv("RETICULATE_PYTHON"))) ", unset RETICULATE_PYTHON",
      " and run latome::install_latome() before anything else uses reticulate."))
  }
  chosen <- !python$how %in% c("install_latome()", "found by reticulate")
  if (chosen && pip_mends(versions)) {
    return(paste0("Run in a terminal: \"", python$path, "\" -m pip install ",
      paste(shQuote(requirement_strings()), collapse = " ")))
  }
  switch(python$how,
    RETICULATE_PYTHON = "Run Sys.unsetenv(\"RETICULATE_PYTHON\"); latome::install_latome()",
    latome.python = "Run options(latome.python = NULL); latome::install_latome()",
    if (chosen) "Restart R and run latome::install_latome() in place of use_python()." else
      "Run latome::install_latome()."
  )
}

#' Not where Python itself is too old, nor where the system's packages are managed by others.
#' @noRd
pip_mends <- function(versions) {
  !is.null(versions) && package_version(versions$python) >= "3.10" && !identical(versions$prefix, "/usr")
}

requirement_strings <- function() {
  least <- engine_requirements()
  text <- ifelse(least == "0", names(least), paste0(names(least), ">=", least))
  if (needs_old_numpy()) text[names(least) == "numpy"] <- paste0("numpy>=", least[["numpy"]], ",<2")
  text
}

#' Versions of Python and packages, asked of a child process: nothing is bound, nothing imported.
#'
#' @return list: python, prefix, packages (named list of strings); NULL where it does not run
#' @noRd
probe_python <- function(path) {
  if (!nzchar(Sys.which(path))) {
    return(NULL)
  }
  code <- c(
    "import sys, importlib.metadata as m",
    "print('python', '.'.join(map(str, sys.version_info[:3])))",
    "print('prefix', sys.prefix)",
    "for name in sys.argv[1:]:",
    "    try: print(name, m.version(name))",
    "    except m.PackageNotFoundError: pass"
  )
  script <- tempfile(fileext = ".py")
  on.exit(unlink(script))
  writeLines(code, script)
  lines <- run_python(path, c(shQuote(script), names(engine_requirements())))
  if (is.null(lines) || !any(startsWith(lines, "python "))) {
    return(NULL)
  }
  values <- as.list(sub("^[^ ]+ ", "", lines))
  names(values) <- sub(" .*$", "", lines)
  list(python = values$python, prefix = values$prefix, packages = values[names(engine_requirements())])
}

#' Output lines of a Python process, or NULL. R's LD_LIBRARY_PATH could lend it a wrong libpython,
#' so it is taken away; some installations find theirs only by it, so it is tried with it too.
#' @noRd
run_python <- function(path, arguments) {
  run_once(path, arguments, clean_environment("LD_LIBRARY_PATH")) %||% run_once(path, arguments, character())
}

run_once <- function(path, arguments, environment) {
  lines <- tryCatch(
    suppressWarnings(system2(path, arguments, stdout = TRUE, stderr = FALSE, env = environment)),
    error = function(e) NULL
  )
  if (is.null(attr(lines, "status"))) lines
}

#' Variables set to nothing, as system2() takes them.
#' @noRd
clean_environment <- function(variables = c("LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME")) {
  if (.Platform$OS.type == "windows") character() else paste0(variables, "=")
}
