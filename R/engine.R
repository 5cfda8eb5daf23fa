# Finding and starting the Python engine. Nothing here runs before it is first needed.

# What this session holds: the bridge module, the process that imported it, the Python chosen.
session <- new.env(parent = emptyenv())

#' Python packages that the engine imports, with the least version of each.
#' @noRd
engine_requirements <- function() {
  c(torch = "2.4", anndata = "0.10", numpy = "1.26", pandas = "0", scipy = "0", safetensors = "0.4")
}

#' The bridge module, imported once. It must come before any array moves: reticulate 1.28
#' crashes when an array is its first request of Python.
#' @noRd
engine <- function(call = rlang::caller_env()) {
  if (is.null(session$bridge)) {
    start_engine(call)
  }
  if (!identical(session$pid, Sys.getpid())) {
    # After a fork torch's threads are gone, and a product would wait for them for ever.
    reticulate::import("torch", convert = FALSE)$set_num_threads(1L)
    session$pid <- Sys.getpid()
  }
  session$bridge
}

start_engine <- function(call) {
  python <- find_python(call)
  problem <- python_problem(python)
  if (!is.null(problem)) {
    abort_latome(problem$problem, problem$hint, kind = "EngineError", field = "python", call = call)
  }
  if (python$how == "py_require()") {
    require_python()
  } else if (!is_bound(python)) {
    reticulate::use_python(python$path, required = TRUE)
  }
  bridge <- tryCatch(
    import_bridge(),
    error = function(e) {
      text <- trimws(conditionMessage(e))
      abort_latome(paste0("The Python engine does not start: ", text), start_hint(text, python),
        kind = "EngineError", field = "python", call = call)
    }
  )
  session$python <- python
  session$pid <- Sys.getpid()
  session$bridge <- bridge
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
  reticulate::import_from_path("latome.bridge", path = engine_folder(), convert = FALSE)
}

#' The compiled kernels: in libs/ of an installed package, in src/ of a loaded checkout; NULL where
#' they did not compile.
#' @noRd
kernels_library <- function(package = find.package("latome")) {
  name <- paste0("latome", .Platform$dynlib.ext)
  found <- Find(file.exists, file.path(package, c(file.path("libs", .Platform$r_arch), "src"), name))
  if (!is.null(found)) normalizePath(found, "/")
}

#' Does reticulate use this Python without being told?
#' @noRd
is_bound <- function(python) {
  !python$how %in% c("latome.python", "install_latome()", "found by reticulate")
}

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

engine_folder <- function() system.file("python", package = "latome", mustWork = TRUE)

#' Which Python to use, found without starting it.
#'
#' @return list: path (NULL where reticulate is to make one), how
#' @noRd
find_python <- function(call = rlang::caller_env()) {
  if (python_running()) {
    return(list(path = reticulate::py_config()$python, how = "already running in this session"))
  }
  asked <- asked_python(call)
  if (!is.null(asked)) {
    return(asked)
  }
  option <- getOption("latome.python")
  if (!is.null(option)) {
    return(list(path = path.expand(option), how = "latome.python"))
  }
  installed <- environment_python(latome_environment())
  if (file.exists(installed)) {
    return(list(path = installed, how = "install_latome()"))
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

#' reticulate's own search; it starts nothing. NULL where it finds none or fails.
#' @noRd
discover_python <- function() {
  tryCatch(reticulate::py_discover_config("torch"), error = function(e) NULL)
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

#' What is wrong with a Python, and the one command that mends it; NULL where all is well.
#' @noRd
python_problem <- function(python) {
  if (is.null(python$path)) {
    if (python$how == "py_require()") {
      return(NULL)
    }
    return(list(problem = "No Python was found.", hint = "Run latome::install_latome()."))
  }
  versions <- probe_python(python$path)
  if (is.null(versions)) {
    return(list(
      problem = paste0("There is no working Python at '", python$path, "' (", python$how, ")."),
      hint = mend(python, "")
    ))
  }
  faults <- version_faults(versions)
  if (length(faults)) {
    return(list(
      problem = paste0("The Python at '", python$path, "' (", python$how, ") ",
        paste(faults, collapse = "; "), "."),
      hint = mend(python, versions$prefix)
    ))
  }
  NULL
}

version_faults <- function(versions) {
  faults <- character()
  if (package_version(versions$python) < "3.10") {
    faults <- paste0("is version ", versions$python, ", the engine needs 3.10 or later")
  }
  least <- engine_requirements()
  missing <- setdiff(names(least), names(Filter(Negate(is.null), versions$packages)))
  if (length(missing)) faults <- c(faults, paste("lacks the packages", paste(missing, collapse = ", ")))
  for (name in setdiff(names(least), missing)) {
    found <- versions$packages[[name]]
    if (numeric_part(found) < least[[name]]) {
      faults <- c(faults, paste0("has ", name, " ", found, ", the engine needs ", least[[name]], " or later"))
    }
  }
  numpy <- versions$packages[["numpy"]]
  if (!is.null(numpy) && numeric_part(numpy) >= "2" && needs_old_numpy()) {
    faults <- c(faults, paste0("has numpy ", numpy, ", which reticulate ",
      utils::packageVersion("reticulate"), " cannot exchange arrays with"))
  }
  faults
}

needs_old_numpy <- function() utils::packageVersion("reticulate") < "1.38"

numeric_part <- function(version) numeric_version(sub("^([0-9]+(\\.[0-9]+)*).*$", "\\1", version))

#' The command that mends a Python: the user's own is added to, ours is made anew.
#' @noRd
mend <- function(python, prefix) {
  if (python_running()) {
    return(paste0("A Python cannot be changed once it runs. Restart R",
      if (nzchar(Sys.getenv("RETICULATE_PYTHON"))) ", unset RETICULATE_PYTHON",
      " and call latome::install_latome() before anything else uses reticulate."))
  }
  if (python$how == "RETICULATE_PYTHON" && nzchar(prefix)) {
    return(paste0("Run in a terminal: \"", python$path, "\" -m pip install ",
      paste(shQuote(requirement_strings()), collapse = " "),
      "; or unset RETICULATE_PYTHON and run latome::install_latome()."))
  }
  if (python$how == "RETICULATE_PYTHON") {
    return("Run Sys.unsetenv(\"RETICULATE_PYTHON\"), then latome::install_latome().")
  }
  "Run latome::install_latome()."
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
  for (environment in list(clean_environment("LD_LIBRARY_PATH"), character())) {
    lines <- tryCatch(
      suppressWarnings(system2(path, arguments, stdout = TRUE, stderr = FALSE, env = environment)),
      error = function(e) NULL
    )
    if (!is.null(lines) && is.null(attr(lines, "status"))) {
      return(lines)
    }
  }
  NULL
}

#' Variables set to nothing, as system2() takes them.
#' @noRd
clean_environment <- function(variables = c("LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME")) {
  if (.Platform$OS.type == "windows") character() else paste0(variables, "=")
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

#' Can the engine start here?
#'
#' Looks for a Python with the engine's packages without starting it.
#'
#' @return `TRUE` or `FALSE`.
#' @export
#' @examples
#' latome_available()
latome_available <- function() {
  if (!is.null(session$bridge)) {
    return(TRUE)
  }
  python <- tryCatch(find_python(), error = function(e) NULL)
  !is.null(python$path) && is.null(python_problem(python))
}

#' The engine as a Python module
#'
#' For those who want to go deeper: the Python package `latome`, whose
#' `model$SCVI` reads like scvi-tools.
#'
#' @param convert turn results into R values? `FALSE` keeps Python objects.
#' @return A Python module (see [reticulate::import()]).
#' @seealso [as_anndata()]
#' @export
#' @examplesIf latome_available()
#' latome_python()$`__version__`
latome_python <- function(convert = TRUE) {
  check_flag(convert)
  engine()
  reticulate::import_from_path("latome", path = engine_folder(), convert = convert)
}
