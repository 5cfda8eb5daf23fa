# Counts that are not one matrix in memory: those on disk, and those in several blocks of cells. What reads
# counts in blocks takes both; whatever is small enough becomes a dgCMatrix.

VALUE <- 12                                    # bytes of a dgCMatrix that one value takes: a double and an integer

#' Do the counts lie on disk?
#' @noRd
is_on_disk <- function(counts) {
  if (inherits(counts, "latome_blocks")) {
    return(any(vapply(counts$blocks, is_on_disk, NA)))
  }
  inherits(counts, c("DelayedMatrix", "IterableMatrix"))
}

#' Are the counts to be read in blocks only: no dgCMatrix, and not to become one at once?
#' @noRd
is_apart <- function(counts) inherits(counts, "latome_blocks") || is_on_disk(counts)

#' Are they too large to become one: on disk and of more than `latome.in_memory` bytes, or of more values than a
#' dgCMatrix can hold?
#' @noRd
is_too_large <- function(counts, where, call) {
  if (!is_apart(counts)) {
    return(FALSE)
  }
  most <- if (is_on_disk(counts)) getOption("latome.in_memory", 200e6) / VALUE else .Machine$integer.max
  as.double(nrow(counts)) * ncol(counts) > most && values_in(counts, where, call) > most
}

#' How many values are not zero; of what is on disk by some of the cells from all over.
#' @noRd
values_in <- function(counts, where, call, runs = 4L, cells = 200L) {
  if (inherits(counts, "latome_blocks")) {
    used <- tabulate(counts$block, length(counts$blocks)) / pmax(1L, vapply(counts$blocks, ncol, 0L))
    return(sum(used * vapply(counts$blocks, values_in, 0, where = where, call = call)))
  }
  if (!is_on_disk(counts)) {
    return(Matrix::nnzero(counts))
  }
  starts <- unique(round(seq(1, max(1, ncol(counts) - cells), length.out = runs)))
  looked_at <- lapply(starts, function(from) from:min(ncol(counts), from + cells - 1))
  values <- vapply(looked_at, function(at) length(as_dgCMatrix(counts[, at, drop = FALSE], where, call)@x), 0L)
  sum(values) / sum(lengths(looked_at)) * ncol(counts)
}

check_fits <- function(counts, where, call) {
  if (inherits(counts, "latome_blocks") && values_in(counts, where, call) > .Machine$integer.max) {
    abort_latome(
      paste0(capital(where), " holds more values than one dgCMatrix can (", count_of(.Machine$integer.max), ")."),
      "Write a store once, and give that in place of the object: prepare_store(object, \"cells.store\").",
      kind = "FieldError", field = "object", call = call
    )
  }
}

#' Cells to read at a time: no more values than `latome.block`, ten times as many of what is sparse on disk too, and
#' where that holds them whole chunks of the file.
#' @noRd
cells_at_a_time <- function(counts) {
  dense <- inherits(counts, "DelayedMatrix") && !DelayedArray::is_sparse(counts)
  most <- getOption("latome.block", 5e6) * if (dense) 1 else 10
  most <- max(1, floor(most / max(1, nrow(counts))))
  chunk <- if (inherits(counts, "DelayedMatrix")) DelayedArray::chunkdim(counts)[[2]]
  if (is.null(chunk) || chunk > most) most else most - most %% chunk
}

#' Counts that lie in several matrices, as those of a Seurat 5 assay with split layers do.
#'
#' For get_cells(), as `counts`, where the blocks together hold more values than one dgCMatrix can (2^31 - 1), or where
#' some of them lie on disk: `latome_blocks(list(ctrl, stim), cells = colnames(object))`. Training, queries and
#' prepare_store() then read it cell by cell as they read a DelayedMatrix; where all of it is small enough for memory it
#' becomes one dgCMatrix by as_counts(). Rows and columns are found by name; `x[genes, cells]` copies no counts.
#'
#' @param blocks list of matrices of any kind, genes x cells, both named: each with its own genes, in any order
#' @param cells names of all cells, in the order of the object; each is in one of the blocks
#' @param genes names of all genes; zeros where a block lacks one
#' @noRd
latome_blocks <- function(blocks, cells, genes = unique(unlist(lapply(blocks, rownames)))) {
  blocks <- unname(blocks)
  sizes <- vapply(blocks, ncol, 0L)
  found <- match(cells, unlist(lapply(blocks, colnames)))
  structure(
    list(
      blocks = blocks, block = rep(seq_along(blocks), sizes)[found], column = sequence(sizes)[found],
      rows = lapply(blocks, function(block) match(genes, rownames(block))), genes = genes, cells = cells
    ),
    class = "latome_blocks"
  )
}

#' @export
#' @noRd
dim.latome_blocks <- function(x) c(length(x$genes), length(x$cells))

#' @export
#' @noRd
dimnames.latome_blocks <- function(x) list(x$genes, x$cells)

#' @export
#' @noRd
`dimnames<-.latome_blocks` <- function(x, value) {
  x[c("genes", "cells")] <- lapply(value, as.character)
  x
}

#' @export
#' @noRd
`[.latome_blocks` <- function(x, i, j, ..., drop = FALSE) {
  if (!missing(i)) {
    i <- positions(i, x$genes)
    x$rows <- lapply(x$rows, `[`, i)
    x$genes <- x$genes[i]
  }
  if (!missing(j)) {
    j <- positions(j, x$cells)
    x[c("block", "column", "cells")] <- list(x$block[j], x$column[j], x$cells[j])
  }
  x
}

#' Positions of what is given by name, as TRUE/FALSE, or by position.
#' @noRd
positions <- function(wanted, names) {
  if (is.character(wanted)) match(wanted, names) else seq_along(names)[wanted]
}

#' All blocks as one dgCMatrix, its columns in the order of the cells.
#' @noRd
bind_blocks <- function(x, where, call) {
  of_block <- split(seq_along(x$block), x$block)
  parts <- lapply(names(of_block), function(block) {
    block <- as.integer(block)
    columns <- x$column[of_block[[as.character(block)]]]
    held <- x$blocks[[block]]
    if (!identical(columns, seq_len(ncol(held)))) held <- held[, columns, drop = FALSE]
    rows_or_zeros(as_dgCMatrix(held, where, call), x$rows[[block]])
  })
  bound <- if (length(parts) == 1L) parts[[1]] else do.call(cbind, parts)
  order <- order(unlist(of_block, use.names = FALSE))
  if (is.unsorted(order)) bound <- bound[, order, drop = FALSE]
  dimnames(bound) <- dimnames(x)
  bound
}

#' Rows by position, zeros where that is NA.
#' @noRd
rows_or_zeros <- function(counts, rows) {
  if (identical(rows, seq_len(nrow(counts)))) {
    return(counts)
  }
  if (inherits(counts, "latome_stream")) {
    return(counts[rows, ])
  }
  if (anyNA(rows)) {
    zeros <- Matrix::sparseMatrix(i = integer(), j = integer(), x = numeric(), dims = c(1L, ncol(counts)))
    counts <- rbind(counts, zeros)
    rows[is.na(rows)] <- nrow(counts)
  }
  counts[rows, , drop = FALSE]
}
