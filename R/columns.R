#' Columns of the cell data as the engine takes them.
#'
#' Factors travel as codes and levels, numbers as doubles; a data.frame never crosses.
#'
#' @param coldata data.frame, one row a cell
#' @param roles list: batch, labels, size_factor (a name or NULL), categorical, continuous (names or NULL)
#' @param training FALSE where a trained model is asked: then a constant column is no fault
#' @return named list of list(codes, levels) (codes from 0, NA is -1) or list(values)
#' @noRd
code_columns <- function(coldata, roles, training = TRUE, call = rlang::caller_env()) {
  arguments <- c(batch = "batch", labels = "labels", categorical = "categorical_covariates",
    continuous = "continuous_covariates", size_factor = "size_factor")
  check_roles(roles, call)
  coded <- list()
  for (role in c("labels", "batch", "categorical", "continuous", "size_factor")) {
    for (name in roles[[role]]) {
      values <- find_column(coldata, name, arguments[[role]], call)
      fail <- function(problem, hint = "") {
        abort_latome(paste0("Column '", name, "' (", arguments[[role]], ") ", problem), hint,
          kind = "FieldError", field = name, call = call)
      }
      coded[[name]] <- switch(role,
        continuous = code_numbers(values, training, fail),
        size_factor = code_sizes(values, fail),
        code_factor(values, na_allowed = role == "labels", training, fail)
      )
    }
  }
  coded
}

check_roles <- function(roles, call) {
  grouping <- c(roles$batch, roles$categorical)
  numbers <- c(roles$continuous, roles$size_factor)
  twice <- c(grouping[duplicated(grouping)], numbers[duplicated(numbers)], intersect(numbers, c(grouping, roles$labels)))
  if (length(twice)) {
    abort_latome(paste0("Column '", twice[[1]], "' is given for two purposes."),
      "A column is the batch, a covariate or the size factor, only one of them.",
      kind = "FieldError", field = twice[[1]], call = call)
  }
}

find_column <- function(coldata, name, argument, call) {
  if (!name %in% colnames(coldata)) {
    abort_latome(paste0("The cell data have no column '", name, "' (", argument, ")."),
      if (ncol(coldata)) suggest(name, colnames(coldata), "Columns") else
        "There are no columns at all; with a matrix give them as `coldata`.",
      kind = "FieldError", field = argument, call = call)
  }
  coldata[[name]]
}

code_factor <- function(values, na_allowed, training, fail) {
  if (!is.atomic(values) || !is.null(dim(values))) {
    fail(paste0("is ", article(class(values)[[1]]), "."),
      "It must be a factor, strings, whole numbers or logical.")
  }
  if (is.numeric(values) && any(is.finite(values) & values != round(values))) {
    fail("holds numbers that are not whole: it does not name groups.",
      "Use it in `continuous_covariates`, or cut() it into groups.")
  }
  groups <- droplevels(as.factor(values))
  n_missing <- sum(is.na(groups))
  if (n_missing && !na_allowed) {
    fail(paste0("is NA in ", count_of(n_missing, "cell"), "."),
      "Give them a value, or leave these cells out.")
  }
  if (!nlevels(groups)) {
    fail("is NA in every cell.", "Leave it out, or give at least some cells a value.")
  }
  if (training && nlevels(groups) == length(groups)) {
    fail("has a different value in every cell: it names cells, not groups.")
  }
  as_codes(groups)
}

#' A factor as the engine takes it: codes from 0, NA is -1.
#' @noRd
as_codes <- function(groups) {
  codes <- as.integer(groups) - 1L
  codes[is.na(codes)] <- -1L
  list(codes = codes, levels = levels(groups))
}

code_numbers <- function(values, training, fail, text_hint = "Use it in `categorical_covariates`.") {
  if (!(is.numeric(values) || is.logical(values)) || !is.null(dim(values))) {
    fail(paste0("is ", article(class(values)[[1]]), ", not numbers."), text_hint)
  }
  values <- as.double(values)
  bad <- !is.finite(values)
  if (any(bad)) {
    fail(paste0("is NA or infinite in ", count_of(sum(bad), "cell"), "."),
      "Give them a value, or leave these cells out.")
  }
  if (training && all(values == values[[1]])) {
    fail(paste0("is ", format(values[[1]], digits = 4), " in every cell: it explains nothing."),
      "Leave it out.")
  }
  list(values = values)
}

code_sizes <- function(values, fail) {
  values <- code_numbers(values, training = FALSE, fail, "Size factors are positive numbers, one a cell.")$values
  if (any(values <= 0)) {
    fail(paste0("is not above 0 in ", count_of(sum(values <= 0), "cell"), "."), "A size factor scales the counts of a cell.")
  }
  list(values = values)
}

#' Columns of groups to take along, coded.
#' @noRd
code_groups <- function(coldata, names, call) {
  coded <- lapply(names, function(name) {
    fail <- function(problem, hint = "") {
      abort_latome(paste0("Column '", name, "' (groups) ", problem), hint, kind = "FieldError", field = name, call = call)
    }
    code_factor(find_column(coldata, name, "groups", call), na_allowed = TRUE, training = FALSE, fail)
  })
  rlang::set_names(coded, names)
}
