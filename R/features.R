#' The genes to train on, in the order of the rows.
#'
#' @param cells as read_cells() returns them
#' @param features NULL (the object's own choice, else the engine's), "all", or gene names
#' @param batch the coded batch column, or NULL
#' @return character vector of row names
#' @noRd
choose_genes <- function(cells, features, batch, verbose, call) {
  all_genes <- rownames(cells$counts)
  if (identical(features, "all") && !"all" %in% all_genes) {
    chosen <- list(genes = all_genes, how = "all of them")
  } else if (!is.null(features)) {
    chosen <- list(genes = match_features(features, all_genes, verbose, call), how = "as given")
  } else {
    chosen <- own_genes(cells, verbose, call) %||% select_genes(cells, batch, call)
  }
  genes <- all_genes[all_genes %in% chosen$genes]
  empty <- silent_genes(cells$counts, genes)
  settle_genes(genes, empty, chosen$how, verbose, call)
}

#' The genes without those that no cell expresses: such a gene teaches the model nothing, and that is said.
#' @noRd
settle_genes <- function(genes, empty, how, verbose, call) {
  empty <- intersect(genes, empty)
  if (length(empty)) {
    inform_latome(paste0("Leaves out ", count_of(length(empty), "gene"), " without any count: ",
      quoted(empty, 3L), "."), verbose)
  }
  used <- setdiff(genes, empty)
  inform_latome(paste0("Genes: ", count_of(length(used)), ", ", how, "."), verbose)
  if (length(used) < 2L) {
    abort_latome(
      paste0("Only ", count_of(length(used), "gene"), " with counts to train on; a model needs at least 2."),
      "Give more of them as `features`.", kind = "FieldError", field = "features", call = call
    )
  }
  used
}

match_features <- function(features, genes, verbose, call) {
  if (!is.character(features) || anyNA(features) || !length(features)) {
    abort_supplied("features", "gene names, \"all\" or NULL", features, call)
  }
  features <- unique(features)
  # Seurat turns "_" in feature names into "-"
  renamed <- gsub("_", "-", features, fixed = TRUE)
  features <- ifelse(features %in% genes | !renamed %in% genes, features, renamed)
  absent <- setdiff(features, genes)
  if (length(absent) == length(features)) {
    abort_latome(
      paste0("None of the ", count_of(length(features), "feature"), " is a gene of the data: ",
        quoted(features, 3L), "."),
      paste0("Its genes are named like ", quoted(genes, 3L), "."),
      kind = "FieldError", field = "features", call = call
    )
  }
  if (length(absent)) {
    warn_latome(paste0(count_of(length(absent)), " of ", count_of(length(features), "feature"),
      " are no genes of the data and are left out: ", quoted(absent, 3L), "."))
  }
  setdiff(features, absent)
}

#' The object's own selection; NULL where there is none, or where it is so small that cells are
#' left without a count although they have some in other genes.
#' @noRd
own_genes <- function(cells, verbose, call) {
  if (!length(cells$features)) {
    return(NULL)
  }
  genes <- match_features(cells$features, rownames(cells$counts), verbose, call)
  silent <- silent_cells(cells$counts, genes)
  if (length(silent) && !length(silent_cells(cells$counts, rownames(cells$counts)))) {
    inform_latome(paste0("The object's own selection of ", count_of(length(genes), "gene"), " leaves ",
      count_of(length(silent), "cell"), " without counts; it is not used."), verbose)
    return(NULL)
  }
  list(genes = genes, how = "the object's own selection")
}

#' The engine's selection: genes with more zeros than a Poisson count of their mean, by batch.
#' @noRd
select_genes <- function(cells, batch, call, n_top = 4000L) {
  if (nrow(cells$counts) <= n_top) {
    return(list(genes = rownames(cells$counts), how = "all there are"))
  }
  data <- hand_over(cells$counts, if (!is.null(batch)) list(batch = batch), call)
  reply <- request("select_genes", data, n_top, if (!is.null(batch)) "batch", call = call)
  list(
    genes = as.character(reply$genes),
    how = "those with the largest excess of zeros"
  )
}

#' Rows by name; the matrix itself, uncopied, where they are all there in order.
#' @noRd
take_genes <- function(counts, genes) {
  if (identical(genes, rownames(counts))) counts else counts[genes, , drop = FALSE]
}

#' A cell without counts in the genes of the model has no profile to place.
#' @noRd
check_empty_cells <- function(cells, genes, call) {
  silent <- silent_cells(cells$counts, genes)
  if (!length(silent)) {
    return(invisible())
  }
  everywhere <- silent_cells(cells$counts, rownames(cells$counts))
  hint <- if (length(everywhere)) {
    "Leave empty cells out first: object[, Matrix::colSums(counts) > 0]."
  } else {
    "They have counts in other genes: give more `features`, or leave these cells out."
  }
  abort_latome(
    paste0(count_of(length(silent), "cell"), " of ", cells$where, " without any count in the ",
      count_of(length(genes)), " genes of the model: ", quoted(silent, 3L), "."),
    hint, kind = "FieldError", field = "object", call = call
  )
}

silent_cells <- function(counts, genes) {
  counts <- take_genes(counts, genes)
  colnames(counts)[if (inherits(counts, "latome_stream")) silent_in(counts, "cells") else Matrix::colSums(counts) == 0]
}

silent_genes <- function(counts, genes) {
  counts <- take_genes(counts, genes)
  genes[if (inherits(counts, "latome_stream")) silent_in(counts, "genes") else Matrix::rowSums(counts) == 0]
}
