# Which way to the engine: inside R through reticulate, or in a process of its own where that cannot work.

#' options(latome.transport = ) or the environment variable LATOME_TRANSPORT.
#' @noRd
asked_transport <- function(call) {
  variable <- Sys.getenv("LATOME_TRANSPORT")
  asked <- getOption("latome.transport") %||% if (nzchar(variable)) variable else "auto"
  check_choice(asked, c("auto", "in-process", "process"), arg = "options(latome.transport = )", call = call)
}

#' How the engine would be started; nothing is started.
#'
#' @return list: transport; python, as find_python() returns it; problem and hint where it cannot start; reason, where
#'   it would have to be outside and was not asked for
#' @noRd
plan_engine <- function(call = rlang::caller_env()) {
  asked <- asked_transport(call)
  python <- find_python(call)
  problem <- if (asked != "process") python_problem(python)
  if (asked == "in-process" || asked == "auto" && is.null(problem)) {
    return(list(transport = "in-process", python = python, problem = problem))
  }
  outside <- find_outside(python, call)
  if (is.null(outside)) {
    return(list(transport = if (asked == "process") "process" else "in-process", python = python,
      problem = problem %||% python_problem(python, inside = FALSE)))
  }
  if (!has_processx()) {
    return(list(transport = "process", python = outside, problem = without_processx(problem, outside)))
  }
  list(transport = "process", python = outside, reason = problem$problem)
}

#' A Python that can run the engine in a process of its own, or NULL: the one that was chosen; where another Python
#' runs in this session already, one of those that would have been chosen without it.
#' @noRd
find_outside <- function(python, call) {
  candidates <- c(list(python), if (python_running()) other_pythons(call))
  Find(function(one) is.null(python_problem(one, inside = FALSE)), candidates)
}

has_processx <- function() requireNamespace("processx", quietly = TRUE)

without_processx <- function(problem, outside) {
  list(
    problem = problem$problem %||% "An engine in a process of its own needs the R package processx.",
    hint = c(problem$hint, paste0("Run install.packages(\"processx\")",
      if (!is.null(problem)) paste0("; the engine then works in a process of its own with ", outside$path), "."))
  )
}

#' Some functions hand out Python objects, which there are inside R only.
#' @noRd
check_inside <- function(what, call) {
  if (engine(call) == "process") {
    abort_latome(paste0(what, " needs the engine inside R; here it works in a process of its own."),
      if (is.null(session$reason)) "Run options(latome.transport = \"in-process\") first." else session$reason,
      kind = "EngineError", field = "transport", call = call)
  }
}
