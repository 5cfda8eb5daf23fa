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
#' @param torch_index where to get PyTorch from: `"auto"` looks for a working
#'   NVIDIA GPU (`nvidia-smi`), says what it found, and takes one of: `"cpu"`,
#'   PyTorch's own builds for the processor (small); `"cuda"`, the builds of
#'   PyPI, which use an NVIDIA GPU on Linux. Or the address of another index;
#'   `NULL` leaves it to pip's configuration.
#' @param method `"virtualenv"` (Python's own venv and pip), `"uv"` (faster; it
#'   can also bring a Python where there is none), or `"auto"`: uv where it is
#'   on the search path.
#' @param wheels a folder of wheels to install from, without any network (made
#'   elsewhere by `pip download` of the packages that this function names).
#' @param pip_arguments further arguments for pip.
#' @param ask ask before starting?
#' @param force start afresh when there is an environment already?
#' @return The path of the environment's Python, invisibly.
#' @seealso [latome_status()]
#' @export
#' @examplesIf interactive()
#' install_latome()
install_latome <- function(path = getOption("latome.environment"), python = NULL, torch = "torch",
                           torch_index = "auto", method = "auto", wheels = NULL, pip_arguments = character(),
                           ask = interactive(), force = FALSE) {
  call <- rlang::current_env()
  check_string(torch)
  check_flag(ask)
  check_flag(force)
  path <- path.expand(check_string(path, null = TRUE) %||% latome_environment())
  uv <- find_uv(check_choice(method, c("auto", "virtualenv", "uv")), call)
  python <- base_python(python, call, or_else = if (!is.null(uv)) "3.12")
  source <- check_wheels(wheels, torch, call) %||% torch_source(check_string(torch_index, null = TRUE))
  packages <- c(torch, requirement_strings()[-1L])

  inform_latome(c("latome will make a Python environment:",
    "*" = paste("with", python, if (is.null(uv)) "(venv and pip)" else "(uv)"), "*" = paste("in", path),
    "*" = paste("holding", paste(packages, collapse = ", ")), "*" = source$said, "!" = silent_index(source$address)))
  if (ask && !isTRUE(utils::askYesNo("Go on?"))) {
    return(invisible(NULL))
  }
  if (force) unlink(path, recursive = TRUE)
  inside <- fill_environment(python, path, uv, packages, c(source$arguments, shQuote(pip_arguments)), call,
    index = source$index)
  finish_installation(path, inside)
  invisible(inside)
}

#' Make the environment and install into it; one that could only be half made is not left behind.
#'
#' @param packages the first is PyTorch
#' @param arguments of pip, for all of them
#' @param index further ones for PyTorch, which is there when the others are looked for
#' @return the path of its Python
#' @noRd
fill_environment <- function(python, path, uv, packages, arguments, call, index = character()) {
  keep <- claim_folder(path, call)
  path <- normalizePath(path, "/")
  on.exit(if (!keep) unlink(path, recursive = TRUE))
  inside <- make_environment(python, path, uv, call)
  pip <- pip_command(inside, uv)
  run_step(pip$program, c(pip$arguments, shQuote(packages[[1L]]), arguments, index), "install PyTorch", call)
  run_step(pip$program, c(pip$arguments, shQuote(packages), arguments), "install the other packages", call)
  problem <- python_problem(list(path = inside, how = "install_latome()"))
  if (!is.null(problem)) {
    abort_latome(problem$problem, problem$hint, kind = "EngineError", field = "path", call = call)
  }
  keep <- TRUE
  inside
}

#' Can the environment be written there?
#' @return was there a folder before?
#' @noRd
claim_folder <- function(path, call) {
  existed <- dir.exists(path)
  dir.create(path, showWarnings = FALSE, recursive = TRUE)
  trial <- tempfile(tmpdir = path)
  if (!suppressWarnings(file.create(trial))) {
    if (!existed) unlink(path, recursive = TRUE)
    abort_latome(paste0("The folder '", path, "' cannot be written."),
      paste0("Choose another, here and in .Rprofile: options(latome.environment = \"/a/folder/of/yours\"); ",
        "then run latome::install_latome()."),
      kind = "EngineError", field = "path", call = call)
  }
  unlink(trial)
  existed
}

make_environment <- function(python, path, uv, call) {
  inside <- environment_python(path)
  if (file.exists(inside) && !is.null(run_python(inside, c("-m", "pip", "--version")))) {
    return(inside)
  }
  if (is.null(uv)) {
    run_step(python, c("-m", "venv", shQuote(path)), "make the environment", call)
  } else {
    run_step(uv, c("venv", "--seed", "--python", shQuote(python), shQuote(path)), "make the environment", call)
  }
  inside
}

#' What installs into the environment.
#' @noRd
pip_command <- function(inside, uv) {
  if (is.null(uv)) {
    return(list(program = inside, arguments = c("-m", "pip", "install", "--disable-pip-version-check", "--no-input")))
  }
  # all indices are asked for the best version, as pip does
  list(program = uv,
    arguments = c("pip", "install", "--index-strategy", "unsafe-best-match", "--python", shQuote(inside)))
}

#' The program uv, or NULL where it is not to be used.
#' @noRd
find_uv <- function(method, call) {
  found <- Sys.which("uv")[[1L]]
  if (method == "uv" && !nzchar(found)) {
    abort_latome("There is no program uv on the search path.",
      "Install it (see docs.astral.sh/uv), or use method = \"virtualenv\".", kind = "EngineError", field = "method",
      call = call)
  }
  if (method != "virtualenv" && nzchar(found)) found
}

#' @return arguments that make pip use the folder alone, and what is said of it; NULL where none is given
#' @noRd
check_wheels <- function(wheels, torch, call) {
  wheels <- check_string(wheels, null = TRUE, call = call)
  if (is.null(wheels)) {
    return(NULL)
  }
  files <- list.files(wheels, "[.](whl|tar[.]gz|zip)$")
  lacking <- Filter(function(name) !any(startsWith(tolower(files), paste0(name, "-"))), names(engine_requirements()))
  if (length(lacking)) {
    abort_latome(paste0("The folder '", wheels, "' holds no wheels of ", paste(lacking, collapse = ", "), "."),
      paste("Where there is a network run: pip download -d wheels",
        paste(shQuote(c(torch, requirement_strings()[-1L])), collapse = " ")),
      kind = "EngineError", field = "wheels", call = call)
  }
  list(arguments = c("--no-index", "--find-links", shQuote(normalizePath(wheels))),
    said = paste0("from the wheels in ", wheels, ", without the network"))
}

finish_installation <- function(path, inside) {
  default <- identical(normalizePath(path), normalizePath(latome_environment(), mustWork = FALSE))
  inform_latome(c("Done.",
    i = if (!default) paste0("In later sessions first call options(latome.environment = \"", path, "\")."),
    i = if (python_running() && !has_processx()) "Restart R: another Python runs in this session already.",
    i = if (nzchar(Sys.getenv("RETICULATE_PYTHON"))) "RETICULATE_PYTHON is set and goes before it."
  ))
}

#' The Python to make the environment with.
#' @param or_else what to return where none was named and none is found; NULL for an error
#' @noRd
base_python <- function(python, call, or_else = NULL) {
  if (!is.null(python)) {
    check_string(python, call = call)
    candidates <- if (file.exists(python)) file.path(normalizePath(dirname(python)), basename(python)) else python
  } else {
    candidates <- Sys.which(c(paste0("python3.", 13:10), "python3", "python"))
    candidates <- c(candidates[nzchar(candidates)], discover_python()$python)
  }
  for (candidate in candidates) {
    versions <- probe_python(path.expand(candidate))
    if (!is.null(versions) && package_version(versions$python) >= "3.10") {
      return(path.expand(candidate))
    }
  }
  if (is.null(python) && !is.null(or_else)) {
    return(or_else)
  }
  tried <- if (length(candidates)) paste0(" among: ", quoted(candidates)) else " on the search path"
  abort_latome(
    paste0("There is no Python 3.10 or later", tried, "."),
    paste("Install it (Debian: apt install python3-venv; else from python.org), or give its path as `python`;",
      "or install uv (docs.astral.sh/uv), with which install_latome() brings its own."),
    kind = "EngineError", field = "python", call = call
  )
}

#' Where PyTorch comes from: arguments for pip, and what is said of it.
#' @noRd
torch_source <- function(torch_index) {
  why <- NULL
  if (identical(torch_index, "auto")) {
    gpu <- found_gpu()
    torch_index <- if (is.null(gpu)) "cpu" else "cuda"
    why <- if (is.null(gpu)) ": no NVIDIA GPU was found" else paste(":", gpu, "was found")
  }
  builds <- switch(torch_index %||% "pip", cpu = "for the processor", cuda = "for NVIDIA GPUs (CUDA)",
    pip = "that pip is configured for", paste("of", torch_index))
  list(index = torch_index_arguments(torch_index), said = paste0("PyTorch's builds ", builds, why),
    address = if (identical(torch_index, "cpu")) CPU_BUILDS)
}

CPU_BUILDS <- "https://download.pytorch.org/whl/cpu"

#' What happens where an index does not answer, in words; NULL where it does, or where there is none to ask.
#' @noRd
silent_index <- function(address, seconds = 10) {
  if (is.null(address) || Sys.info()[["sysname"]] == "Darwin") {
    return(NULL)
  }
  patience <- options(timeout = seconds)
  on.exit(options(patience))
  answers <- tryCatch({
    close(url(paste0(address, "/torch/"), "rb"))
    TRUE
  }, error = function(e) FALSE, warning = function(w) FALSE)
  if (!answers) {
    paste0(address, " does not answer: pip then takes the builds of PyPI, which hold CUDA and are gigabytes, or those ",
      "that its configuration finds")
  }
}

#' The first NVIDIA GPU that its driver reports, or NULL.
#' @noRd
found_gpu <- function() {
  program <- Sys.which("nvidia-smi")[[1L]]
  lines <- if (nzchar(program)) run_once(program, "-L", character())
  found <- grep("^GPU 0: ", lines, value = TRUE)
  if (length(found)) sub(" *\\(UUID.*$", "", sub("^GPU 0: ", "", found[[1L]]))
}

torch_index_arguments <- function(torch_index) {
  if (is.null(torch_index) || torch_index == "cuda") {
    return(character())
  }
  if (torch_index == "cpu") {
    if (Sys.info()[["sysname"]] == "Darwin") {
      return(character())                      # PyPI's builds for macOS are small already
    }
    torch_index <- CPU_BUILDS
  }
  c("--extra-index-url", shQuote(torch_index))
}

run_step <- function(python, arguments, what, call) {
  inform_latome(paste0("latome: ", what, " ..."))
  log <- tempfile(fileext = ".log")
  on.exit(unlink(log))
  status <- suppressWarnings(
    away_from_here(system2(python, arguments, stdout = log, stderr = log, env = clean_environment()))
  )
  if (status != 0L) {
    lines <- utils::tail(readLines(log, warn = FALSE), 8L)
    abort_latome(c(paste0("Could not ", what, "; the last lines said:"), paste0("  ", lines)),
      "On Debian and Ubuntu a virtual environment needs: apt install python3-venv. pip needs the network.",
      kind = "EngineError", field = "path", call = call)
  }
}

#' Do something in R's own temporary folder: python -m takes modules from the folder that R is in.
#' @noRd
away_from_here <- function(code) {
  here <- getwd()
  setwd(tempdir())
  if (!is.null(here)) on.exit(setwd(here))
  code
}
