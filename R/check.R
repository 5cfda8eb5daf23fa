# Each check returns its argument in the type that the engine takes, or raises an error in
# the caller's frame that names the argument and shows what was supplied.

check_whole_number <- function(x, ge = -Inf, le = .Machine$integer.max, null = FALSE,
                               arg = rlang::caller_arg(x), call = rlang::caller_env()) {
  if (null && is.null(x)) {
    return(NULL)
  }
  whole <- is_number(x) && x == round(x)
  if (!whole || x < ge || x > le) {
    abort_supplied(arg, paste0("one whole number", bounds(ge = ge, le = le)), x, call)
  }
  as.integer(x)
}

check_number <- function(x, ge = NULL, le = NULL, gt = NULL, lt = NULL, null = FALSE,
                         arg = rlang::caller_arg(x), call = rlang::caller_env()) {
  if (null && is.null(x)) {
    return(NULL)
  }
  inside <- is_number(x) && x >= (ge %||% -Inf) && x <= (le %||% Inf) &&
    x > (gt %||% -Inf) && x < (lt %||% Inf)
  if (!inside) {
    abort_supplied(arg, paste0("one number", bounds(ge, le, gt, lt)), x, call)
  }
  as.double(x)
}

check_flag <- function(x, null = FALSE, arg = rlang::caller_arg(x), call = rlang::caller_env()) {
  if (null && is.null(x)) {
    return(NULL)
  }
  if (!is.logical(x) || length(x) != 1L || is.na(x)) {
    abort_supplied(arg, "TRUE or FALSE", x, call)
  }
  x
}

check_string <- function(x, null = FALSE, arg = rlang::caller_arg(x), call = rlang::caller_env()) {
  if (null && is.null(x)) {
    return(NULL)
  }
  if (!is_string(x)) {
    abort_supplied(arg, "one string", x, call)
  }
  x
}

check_choice <- function(x, choices, null = FALSE, arg = rlang::caller_arg(x),
                         call = rlang::caller_env()) {
  if (null && is.null(x)) {
    return(NULL)
  }
  if (!is_string(x) || !x %in% choices) {
    hint <- if (is_string(x)) closest(x, choices) else character()
    hint <- if (length(hint)) paste0("Did you mean ", quoted(hint), "?") else ""
    abort_supplied(arg, paste0("one of ", quoted(choices, most = 12L)), x, call, hint)
  }
  x
}

#' Column names of the cell data: NULL, or strings without repetition.
#' @noRd
check_names <- function(x, most = Inf, arg = rlang::caller_arg(x), call = rlang::caller_env()) {
  if (is.null(x)) {
    return(NULL)
  }
  expected <- if (most == 1) "the name of one column of the cell data" else
    "names of columns of the cell data"
  if (!is.character(x) || anyNA(x) || !length(x) || length(x) > most) {
    abort_supplied(arg, expected, x, call, paste0(
      "Put values into the object first, then name their column: object$donor <- values; ",
      arg, " = \"donor\"."
    ))
  }
  if (anyDuplicated(x)) {
    abort_supplied(arg, paste0(expected, ", each once"), x, call)
  }
  unname(x)
}

#' A name for results: usable as a Seurat reduction and as a file name.
#' @noRd
check_result_name <- function(x, arg = rlang::caller_arg(x), call = rlang::caller_env()) {
  if (!is_string(x) || !grepl("^[a-zA-Z][a-zA-Z0-9._]*$", x)) {
    abort_supplied(arg, "one name of letters, digits, dots and underscores that starts with a letter",
      x, call)
  }
  x
}

check_training <- function(x, arg = rlang::caller_arg(x), call = rlang::caller_env()) {
  if (!inherits(x, "latome_training")) {
    abort_supplied(arg, "made by training_options()", x, call,
      paste0("For example ", arg, " = training_options(max_epochs = 100)."))
  }
  x
}

#' Nothing may be left in `...`: a typo must not be ignored.
#' @noRd
check_no_dots <- function(..., known, call = rlang::caller_env()) {
  n <- ...length()
  if (n == 0L) {
    return(invisible())
  }
  given <- ...names()
  given <- if (is.null(given)) rep("", n) else given
  given <- given[!is.na(given) & nzchar(given)]
  if (!length(given)) {
    abort_latome(paste(count_of(n, "argument"), "too many without a name."),
      "Name every argument, as in batch = \"donor\".", call = call)
  }
  abort_latome(paste0("Unknown argument '", given[[1]], "'."),
    suggest(given[[1]], setdiff(known, "..."), what = "Arguments"),
    field = given[[1]], call = call)
}

#' Arguments in `...` that go to another function: named, each once, and known there.
#' @noRd
check_passed_on <- function(arguments, known, call) {
  given <- names(arguments) %||% rep("", length(arguments))
  if (any(!nzchar(given))) {
    abort_latome(paste(count_of(sum(!nzchar(given)), "argument"), "too many without a name."),
      "Name every argument, as in batch = \"donor\".", call = call)
  }
  unknown <- setdiff(given, known)
  if (length(unknown)) {
    abort_latome(paste0("Unknown argument '", unknown[[1]], "'."), suggest(unknown[[1]], known, what = "Arguments"),
      field = unknown[[1]], call = call)
  }
  arguments
}

abort_supplied <- function(arg, expected, x, call, hint = "") {
  abort_latome(
    paste0("`", arg, "` must be ", expected, "; you supplied ", shown_value(x), "."),
    hint, field = arg, call = call
  )
}

shown_value <- function(x) {
  if (is.null(x)) {
    return("NULL")
  }
  if (!is.atomic(x) || is.object(x)) {
    return(paste("an object of class", quoted(class(x)[[1]])))
  }
  values <- if (is.character(x)) paste0("\"", x, "\"") else format(x, trim = TRUE, digits = 6)
  if (length(x) == 0L) {
    return(paste("an empty", typeof(x), "vector"))
  }
  if (length(x) == 1L) {
    return(values)
  }
  dots <- if (length(x) > 3L) ", ..." else ""
  paste0(count_of(length(x)), " values (", paste(utils::head(values, 3L), collapse = ", "), dots, ")")
}

bounds <- function(ge = NULL, le = NULL, gt = NULL, lt = NULL) {
  finite <- function(b) !is.null(b) && is.finite(b) && abs(b) < .Machine$integer.max
  text <- c(
    if (finite(ge)) paste("at least", format(ge)), if (finite(gt)) paste("above", format(gt)),
    if (finite(le)) paste("at most", format(le)), if (finite(lt)) paste("below", format(lt))
  )
  if (length(text)) paste0(", ", paste(text, collapse = " and ")) else ""
}

is_number <- function(x) is.numeric(x) && length(x) == 1L && is.finite(x)

is_string <- function(x) is.character(x) && length(x) == 1L && !is.na(x) && nzchar(x)
