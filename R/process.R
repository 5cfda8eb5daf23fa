# The engine in a process of its own: one request at a time, as lines of JSON through its standard input and output.
#
# A child is an environment: process, folder (of the files of bytes, and of what it says on standard error), r_pid
# (the R that started it), python, asked (number of requests), released (handles that R holds no longer).

#' Start it; the last one, if there was one, has ended.
#' @noRd
start_child <- function(python, call) {
  folder <- tempfile("latome-engine-")
  dir.create(folder, mode = "0700")
  # python -m would put the folder that R is in before all packages
  code <- "import sys; sys.path[0] = sys.argv[1]; from latome.bridge.serve import serve; serve(sys.argv[2])"
  process <- processx::process$new(python$path, c("-c", code, engine_folder(), folder), stdin = "|", stdout = "|",
    stderr = file.path(folder, "said"), env = child_environment(python$path), wd = folder)
  child <- list2env(list(process = process, folder = folder, r_pid = Sys.getpid(), python = python, asked = 0L,
    released = integer()), parent = emptyenv())
  started <- FALSE
  on.exit(if (!started) process$kill())
  await_answer(child, 0L, call, "as it started", on_interrupt = rlang::interrupt)
  started <- TRUE
  # after a fork, the parent's child must outlive our copy of what stands for it
  session$inherited <- c(session$inherited, if (!is.null(session$child) && !child_is_ours()) session$child)
  session$child <- child
  session$outside <- python
}

#' The environment of the process: that of R, without what R's own libraries and other Pythons left in it.
#' @noRd
child_environment <- function(path) {
  clean <- clean_environment()
  # some installations find their libpython only by the variable
  if (is.null(run_once(path, c("-c", "pass"), clean))) clean <- setdiff(clean, "LD_LIBRARY_PATH=")
  values <- sub("^[^=]+=", "", clean)
  names(values) <- sub("=.*$", "", clean)
  kernels <- if (!nzchar(Sys.getenv("LATOME_KERNELS_LIBRARY"))) kernels_library()
  c("current", values, if (!is.null(kernels)) c(LATOME_KERNELS_LIBRARY = kernels))
}

child_is_ours <- function() identical(session$child$r_pid, Sys.getpid())

child_works <- function() !is.null(session$child) && child_is_ours() && session$child$process$is_alive()

#' A request of the engine in its process: what is kept is a handle.
#' @noRd
ask_child <- function(verb, ..., keep, call) {
  child <- session$child
  number <- child$asked <- child$asked + 1L
  line <- request_line(child, number, verb, list(...), keep, call)
  reply <- suspendInterrupts({
    send_line(child, line)
    answer <- await_answer(child, number, call, paste0("during '", verb, "'"), child$process$interrupt)
    read_answer(answer, child, call)
  })
  if (isTRUE(answer$interrupted)) list(kind = "Interrupt") else reply
}

#' A request as a line, and its file beside it.
#' @noRd
request_line <- function(child, number, verb, arguments, keep, call) {
  bytes <- open_bytes(file.path(child$folder, paste0("request-", number)))
  on.exit(close_bytes(bytes))
  named <- nzchar(names(arguments) %||% rep("", length(arguments)))
  release <- child$released
  child$released <- integer()
  line <- list(
    id = number, verb = verb, keep = keep, release = as.list(release), folder = getwd(),
    args = encode(unname(arguments[!named]), bytes, child),
    kwargs = encode(as_python_dict(arguments[named]), bytes, child)
  )
  line$file <- !is.null(bytes$connection)
  as.character(jsonlite::toJSON(line, auto_unbox = TRUE, null = "null", na = "null", digits = NA))
}

send_line <- function(child, line) {
  rest <- charToRaw(paste0(line, "\n"))
  while (length(rest)) {
    rest <- tryCatch(child$process$write_input(rest), error = function(e) raw())   # it has ended: seen in the answer
    if (length(rest)) Sys.sleep(0.001)
  }
}

#' Wait for the answer with a number. Ctrl-C in R goes on to the engine, whose answer ends the wait; it is raised then.
#'
#' @param when in the error where there is none
#' @param on_interrupt function, what a Ctrl-C does meanwhile
#' @return the answer as parse_json() reads it, with interrupted = TRUE after a Ctrl-C
#' @noRd
await_answer <- function(child, number, call, when, on_interrupt) {
  interrupted <- FALSE
  repeat {
    waited <- tryCatch(allowInterrupts(child$process$poll_io(1000L)), interrupt = function(condition) NULL)
    if (is.null(waited)) {
      interrupted <- TRUE
      on_interrupt()
    }
    line <- child$process$read_output_lines(1L)
    if (length(line)) {
      answer <- jsonlite::parse_json(line)
      if (identical(answer$id, number)) {
        answer$interrupted <- interrupted
        return(answer)
      }
      unlink(answer_file(child, answer))             # of a request whose wait R gave up
    } else if (!child$process$is_alive() && !child$process$is_incomplete_output()) {
      abort_ended(child, when, call)
    }
  }
}

answer_file <- function(child, answer) file.path(child$folder, paste0("answer-", answer$id))

read_answer <- function(answer, child, call) {
  if (!answer$file) {
    return(decode(answer$reply, NULL, child))
  }
  path <- answer_file(child, answer)
  connection <- file(path, "rb")
  on.exit({
    close(connection)
    unlink(path)
  })
  decode(answer$reply, connection, child)
}

#' The process has ended: by what, and what to do. The next request starts another.
#' @noRd
abort_ended <- function(child, when, call) {
  status <- child$process$get_exit_status()
  said <- utils::tail(readLines(file.path(child$folder, "said"), warn = FALSE), 3L)
  unlink(child$folder, recursive = TRUE)
  killed <- !is.null(status) && !is.na(status) && status < 0L
  abort_latome(
    c(paste0("The engine's process ", ended_how(status), " ", when, "."), if (!killed && length(said)) said),
    c(
      if (killed && status == -9L) "Use fewer genes or cells, a smaller batch_size, or a store (see prepare_store()).",
      "R and its objects are whole; the next call starts the engine anew."
    ),
    kind = "EngineError", field = "process", call = call
  )
}

ended_how <- function(status) {
  if (is.null(status) || is.na(status)) {
    return("ended")
  }
  if (status >= 0L) {
    return(paste0("ended with status ", status))
  }
  paste0("was killed by signal ", -status, if (status == -9L) " (the machine may have run out of memory)")
}

#' What stands in R for an object that the process holds.
#' @noRd
new_handle <- function(number, child) {
  handle <- structure(list2env(list(number = number, child = child), parent = emptyenv()), class = "latome_handle")
  reg.finalizer(handle, release_handle)
  handle
}

#' Tell it with the next request: a finalizer may run while another waits for its answer.
#' @noRd
release_handle <- function(handle) {
  child <- handle$child
  child$released <- c(child$released, handle$number)
}

handle_number <- function(handle, child, call = rlang::caller_env()) {
  if (!identical(handle$child, child)) {
    abort_latome("The engine's process that held these data has ended.", "Run the call again from its beginning.",
      kind = "EngineError", field = "process", call = call)
  }
  handle$number
}
