# Questions to a trained model: the model, the cells, and how both cross to the engine.

#' A trained model and the data it is asked about.
#'
#' @param cells which cells: NULL (all), names, TRUE/FALSE or positions
#' @param source list: assay, layer, coldata, allow_noninteger
#' @param latent whether the question is one to a model with a latent
#' @return list: fit, weights, data (an AnnData in Python), cells (names), places (their positions in
#'   the object), coldata (their rows), where (the counts are, in words), stored (whether the model answers
#'   from the posterior that it remembers)
#' @noRd
open_query <- function(x, model, cells, source, call, latent = TRUE) {
  check_flag(source$allow_noninteger, arg = "allow_noninteger", call = call)
  fit <- the_model(x, model, call)
  if (latent) check_latent(fit, call)
  if (answers_alone(x, fit, source)) {
    return(open_stored(x, fit, cells, call))
  }
  if (inherits(x, "latome_model")) {
    abort_latome("A model is asked about data, and there are none.",
      "Give the data first: latent_representation(object, model = fit).",
      kind = "QueryError", field = "x", call = call)
  }
  source[c("assay", "layer")] <- place_of_counts(x, fit, source)
  if (is_store(x)) {
    return(open_stored_query(x, fit, cells, call))
  }
  held <- name_cells(get_cells(x, source$assay, source$layer, source$coldata, call), call)
  places <- seq_len(ncol(held$counts))
  if (!is.null(cells)) {
    places <- match_cells(cells, colnames(held$counts), "cells", call)
    held$coldata <- held$coldata[places, , drop = FALSE]
  }
  columns <- code_columns(held$coldata, model_columns(fit, held$coldata), training = FALSE, call = call)
  held$counts <- counts_to_ask(held, fit, if (!is.null(cells)) places, source$allow_noninteger, call)
  check_empty_cells(held, rownames(held$counts), call)
  list(
    fit = fit, weights = model_weights(fit, call), cells = colnames(held$counts), places = places,
    coldata = held$coldata, where = held$where, stored = FALSE, data = hand_over(held$counts, columns, call)
  )
}

#' The counts that a model is asked about: its genes, zeros for those that the cells lacked when they were mapped.
#'
#' @param held as get_cells() returns it, named
#' @param places positions of the cells; NULL for all
#' @return a dgCMatrix, or a latome_stream where that would be too large; checked
#' @noRd
counts_to_ask <- function(held, fit, places, allow_noninteger, call) {
  there <- spelled_as(rownames(held$counts), fit$genes)
  known <- union(there, fit$source$absent)
  check_genes_there(fit, known, call)
  genes <- genes_to_ask(fit, known)
  rows <- match(genes, there)
  allow_noninteger <- allow_noninteger || takes_fractions(fit)
  read <- if (is_apart(held$counts)) part_or_stream else part_in_memory
  counts <- read(held, rows, places, allow_noninteger, call)
  rownames(counts) <- genes
  counts
}

#' Rows and columns by position; zeros where a row is NA, all columns where there are none given.
#' @noRd
part_in_memory <- function(held, rows, places, allow_noninteger, call) {
  held$counts <- rows_or_zeros(as_counts(held$counts, held$where, call), rows)
  if (!is.null(places)) held$counts <- held$counts[, places, drop = FALSE]
  check_values(held, allow_noninteger, call)
  held$counts
}

#' Most questions are to models that place cells in a latent space and decode from there.
#' @noRd
check_latent <- function(fit, call) {
  if (!has_latent(fit$kind)) {
    verbs <- own_verbs(fit$kind)
    abort_latome(paste0(fit$title, " has no latent space, and does not answer this."),
      if (length(verbs)) paste0("Ask it: ", paste0(verbs, "()", collapse = ", "), "."),
      kind = "QueryError", field = "model", call = call)
  }
}

#' The genes that cross to the engine: those of the model, or all where they make size factors.
#' @noRd
genes_to_ask <- function(fit, there) {
  if (needs_all_genes(fit)) there else fit$genes
}

#' A model needs each gene that it was trained on.
#' @noRd
check_genes_there <- function(fit, genes, call) {
  missing <- setdiff(fit$genes, genes)
  if (length(missing)) {
    abort_latome(
      paste0(count_of(length(missing)), " of the ", count_of(length(fit$genes), "gene"),
        " of the model are not in the data: ", quoted(missing, 3L), "."),
      "The model needs each gene it was trained on.", kind = "QueryError", field = "genes", call = call
    )
  }
}

#' Whether a model was trained on values that are not whole numbers.
#' @noRd
takes_fractions <- function(fit) {
  isTRUE(fit$source$allow_noninteger) || identical(fit$settings$gene_likelihood, "normal")
}

#' The columns that a model needs; labels only where they are there.
#' @noRd
model_columns <- function(fit, coldata) {
  columns <- lapply(fit$summary$columns[c("batch", "labels", "categorical", "continuous", "size_factor")], unlist)
  if (!isTRUE(columns$labels %in% colnames(coldata))) columns$labels <- NULL
  columns
}

#' Where the counts are, as a verb was told.
#' @noRd
counts_in <- function(assay, layer, coldata, allow_noninteger) {
  list(assay = assay, layer = layer, coldata = coldata, allow_noninteger = allow_noninteger)
}

has_assay <- function(x, assay) {
  if (inherits(x, "Seurat")) {
    assay %in% names(x@assays)
  } else {
    inherits(x, "SummarizedExperiment") && assay %in% SummarizedExperiment::assayNames(x)
  }
}

#' Positions of cells given by name, as TRUE/FALSE, or by position.
#' @noRd
match_cells <- function(cells, names, arg, call) {
  abort <- function(...) abort_latome(..., kind = "QueryError", field = arg, call = call)
  if (is.factor(cells)) cells <- as.character(cells)
  if (!is.atomic(cells) || anyNA(cells) || !(is.character(cells) || is.logical(cells) || is.numeric(cells))) {
    abort_supplied(arg, "names of cells, their positions, or TRUE and FALSE for each cell", cells, call)
  }
  if (is.logical(cells)) {
    if (length(cells) != length(names)) {
      abort(paste0("`", arg, "` has ", count_of(length(cells), "entry", "entries"), " for ",
        count_of(length(names), "cell"), "."), "Give TRUE or FALSE for each cell.")
    }
    cells <- which(cells)
  } else if (is.character(cells)) {
    found <- match(cells, names)
    if (anyNA(found)) {
      absent <- cells[is.na(found)]
      abort(paste0(count_of(length(absent)), " of ", count_of(length(cells), "cell"), " in `", arg,
        "` are not in the data: ", quoted(absent, 3L), "."), suggest(absent[[1]], utils::head(names, 5000L), "Cells"))
    }
    cells <- found
  }
  if (any(cells != round(cells) | cells < 1 | cells > length(names))) {
    abort(paste0("A position in `", arg, "` is no whole number from 1 to ", count_of(length(names)), "."))
  }
  if (!length(cells)) {
    abort(paste0("`", arg, "` selects no cell."), "Check what was selected.")
  }
  if (anyDuplicated(cells)) {
    abort(paste0("`", arg, "` names ", quoted(names[cells[anyDuplicated(cells)]]), " more than once."))
  }
  as.integer(cells)
}

#' Ask an opened query.
#'
#' @param verb function of the bridge that takes a document, weights, data, options and a seed
#' @param options named list; NULL crosses as None
#' @noRd
ask <- function(asked, verb, options, seed, call, keep = NULL) {
  request(verb, asked$fit$document, asked$weights, asked$data, as_python_dict(options), seed, keep = keep, call = call)
}

check_seed <- function(seed, call = rlang::caller_env()) {
  check_whole_number(seed, ge = 0, arg = "seed", call = call)
}

#' Genes of a model, as asked for: NULL for all of them.
#' @noRd
model_genes <- function(fit, features, call) {
  if (is.null(features)) {
    return(fit$genes)
  }
  if (!is.character(features) || anyNA(features) || !length(features)) {
    abort_supplied("features", "gene names, or NULL for all genes of the model", features, call)
  }
  features <- unique(spelled_as(features, fit$genes))
  absent <- setdiff(features, fit$genes)
  if (length(absent)) {
    abort_latome(
      paste0("The model was not trained on ", count_of(length(absent)), " of ", count_of(length(features), "feature"), ": ",
        quoted(absent, 3L), "."),
      c(suggest(absent[[1]], fit$genes, "Its genes"),
        "A model knows the genes that were its `features` in training; train again with those you want."),
      kind = "QueryError", field = "features", call = call
    )
  }
  features
}

#' Names of batches of a model, to decode under.
#' @noRd
model_batches <- function(fit, batches, arg, call) {
  if (is.null(batches)) {
    return(NULL)
  }
  if (!is.atomic(batches) || anyNA(batches) || !length(batches)) {
    abort_supplied(arg, "names of batches", batches, call)
  }
  batches <- unique(as.character(batches))
  unknown <- setdiff(batches, fit$levels$batch)
  if (length(unknown)) {
    abort_latome(paste0("The model knows no batch ", quoted(unknown, 3L), "."),
      suggest(unknown[[1]], fit$levels$batch, "Its batches"), kind = "QueryError", field = arg, call = call)
  }
  as_python_strings(batches)
}

#' Values that came back for all genes or some, as a matrix with names.
#' @noRd
name_genes <- function(values, genes, cells = NULL) {
  dim(values) <- c(length(genes), length(values) / length(genes))
  dimnames(values) <- list(genes, cells)
  values
}

#' Three arrays as a dgCMatrix of genes x cells.
#' @noRd
as_sparse <- function(parts, genes, cells) {
  methods::new("dgCMatrix",
    x = as.vector(parts$x), i = as.vector(parts$i), p = as.vector(parts$p),
    Dim = c(length(genes), length(cells)), Dimnames = list(genes, cells)
  )
}

#' A dense result may not be larger than this many bytes.
#' @noRd
check_size <- function(n_values, what, ways_out, call) {
  most <- getOption("latome.largest_result", 8 * 1024^3)
  bytes <- 8 * n_values
  if (bytes > most) {
    abort_latome(
      paste0(what, " would take ", format_size(bytes), " of memory; results beyond ", format_size(most), " are not made."),
      c(ways_out, "options(latome.largest_result = bytes) changes the limit."),
      kind = "QueryError", field = "features", call = call
    )
  }
}

format_size <- function(bytes) {
  if (bytes >= 1024^3) paste(format(round(bytes / 1024^3, 1), big.mark = ","), "GB") else format_bytes(bytes)
}
