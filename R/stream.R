# Counts that stay on disk, for a verb that trains on them or asks about them: they are written once, in blocks
# of cells, into a store in a temporary folder, from which the engine reads; see store.R. The store is used again
# as long as the session lasts and the counts are the same.

streams <- new.env(parent = emptyenv())        # $held: what was written in this session, the last used at the end

HELD <- 3L                                     # stores that are kept at a time

#' Counts as a latome_stream: names and positions only.
#'
#' @param cells as get_cells() returns them, named
#' @noRd
stream_counts <- function(cells, allow_noninteger, verbose, call) {
  key <- key_of(cells$counts)
  found <- find_stream(key, allow_noninteger) %||% write_stream(cells, key, allow_noninteger, verbose, call)
  structure(
    list(path = found$path, rows = seq_len(nrow(cells$counts)), places = seq_len(ncol(cells$counts)),
      genes = rownames(cells$counts), cells = colnames(cells$counts)),
    class = "latome_stream"
  )
}

#' A part of counts in memory, or where that is too large, or they are in a store already, as a latome_stream.
#' @noRd
part_or_stream <- function(held, rows, places, allow_noninteger, call) {
  places <- places %||% seq_len(ncol(held$counts))
  here <- sort(rows[!is.na(rows)])
  part <- replace(held, "counts", list(held$counts[here, places, drop = FALSE]))
  known <- length(streams$held) && !is.null(find_stream(key_of(held$counts), allow_noninteger))
  if (!known && !is_too_large(part$counts, held$where, call)) {
    return(part_in_memory(part, match(rows, here), NULL, allow_noninteger, call))
  }
  stream_counts(held, allow_noninteger, TRUE, call)[rows, places]
}

#' What was written in this session of the counts with this key, or NULL.
#' @noRd
find_stream <- function(key, allow_noninteger) {
  for (held in Filter(function(held) !is.null(key) && identical(held$key, key), streams$held)) {
    if ((held$whole || allow_noninteger) && file.exists(file.path(held$path, "store.json"))) {
      streams$held <- c(Filter(function(other) other$path != held$path, streams$held), list(held))
      return(held)
    }
  }
}

write_stream <- function(cells, key, allow_noninteger, verbose, call) {
  folder <- stream_folder()
  forget_streams(HELD - 1L)
  path <- tempfile("counts-", folder)
  inform_latome(paste0(capital(cells$where), " (", class(cells$counts)[[1]], ", ", count_of(ncol(cells$counts), "cell"),
    ") stays on disk: writing it cell by cell to a temporary store for this session, ", path, "."), verbose)
  cells["coldata"] <- list(NULL)               # they may change while the counts do not
  store_blocks(cells, path, FALSE, allow_noninteger, call)
  whole <- request("open_store", path, FALSE, keep = "data", call = call)$whole
  held <- list(key = key, path = path, whole = whole)
  streams$held <- c(streams$held, list(held))
  held
}

#' The folder of this session: `latome.temporary`, by default that of R; it goes with the session.
#' @noRd
stream_folder <- function() {
  within <- getOption("latome.temporary", tempdir())
  if (is.null(streams$folder) || !identical(dirname(streams$folder), within) || !dir.exists(streams$folder)) {
    streams$folder <- tempfile("latome-", within)
    dir.create(streams$folder, recursive = TRUE)
    folder <- streams$folder
    reg.finalizer(streams, function(gone) unlink(folder, recursive = TRUE), onexit = TRUE)
  }
  streams$folder
}

#' Remove all but the last ones used.
#' @noRd
forget_streams <- function(keep = 0L) {
  gone <- seq_len(max(0L, length(streams$held) - keep))
  for (held in streams$held[gone]) unlink(held$path, recursive = TRUE)
  streams$held <- streams$held[setdiff(seq_along(streams$held), gone)]
}

#' What is the same as long as the counts are: of the matrix, and of the files that it names. NULL where that
#' cannot be told.
#' @noRd
key_of <- function(counts) {
  files <- files_of(counts)
  if (anyNA(files)) {
    return(NULL)
  }
  folders <- files[dir.exists(files)]
  files <- sort(unique(c(files, list.files(folders, recursive = TRUE, full.names = TRUE))))
  rlang::hash(list(counts, file.info(files)[c("size", "mtime")]))
}

#' Files that a matrix names, anywhere in it; NA where it holds what may change without a trace.
#' @noRd
files_of <- function(x) {
  if (is.function(x)) {
    return(if (is.primitive(x) || isNamespace(environment(x))) character() else NA_character_)
  }
  if (is.environment(x) || typeof(x) == "externalptr") {
    return(NA_character_)
  }
  if (is.character(x)) {
    return(if (length(x) == 1L && !is.na(x) && file.exists(x)) x)
  }
  parts <- if (isS4(x)) lapply(methods::slotNames(x), methods::slot, object = x) else if (is.list(x)) unclass(x)
  as.character(unlist(lapply(parts, files_of)))
}

#' @export
#' @noRd
dim.latome_stream <- function(x) c(length(x$genes), length(x$cells))

#' @export
#' @noRd
dimnames.latome_stream <- function(x) list(x$genes, x$cells)

#' @export
#' @noRd
`dimnames<-.latome_stream` <- `dimnames<-.latome_blocks`

#' Genes that are not there have no counts.
#' @export
#' @noRd
`[.latome_stream` <- function(x, i, j, ..., drop = FALSE) {
  if (!missing(i)) {
    genes <- if (is.character(i)) i else x$genes[i]
    x[c("rows", "genes")] <- list(x$rows[positions(i, x$genes)], genes)
  }
  if (!missing(j)) {
    j <- positions(j, x$cells)
    x[c("places", "cells")] <- list(x$places[j], x$cells[j])
  }
  x
}

#' An AnnData (Python) of counts, in memory or on disk, and coded columns; see to_anndata().
#' @noRd
hand_over <- function(counts, columns = NULL, call = rlang::caller_env()) {
  if (!inherits(counts, "latome_stream")) {
    return(to_anndata(counts, columns, call))
  }
  engine(call)
  request("part_of_stream", counts$path, as_numpy(replace(counts$rows - 1L, is.na(counts$rows), -1L)),
    as_python_strings(counts$genes), as_numpy(counts$places - 1L), as_python_dict(lapply(columns, column_to_python)),
    keep = "data", call = call)$data
}

#' Positions of the cells, or of the genes, without a count.
#' @noRd
silent_in <- function(stream, what, call = rlang::caller_env()) {
  as.integer(unlist(request("silent", hand_over(stream, call = call), what, call = call)$places)) + 1L
}
