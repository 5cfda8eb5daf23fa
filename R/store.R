#' A store of counts on disk, for training that reads them again and again
#'
#' `prepare_store()` writes counts into a folder in the form in which training
#' reads them fastest, and `run_*()` train from there: memory stays the same
#' however many cells there are. Counts that are in a file already (`.h5ad`, `.zarr`, a
#' `DelayedMatrix`) pass through in blocks of cells; nothing becomes dense, and
#' at no time are all of them in memory.
#'
#' A folder holds the counts with all genes, the names of cells and genes, and
#' the columns of the cell data that are groups or numbers. It appears when it
#' is complete: an interrupt or a crash leaves nothing half written.
#'
#' `run_*()` and questions to a model do the same by themselves with an object whose
#' counts lie on disk (a `DelayedMatrix` such as of HDF5Array, layers of BPCells): what would
#' take more than 200 MB as a `dgCMatrix` is written to a temporary store, with a message, and
#' read from there until the session ends or the counts change; less is read into memory. The last
#' three such stores are kept. `options()`: `latome.in_memory` is that limit in bytes,
#' `latome.temporary` the folder ([tempdir()]), `latome.block` the values that are read at
#' a time (5e6, and ten times as many of what is sparse on disk).
#'
#' @param object a Seurat object, a SingleCellExperiment or a matrix of counts
#'   (genes x cells); or the path of an `.h5ad` file or a `.zarr` folder.
#' @param path the folder of the store.
#' @param assay,layer where the counts are; of an `.h5ad` or `.zarr`, `layer` names a
#'   layer instead of `X`.
#' @param coldata for a matrix: a data.frame, rows named by cell.
#' @param overwrite replace a store that is there already?
#' @param allow_noninteger accept counts that are not whole numbers, such as
#'   those corrected for ambient RNA.
#' @param verify compare the checksums of the files, which reads them once?
#'   Their sizes are always compared.
#' @return Both return a `latome_store`: the path, and what is there. Give it to
#'   [run_scvi()] in place of an object; the model is what that returns, as with a
#'   matrix. Verbs such as [latent_representation()] take it together with
#'   `model`. It holds names only, no counts: [saveRDS()] keeps it, as long as the
#'   folder stays where it is.
#' @export
#' @examplesIf latome_available()
#' counts <- matrix(rpois(2000, 2), 40, 50, dimnames = list(paste0("g", 1:40), paste0("c", 1:50)))
#' lanes <- data.frame(lane = rep(c("a", "b"), 25), row.names = colnames(counts))
#' store <- prepare_store(counts, file.path(tempdir(), "my-store"), coldata = lanes, overwrite = TRUE)
#' store
#' fit <- run_scvi(store, batch = "lane", training = training_options(max_epochs = 3, threads = 2), verbose = FALSE)
#' head(latent_representation(store, model = fit), 3)
prepare_store <- function(object, path, assay = NULL, layer = NULL, coldata = NULL, overwrite = FALSE,
                          allow_noninteger = FALSE) {
  call <- rlang::current_env()
  check_string(path)
  check_flag(overwrite)
  check_flag(allow_noninteger)
  path <- normalizePath(path, mustWork = FALSE)
  if (is_string(object)) {
    written <- store_file(object, path, assay, layer, coldata, overwrite, allow_noninteger, call)
  } else {
    cells <- get_cells(object, assay, layer, coldata, call)
    write <- if (is_apart(cells$counts)) store_blocks else store_matrix
    written <- write(cells, path, overwrite, allow_noninteger, call)
  }
  describe_store(request("open_store", written$path, FALSE, keep = "data", call = call), written$path)
}

#' @rdname prepare_store
#' @export
open_store <- function(path, verify = TRUE) {
  call <- rlang::current_env()
  check_string(path)
  check_flag(verify)
  path <- normalizePath(path, mustWork = FALSE)
  describe_store(request("open_store", path, verify, keep = "data", call = call), path)
}

#' @method print latome_store
#' @export
#' @noRd
print.latome_store <- function(x, ...) {
  cat(
    paste0("<latome_store> ", count_of(length(x$cells), "cell"), " x ", count_of(length(x$genes), "gene")),
    paste0("  folder   ", x$path),
    if (length(x$columns)) paste0("  columns  ", paste(x$columns, collapse = ", ")),
    sep = "\n"
  )
  invisible(x)
}

describe_store <- function(reply, path) {
  names_of <- function(what) as.character(unlist(reply[[what]]))
  structure(
    list(
      path = path, cells = names_of("cells"), genes = names_of("genes"), columns = names_of("columns"),
      silent = names_of("silent")
    ),
    class = "latome_store"
  )
}

#' Is this a store, or the path of one?
#' @noRd
is_store <- function(object) {
  inherits(object, "latome_store") || (is_string(object) && file.exists(file.path(object, "store.json")))
}

store_file <- function(object, path, assay, layer, coldata, overwrite, allow_noninteger, call) {
  if (!is.null(assay) || !is.null(coldata)) {
    abort_latome(paste0("`", if (is.null(assay)) "coldata" else "assay", "` has no meaning for a file."),
      "A layer of the file is named by `layer`; its own columns of the cells are kept.", field = "assay", call = call)
  }
  request("prepare_store", normalizePath(object, mustWork = FALSE), path, layer, overwrite, allow_noninteger, call = call)
}

#' Counts in memory: the engine reads R's own vectors, and the store is written from those.
#' @noRd
store_matrix <- function(cells, path, overwrite, allow_noninteger, call) {
  cells <- complete_cells(cells, call)
  check_values(cells, allow_noninteger, call)
  columns <- Filter(Negate(is.null), lapply(cells$coldata, code_any))
  request("prepare_store", to_anndata(cells$counts, columns, call), path, NULL, overwrite, allow_noninteger, call = call)
}

#' Counts that stay where they are: blocks of cells, each a dgCMatrix for a moment.
#' @noRd
store_blocks <- function(cells, path, overwrite, allow_noninteger, call) {
  counts <- cells$counts
  names <- colnames(counts) %||% as.character(seq_len(ncol(counts)))
  check_dimnames(list(counts = counts, where = cells$where), call)
  engine(call)
  writer <- request("begin_store", as_python_strings(rownames(counts)), path, cells$where, overwrite,
    allow_noninteger, keep = "writer", call = call)$writer
  done <- FALSE
  bar <- query_bar("Writing", ncol(counts))
  on.exit({
    bar(NULL)
    if (!done) request("discard_store", writer, call = call)
  })
  size <- cells_at_a_time(counts)
  for (from in seq(1, ncol(counts), by = size)) {
    to <- min(ncol(counts), from + size - 1)
    block <- as_dgCMatrix(counts[, from:to, drop = FALSE], cells$where, call)
    check_values(replace(cells, "counts", list(block)), allow_noninteger, call)
    request("add_to_store", writer, as_numpy(block@x), as_numpy(block@i), as_numpy(block@p), ncol(block), call = call)
    bar(to)
  }
  columns <- Filter(Negate(is.null), lapply(cells$coldata, code_any))
  written <- request("finish_store", writer, as_python_strings(names), as_python_strings(rownames(counts)),
    as_python_dict(lapply(columns, column_to_python)), call = call)
  done <- TRUE
  written
}

#' What is in a store, opened in Python, ready to be asked or trained on.
#'
#' @return list: store, data (an AnnData in Python)
#' @noRd
use_store <- function(object, call) {
  path <- if (is_string(object)) normalizePath(object) else object$path
  engine(call)
  reply <- request("open_store", path, FALSE, keep = "data", call = call)
  list(store = describe_store(reply, path), data = reply$data)
}

#' The columns of a store as a data.frame, one row a cell.
#' @noRd
store_coldata <- function(data, store, call) {
  coldata <- data.frame(row.names = seq_along(store$cells))
  found <- request("store_columns", data, as_python_strings(store$columns), call = call)$columns
  for (name in store$columns) {
    column <- found[[name]]
    if (is.null(column$codes)) {
      coldata[[name]] <- as.vector(column$values)
    } else {
      codes <- as.vector(column$codes)
      levels <- as.character(unlist(column$levels))
      coldata[[name]] <- factor(levels[replace(codes, codes < 0, NA) + 1L], levels)
    }
  }
  coldata
}

#' What cells_to_train() is for an object.
#' @noRd
store_to_train <- function(object, arguments, call, groups = NULL) {
  for (arg in c("assay", "layer", "coldata")) {
    if (!is.null(arguments[[arg]])) {
      abort_latome(paste0("`", arg, "` has no meaning for a store."),
        "It was chosen in prepare_store().", field = arg, call = call)
    }
  }
  opened <- use_store(object, call)
  store <- opened$store
  coldata <- store_coldata(opened$data, store, call)
  code_columns(coldata, arguments$roles, call = call)
  check_unlabeled_there(coldata, arguments$roles, call)
  code_groups(coldata, groups, call)
  genes <- settled_genes(arguments, store$genes, call) %||% store_genes(opened, arguments, call)
  data <- request("part_of_store", opened$data, as_python_strings(genes), keep = "data", call = call)$data
  list(data = data, cells = store$cells, genes = genes, coldata = coldata, source = arguments["allow_noninteger"])
}

#' The genes to train on; see choose_genes().
#' @noRd
store_genes <- function(opened, arguments, call, n_top = 4000L) {
  all_genes <- opened$store$genes
  features <- arguments$features
  if (identical(features, "all") && !"all" %in% all_genes) {
    chosen <- list(genes = all_genes, how = "all of them")
  } else if (!is.null(features)) {
    chosen <- list(genes = match_features(features, all_genes, arguments$verbose, call), how = "as given")
  } else if (length(all_genes) <= n_top) {
    chosen <- list(genes = all_genes, how = "all there are")
  } else {
    reply <- request("select_genes", opened$data, n_top, arguments$roles$batch, call = call)
    chosen <- list(genes = as.character(reply$genes), how = "those with the largest excess of zeros")
  }
  genes <- all_genes[all_genes %in% chosen$genes]
  settle_genes(genes, opened$store$silent, chosen$how, arguments$verbose, call)
}

#' What open_query() does with an object, for a store.
#' @noRd
open_stored_query <- function(x, fit, cells, call) {
  opened <- use_store(x, call)
  store <- opened$store
  check_genes_there(fit, store$genes, call)
  places <- if (is.null(cells)) seq_along(store$cells) else match_cells(cells, store$cells, "cells", call)
  data <- request("part_of_store", opened$data, as_python_strings(genes_to_ask(fit, store$genes)), if (!is.null(cells)) as_numpy(places),
    keep = "data", call = call)$data
  coldata <- store_coldata(opened$data, store, call)[places, , drop = FALSE]
  rownames(coldata) <- store$cells[places]
  code_columns(coldata, model_columns(fit, coldata), training = FALSE, call = call)
  list(
    fit = fit, weights = model_weights(fit, call), cells = store$cells[places], places = places, coldata = coldata,
    where = paste0("the store '", store$path, "'"), stored = FALSE, data = data
  )
}
