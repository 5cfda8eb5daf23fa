#' Ask the engine.
#'
#' Errors come back as values and are raised here, in the caller's frame; warnings likewise.
#'
#' @param verb name of a function of the bridge
#' @param ... its arguments, as R values or Python objects
#' @param keep name of an entry of the reply to leave as a Python object
#' @return the reply as a list; with `keep`, that entry holds a Python object
#' @noRd
request <- function(verb, ..., keep = NULL, call = rlang::caller_env()) {
  bridge <- engine(call)
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
  if (identical(reply$kind, "Interrupt")) {
    rlang::interrupt()
  }
  if (!isTRUE(reply$ok)) {
    abort_latome(reply$problem, reply$hint %||% "", kind = reply$kind, field = reply$field, call = call)
  }
  for (text in unlist(reply$warnings)) {
    warn_latome(text)
  }
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
