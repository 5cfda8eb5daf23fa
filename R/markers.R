# CellAssign: marker genes as people bring them, and what is done with them.

#' What run_cellassign() does.
#' @noRd
assign_cells <- function(object, settings, arguments, call) {
  table <- marker_table(arguments$markers, call)
  arguments["markers"] <- list(NULL)
  arguments$whole <- TRUE                      # size factors are over all genes
  ready <- ready_to_train(object, arguments, call)
  table <- markers_there(table, ready$genes, call)
  inform_latome(paste0("Markers: ", count_of(nrow(table), "gene"), " of ", count_of(ncol(table), "type"), "."),
    arguments$verbose)
  started <- request("start_markers", ready$data, as_python_strings(rownames(table)),
    as_python_strings(colnames(table)), as_numpy(as.double(t(table))), as_python_dict(settings),
    as_python_roles(arguments$roles), as_python_dict(unclass(arguments$training)), arguments$seed,
    arguments$allow_noninteger, keep = "trainer", call = call)
  trained <- drive(started, "finish", arguments$verbose, call)
  fit <- new_model(trained, source = ready$source)
  results <- results_of(fit, NULL, ready, arguments$name, call)
  store(object, fit, results, "run_cellassign", c(arguments, settings), call)
}

MARKERS_LIKE <- "list(B = c(\"CD79A\", \"MS4A1\"), T = \"CD3D\")"

#' Markers in any form as a logical matrix, genes x types, both named.
#' @noRd
marker_table <- function(markers, call) {
  abort <- function(problem, hint) {
    abort_latome(problem, hint, kind = "FieldError", field = "markers", call = call)
  }
  is_table <- is.data.frame(markers) || inherits(markers, "DataFrame")
  if (is_table) markers <- as.matrix(as.data.frame(markers, optional = TRUE))
  if (is.list(markers)) markers <- marker_lists(markers, abort)
  if (inherits(markers, "Matrix")) markers <- as.matrix(markers)
  if (!is.matrix(markers)) {
    abort(paste0("`markers` is ", article(class(markers)[[1]]), "."),
      paste0("Give a named list of gene names, such as ", MARKERS_LIKE, ", or a matrix of 0 and 1."))
  }
  check_marker_matrix(markers, abort)
  storage.mode(markers) <- "logical"
  check_marker_types(markers, abort)
  markers[rowSums(markers) > 0, , drop = FALSE]
}

#' A named list of gene names as a matrix of 0 and 1.
#' @noRd
marker_lists <- function(markers, abort) {
  types <- names(markers)
  if (is.null(types) || any(!nzchar(types)) || anyNA(types)) {
    abort("The list `markers` must have a name for each type.", paste0("Such as ", MARKERS_LIKE, "."))
  }
  for (type in types[!vapply(markers, function(genes) is.character(genes) || is.null(genes), NA)]) {
    abort(paste0("The markers of '", type, "' are ", article(class(markers[[type]])[[1]]), ", not gene names."),
      "Give gene names as strings.")
  }
  genes <- unique(unlist(markers, use.names = FALSE))
  made <- vapply(markers, function(of) as.double(genes %in% of), double(length(genes)))
  matrix(made, length(genes), length(types), dimnames = list(genes, types))
}

check_marker_matrix <- function(markers, abort) {
  if (is.null(rownames(markers)) || is.null(colnames(markers))) {
    abort("The table of markers has no names of genes or types.", "Genes are its rows and types its columns: set both.")
  }
  if (!(is.numeric(markers) || is.logical(markers)) || !all(markers %in% c(0, 1))) {
    wrong <- unique(markers[!markers %in% c(0, 1)])
    abort(paste0("The table of markers holds ", if (length(wrong)) shown_value(wrong[[1]]) else typeof(markers),
      "; it may hold 0 and 1 only."), "1 where a gene is a marker of a type, else 0.")
  }
  for (side in 1:2) {
    names <- dimnames(markers)[[side]]
    if (anyDuplicated(names)) {
      abort(paste0("The ", c("gene", "type")[[side]], " '", names[anyDuplicated(names)],
        "' is in the markers more than once."), "Name each once.")
    }
  }
}

check_marker_types <- function(markers, abort) {
  if (ncol(markers) < 2L) {
    abort(paste0("The markers are of ", count_of(ncol(markers), "type"), "; there must be at least two."),
      "A type without markers, character(), takes the cells that fit no other.")
  }
  bare <- colnames(markers)[colSums(markers) == 0]
  if (length(bare) > 1L) {
    abort(paste0("The types ", quoted(bare), " have no markers: they cannot be told apart."),
      "Give them markers; only one type may be without.")
  }
}

#' The markers that are genes of the data; a type may not lose all of its own.
#' @noRd
markers_there <- function(table, genes, call) {
  renamed <- as_seurat_names(rownames(table))
  rownames(table) <- ifelse(rownames(table) %in% genes | !renamed %in% genes, rownames(table), renamed)
  absent <- setdiff(rownames(table), genes)
  if (!length(absent)) {
    return(table)
  }
  left <- table[rownames(table) %in% genes, , drop = FALSE]
  lost <- colnames(table)[colSums(table) > 0 & colSums(left) == 0]
  hint <- suggest(absent[[1]], genes, "Its genes")
  if (length(lost)) {
    of_type <- rownames(table)[table[, lost[[1]]]]
    abort_latome(
      paste0("None of the markers of '", lost[[1]], "' (", quoted(of_type, 4L), ") is a gene of the data."),
      suggest(of_type[[1]], genes, "Its genes"), kind = "FieldError", field = "markers", call = call
    )
  }
  warn_latome(paste0(count_of(length(absent)), " of ", count_of(nrow(table), "marker"),
    " are no genes of the data and are left out: ", quoted(absent, 4L), "."), hint)
  left
}
