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
  reply <- engine(call)[[verb]](...)
  kept <- NULL
  if (!is.null(keep)) {
    kept <- reticulate::py_get_item(reply, keep, silent = TRUE)
    # what stays in Python must not be converted with the rest
    reticulate::py_call(reticulate::py_get_attr(reply, "pop"), keep, NULL)
  }
  reply <- reticulate::py_to_r(reply)
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
