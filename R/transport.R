#' Ask the engine.
#'
#' Errors come back as values and are raised here, in the caller's frame; warnings likewise.
#'
#' @param verb name of a function of the bridge
#' @param ... its arguments: R values as convert.R makes them, and objects that an earlier request kept
#' @param keep name of an entry of the reply to leave with the engine
#' @return the reply as a list; with `keep`, that entry stands for an object of the engine
#' @noRd
request <- function(verb, ..., keep = NULL, call = rlang::caller_env()) {
  ask <- switch(engine(call), "in-process" = ask_inside, process = ask_child)
  reply <- ask(verb, ..., keep = keep, call = call)
  if (identical(reply$kind, "Interrupt")) {
    rlang::interrupt()
  }
  if (!isTRUE(reply$ok)) {
    abort_latome(reply$problem, reply$hint %||% "", kind = reply$kind, field = reply$field, call = call)
  }
  for (text in unlist(reply$warnings)) {
    warn_latome(text)
  }
  reply
}

#' A request of the engine inside R: what is kept is a Python object.
#' @noRd
ask_inside <- function(verb, ..., keep, call) {
  bridge <- session$bridge
  kept <- NULL
  reply <- or_interrupt({
    reply <- bridge[[verb]](...)
    if (!is.null(keep)) {
      kept <- reticulate::py_get_item(reply, keep, silent = TRUE)
      # what stays in Python must not be converted with the rest
      reticulate::py_call(reticulate::py_get_attr(reply, "pop"), keep, NULL)
    }
    reticulate::py_to_r(reply)
  })
  if (!is.null(keep)) reply[[keep]] <- kept
  reply
}

#' A Ctrl-C that strikes while reticulate itself asks Python something comes out of it as an error of its own.
#' @noRd
or_interrupt <- function(code) {
  tryCatch(code, error = function(error) {
    if (grepl("KeyboardInterrupt|inspect\\.getmro|Unknown exception occurred", conditionMessage(error))) {
      rlang::interrupt()
    }
    stop(error)
  })
}
