# The only file that knows orientation, sparse layout, factors and integers.
#
# What R values mean to the engine, whichever the transport: an array (with dimensions) is an array of numpy; a bare
# vector of one value is a scalar, of several a list; a list with names is a dict, without them a list; raw is bytes.
#
# A dgCMatrix of genes x cells is, with its three vectors as they are, the CSR matrix of
# cells x genes: nothing is transposed, the shape is swapped.

#' An AnnData (Python) of counts and coded columns.
#'
#' @param counts dgCMatrix, genes x cells, with names
#' @param columns as code_columns() returns them, or NULL
#' @param posterior list: mean and variance (cells x k) and totals, where counts are none; or NULL
#' @noRd
to_anndata <- function(counts, columns = NULL, call = rlang::caller_env(), posterior = NULL) {
  request("anndata",
    as_numpy(counts@x), as_numpy(counts@i), as_numpy(counts@p), list(ncol(counts), nrow(counts)),
    as_python_strings(colnames(counts)), as_python_strings(rownames(counts)),
    as_python_dict(lapply(columns, column_to_python)),
    if (!is.null(posterior)) lapply(posterior, function(values) as.array(unname(values))),
    keep = "data", call = call
  )$data
}

column_to_python <- function(column) {
  if (is.null(column$codes)) {
    list(values = as_numpy(column$values))
  } else {
    list(codes = as_numpy(column$codes), levels = as_python_strings(column$levels))
  }
}

#' A vector as a numpy array: a bare vector would become a Python list. An unshared vector is not copied.
#' @noRd
as_numpy <- function(x) {
  dim(x) <- length(x)
  x
}

#' A list of strings, also when there is one only (which alone would become a string).
#' @noRd
as_python_strings <- function(x) {
  if (is.null(x)) {
    return(NULL)
  }
  x <- enc2utf8(as.character(x))
  if (length(x) == 1L) list(x) else x
}

#' A dict, also when it is empty (an empty list would become a Python list).
#' @noRd
as_python_dict <- function(x) {
  if (length(x)) x else structure(list(), names = character())
}

#' A latent that came back, with names.
#' @noRd
name_latent <- function(latent, cells) {
  latent <- matrix(as.double(latent), nrow = length(cells))
  dimnames(latent) <- list(cells, paste0("latent_", seq_len(ncol(latent))))
  latent
}

#' Columns that came back, as a data.frame.
#' @noRd
as_table <- function(columns) {
  as.data.frame(lapply(columns, function(values) as.vector(unlist(values))), optional = TRUE, stringsAsFactors = FALSE)
}

#' Columns of numbers as a data.frame, an epoch a row.
#' @noRd
as_history <- function(history) {
  columns <- lapply(history, function(values) {
    values <- as.vector(values)
    replace(values, is.nan(values), NA)
  })
  history <- as.data.frame(columns, optional = TRUE)
  if (nrow(history)) history$epoch <- seq_len(nrow(history))  # the engine counts from 0
  history
}
