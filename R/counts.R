#' The cells of an object, checked: counts as a dgCMatrix with unique names.
#'
#' @param arguments list with assay, layer, coldata, allow_noninteger
#' @return as get_cells()
#' @noRd
read_cells <- function(object, arguments, call) {
  cells <- fetch_cells(object, arguments$assay, arguments$layer, arguments$coldata, call)
  check_values(cells, isTRUE(arguments$allow_noninteger), call)
  cells
}

#' The same of what get_cells() returned, but counts on disk that are too large for memory stay there: as a
#' latome_stream, which takes `[`, rownames() and colnames(), silent_cells(), silent_genes() and hand_over() as a
#' dgCMatrix does.
#' @noRd
hold_cells <- function(cells, allow_noninteger, verbose, call) {
  if (is_too_large(cells$counts, cells$where, call)) {
    cells <- name_cells(cells, call)
    cells$counts <- stream_counts(cells, allow_noninteger, verbose, call)
    return(cells)
  }
  cells <- complete_cells(cells, call)
  check_values(cells, allow_noninteger, call)
  cells
}

#' The same, whatever the values.
#' @noRd
fetch_cells <- function(object, assay, layer, coldata, call) {
  complete_cells(get_cells(object, assay, layer, coldata, call), call)
}

#' What get_cells() returns, with counts as a dgCMatrix, and names.
#' @noRd
complete_cells <- function(cells, call) {
  cells$counts <- as_counts(cells$counts, cells$where, call)
  name_cells(cells, call)
}

#' Cells with names, and those checked, whatever kind of matrix the counts are.
#' @noRd
name_cells <- function(cells, call) {
  if (is.null(colnames(cells$counts))) {
    colnames(cells$counts) <- as.character(seq_len(ncol(cells$counts)))
  }
  check_dimnames(cells, call)
  rownames(cells$coldata) <- colnames(cells$counts)      # they are in one order by now
  cells
}

#' Any matrix as a dgCMatrix; a dgCMatrix is handed on as it is.
#' @noRd
as_counts <- function(counts, where, call) {
  if (inherits(counts, "dgCMatrix")) {
    return(counts)
  }
  if (is.matrix(counts) && !is.numeric(counts)) {
    abort_latome(paste0("The values of ", where, " are of type ", typeof(counts), ", not numbers."),
      kind = "FieldError", field = "object", call = call)
  }
  if (is_on_disk(counts)) {
    inform_latome(paste0("Reading ", where, " (", class(counts)[[1]], ") into memory as a dgCMatrix."))
  }
  check_fits(counts, where, call)
  as_dgCMatrix(counts, where, call)
}

as_dgCMatrix <- function(counts, where, call) {
  if (inherits(counts, "dgCMatrix")) {
    return(counts)
  }
  tryCatch(
    if (inherits(counts, "latome_blocks")) {
      bind_blocks(counts, where, call)
    } else if (inherits(counts, "DelayedMatrix")) {
      read_delayed(counts)
    } else if (inherits(counts, "IterableMatrix")) {
      methods::as(counts, "dgCMatrix")
    } else {
      sparse_of(counts)
    },
    error = function(e) {
      abort_latome(
        paste0(where, " is ", article(class(counts)[[1]]), ", which cannot be read: ", conditionMessage(e)),
        "Turn it into a dgCMatrix first: as(counts, \"dgCMatrix\").",
        kind = "FieldError", field = "object", call = call
      )
    }
  )
}

sparse_of <- function(counts) {
  methods::as(methods::as(methods::as(counts, "CsparseMatrix"), "generalMatrix"), "dMatrix")
}

#' A DelayedMatrix as a dgCMatrix. Its own way loses NaN of what is dense on disk, and takes all of that at once.
#' @noRd
read_delayed <- function(counts) {
  if (DelayedArray::is_sparse(counts)) {
    return(methods::as(counts, "dgCMatrix"))
  }
  size <- cells_at_a_time(counts)
  parts <- lapply(seq(1, max(1, ncol(counts)), by = size), function(from) {
    sparse_of(as.matrix(counts[, rlang::seq2(from, min(ncol(counts), from + size - 1)), drop = FALSE]))
  })
  if (length(parts) == 1L) parts[[1]] else do.call(cbind, parts)
}

check_dimnames <- function(cells, call) {
  counts <- cells$counts
  abort <- function(...) abort_latome(..., kind = "FieldError", field = "object", call = call)
  if (is.null(rownames(counts))) {
    abort(paste0("The rows of ", cells$where, " have no names."),
      "Genes are matched by name: set rownames().")
  }
  for (side in c("gene", "cell")) {
    names <- if (side == "gene") rownames(counts) else colnames(counts)
    twice <- unique(names[duplicated(names)])
    if (length(twice)) {
      fix <- if (side == "gene") "rownames" else "colnames"
      abort(paste0(count_of(length(twice), paste(side, "name")), " in ", cells$where,
          " occur more than once: ", quoted(twice, 3L), "."),
        paste0("Make them unique: ", fix, "(x) <- make.unique(", fix, "(x))."))
    }
    if (anyNA(names) || any(!nzchar(names))) {
      abort(paste0("A ", side, " of ", cells$where, " has an empty name."), "Give every one a name.")
    }
  }
}

check_enough_cells <- function(cells, call) {
  n_cells <- ncol(cells$counts)
  if (n_cells < 3L) {
    abort_latome(
      paste0("There are ", count_of(n_cells, "cell"), " in ", cells$where, "; a model needs at least 3."),
      "Genes are rows and cells are columns: is the matrix transposed?",
      kind = "FieldError", field = "object", call = call
    )
  }
}

#' Raw counts are finite, not negative and whole.
#' @noRd
check_values <- function(cells, allow_noninteger, call) {
  fault <- find_fault(cells$counts@x, allow_noninteger)
  if (is.null(fault)) {
    return(invisible())
  }
  name <- cells$layer %||% cells$assay %||% ""
  meant <- if ("counts" %in% cells$other_layers && name != "counts") {
    paste0(if (is.null(cells$layer)) "assay" else "layer", " = \"counts\"")
  } else {
    "the matrix of raw counts"
  }
  looks <- looks_like(fault$kind, name, cells$assay)
  hint <- paste0("The model needs raw counts: give ", meant, ".")
  if (fault$kind == "fraction") {
    hint <- c(hint, "For counts corrected for ambient RNA set allow_noninteger = TRUE.")
  }
  if (fault$kind == "nonfinite") {
    hint <- "Replace or remove them first; a count that was not seen is 0."
  }
  abort_latome(
    paste0(capital(cells$where), " holds ", fault$text, " such as ", format(fault$value, digits = 4),
      if (nzchar(looks)) paste0(": ", looks), "."),
    hint, kind = "FieldError", field = cells$layer %||% "object", call = call
  )
}

#' The first fault among the stored values, in pieces: no temporary as long as x.
#' @noRd
find_fault <- function(x, allow_noninteger, piece = 1e6) {
  for (from in seq(1, max(1, length(x)), by = piece)) {
    part <- x[from:min(from + piece - 1, length(x))]
    if (!length(x)) {
      return(NULL)
    }
    bad <- !is.finite(part)
    if (any(bad)) {
      return(list(kind = "nonfinite", text = "values that are not finite", value = part[bad][[1]]))
    }
    bad <- part < 0
    if (any(bad)) {
      return(list(kind = "negative", text = "negative values", value = part[bad][[1]]))
    }
    bad <- !allow_noninteger & part != floor(part)
    if (any(bad)) {
      return(list(kind = "fraction", text = "values that are not whole numbers", value = part[bad][[1]]))
    }
  }
  NULL
}

looks_like <- function(kind, layer, assay) {
  if (identical(assay, "SCT") && layer != "counts") {
    return("these look like SCTransform residuals or their logs")
  }
  if (layer == "scale.data" || kind == "negative") {
    return("these look like scaled values or residuals")
  }
  if (kind == "fraction" && grepl("^data$|log|norm", layer)) {
    return("these look like normalised values")
  }
  ""
}

capital <- function(text) paste0(toupper(substr(text, 1, 1)), substring(text, 2))
