#' Raise an error of this package in the frame of the user's call.
#'
#' @param problem what is wrong, and what was found (plain text, no markup)
#' @param hint what to do about it; empty for nothing
#' @param kind the family: "FieldError" (data and columns), "SettingError"
#'   (an argument), "QueryError" (a question the model cannot answer),
#'   "TrainingError", "ArchiveError" (a file) or "EngineError" (Python)
#' @param field the argument, column or file at fault
#' @noRd
abort_latome <- function(problem, hint = character(), kind = "SettingError", field = NULL,
                         call = rlang::caller_env()) {
  hint <- hint[nzchar(hint)]
  rlang::abort(
    c(problem, rlang::set_names(hint, rep("i", length(hint)))),
    class = c(paste0("latome_", kind), "latome_error"),
    field = field, problem = problem, hint = hint, call = call
  )
}

warn_latome <- function(problem, hint = character(), class = NULL) {
  hint <- hint[nzchar(hint)]
  rlang::warn(c(problem, rlang::set_names(hint, rep("i", length(hint)))),
    class = c(class, "latome_warning")
  )
}

inform_latome <- function(text, verbose = TRUE) {
  if (verbose) rlang::inform(text, class = "latome_message")
}

#' "Did you mean 'donor'?", or the choices there are.
#' @noRd
suggest <- function(given, choices, what = "Choices") {
  close <- closest(given, choices)
  if (length(close)) {
    return(paste0("Did you mean ", quoted(close), "?"))
  }
  if (!length(choices)) {
    return(paste0(what, ": none."))
  }
  paste0(what, ": ", quoted(choices, most = 12L), ".")
}

closest <- function(given, choices) {
  if (!length(choices) || !is.character(given) || length(given) != 1L || is.na(given)) {
    return(character())
  }
  distance <- as.vector(utils::adist(given, choices, ignore.case = TRUE))
  contains <- startsWith(tolower(choices), tolower(given)) |
    startsWith(tolower(given), tolower(choices))
  distance[contains] <- pmin(distance[contains], 1)
  near <- distance <= max(if (nchar(given) > 3L) 2 else 1, 0.34 * nchar(given))  # a swap of two letters is 2
  choices[near][order(distance[near])][seq_len(min(2L, sum(near)))]
}

quoted <- function(x, most = 6L) {
  shown <- paste0("'", utils::head(x, most), "'", collapse = ", ")
  if (length(x) > most) paste0(shown, " and ", count_of(length(x) - most), " more") else shown
}

count_of <- function(n, one = NULL, many = paste0(one, "s")) {
  number <- format(n, big.mark = ",", scientific = FALSE, trim = TRUE)
  if (is.null(one)) number else paste(number, if (n == 1) one else many)
}
