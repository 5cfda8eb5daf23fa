# The two sides of a container: get_cells() fetches, put_*() store. Their methods are the only
# code that knows a Seurat object from a SingleCellExperiment or a matrix.

#' Fetch counts and cell data.
#'
#' @return list: counts (any matrix, genes x cells, as stored), coldata (a data.frame, one row a
#'   cell, in the order of the counts), features (the object's own choice of genes, or NULL),
#'   assay and layer (names, or NULL), other_layers (what else there is), where (words for a message)
#' @noRd
get_cells <- function(object, assay = NULL, layer = NULL, coldata = NULL,
                      call = rlang::caller_env()) {
  UseMethod("get_cells")
}

#' Store a latent (cells x k, rows named) under a name, and loadings (genes x k, rows named) with it.
#' @noRd
put_latent <- function(object, latent, name, assay, loadings = NULL) UseMethod("put_latent")

#' Store columns (a data.frame, rows named by cell) in the cell data.
#' @noRd
put_coldata <- function(object, columns) UseMethod("put_coldata")

#' Store columns (a data.frame, rows named by gene) in the gene data of an assay; NA for genes without a row.
#' @noRd
put_rowdata <- function(object, columns, assay) UseMethod("put_rowdata")

#' Names of the columns of the cell data, whatever they hold.
#' @noRd
coldata_names <- function(object) UseMethod("coldata_names")

#' Names of the columns of the gene data of an assay; NULL for the default one.
#' @noRd
rowdata_names <- function(object, assay = NULL) UseMethod("rowdata_names")

#' Store values (features x cells, columns in the order of the cells) as an assay.
#' @noRd
put_assay <- function(object, values, name, call = rlang::caller_env()) UseMethod("put_assay")

#' What put_assay() will set, in words. An error where the name is taken by what is not ours.
#' @noRd
assay_place <- function(object, name, call = rlang::caller_env()) UseMethod("assay_place")

#' What this package keeps in an object beside the results: a named list with models, de (tables) and doublets, each
#' by name; and what is ours, by name: written (assays), columns (of the cell data), features (columns of the gene
#' data). Each is absent where there is none.
#' @noRd
get_kept <- function(object, call = rlang::caller_env()) UseMethod("get_kept")

#' @noRd
put_kept <- function(object, kept) UseMethod("put_kept")

#' The groups of the cells that the object itself holds: a factor, or NULL.
#' @noRd
own_groups <- function(object) UseMethod("own_groups")

#' Note the call in the object's own log, where it has one.
#' @noRd
put_command <- function(object, verb, arguments, assay) UseMethod("put_command")

#' The name under which put_latent() stores, or NULL where it stores nothing.
#' @noRd
latent_place <- function(object, name) UseMethod("latent_place")

#' Is the name under which put_latent() would store taken already, by whatever it is?
#' @noRd
is_taken <- function(object, name) UseMethod("is_taken")

# --- matrices: nothing is stored in them, the model is what a verb returns ---------------------

#' @export
#' @noRd
get_cells.matrix <- function(object, assay = NULL, layer = NULL, coldata = NULL,
                             call = rlang::caller_env()) {
  for (arg in c("assay", "layer")) {
    if (!is.null(get(arg, inherits = FALSE))) {
      abort_latome(paste0("`", arg, "` has no meaning for a plain matrix."),
        "Leave it out.", field = arg, call = call)
    }
  }
  list(
    counts = object, coldata = match_coldata(coldata, colnames(object), ncol(object), call),
    features = NULL, assay = NULL, layer = NULL, other_layers = character(),
    where = "the matrix"
  )
}

#' @export
#' @noRd
get_cells.Matrix <- get_cells.matrix

#' @export
#' @noRd
get_cells.DelayedMatrix <- get_cells.matrix

#' @export
#' @noRd
get_cells.default <- function(object, assay = NULL, layer = NULL, coldata = NULL,
                              call = rlang::caller_env()) {
  hint <- if (is.data.frame(object)) {
    "Turn it into a matrix with genes in rows: as.matrix(object)."
  } else if (inherits(object, "python.builtin.object")) {
    "For an AnnData object use latome_python()$model$SCVI."
  } else if (inherits(object, "latome_model")) {
    "This is a trained model; the data come first: give the object, and the model as `model`."
  } else if (is.character(object)) {
    "A file of counts is prepared first, once: store <- prepare_store(\"cells.h5ad\", \"cells.store\")."
  } else {
    ""
  }
  abort_latome(
    paste0(
      "`object` must be a Seurat object, a SingleCellExperiment or a matrix of counts ",
      "(genes x cells), not ", article(class(object)[[1]]), "."
    ), hint, kind = "FieldError", field = "object", call = call
  )
}

#' @export
#' @noRd
put_latent.default <- function(object, latent, name, assay, loadings = NULL) object

#' @export
#' @noRd
put_coldata.default <- function(object, columns) no_place(object, rlang::caller_env())

#' @export
#' @noRd
put_rowdata.default <- function(object, columns, assay) no_place(object, rlang::caller_env())

#' @export
#' @noRd
coldata_names.default <- function(object) character()

#' @export
#' @noRd
rowdata_names.default <- function(object, assay = NULL) character()

#' @export
#' @noRd
put_command.default <- function(object, verb, arguments, assay) object

#' @export
#' @noRd
get_kept.default <- function(object, call = rlang::caller_env()) list()

#' @export
#' @noRd
put_assay.default <- function(object, values, name, call = rlang::caller_env()) no_place(object, call)

#' @export
#' @noRd
assay_place.default <- function(object, name, call = rlang::caller_env()) no_place(object, call)

#' @export
#' @noRd
put_kept.default <- function(object, kept) no_place(object, rlang::caller_env())

#' @export
#' @noRd
own_groups.default <- function(object) NULL

#' @export
#' @noRd
latent_place.default <- function(object, name) NULL

#' @export
#' @noRd
is_taken.default <- function(object, name) FALSE

no_place <- function(object, call) {
  abort_latome(
    paste0("Results are written into a Seurat object or a SingleCellExperiment, not ",
      article(class(object)[[1]]), "."),
    "The function of the same name without add_ returns them.", kind = "FieldError", field = "x", call = call
  )
}

#' Models, tables and names of assays, kept in an object by name.
#' @noRd
get_models <- function(object, call = rlang::caller_env()) get_kept(object, call)$models

#' @noRd
put_model <- function(object, fit, name) {
  kept <- get_kept(object)
  kept$models[[name]] <- fit
  put_kept(object, kept)
}

#' Columns in the order of names, NA where there is no row of that name.
#' @noRd
match_rows <- function(columns, names) {
  found <- columns[match(names, rownames(columns)), , drop = FALSE]
  rownames(found) <- names
  found
}

article <- function(noun) paste(if (grepl("^[aeiouAEIOU]", noun)) "an" else "a", noun)

#' Names of features as a Seurat object holds them.
#' @noRd
as_seurat_names <- function(names) gsub("[_|]", "-", names)

#' Rows of the cell data in the order of the cells, by name.
#' @noRd
match_coldata <- function(coldata, cells, n_cells, call) {
  if (is.null(coldata)) {
    return(data.frame(row.names = seq_len(n_cells)))
  }
  if (!inherits(coldata, c("data.frame", "DFrame", "DataFrame"))) {
    abort_latome("`coldata` must be a data.frame with one row a cell.",
      kind = "FieldError", field = "coldata", call = call)
  }
  coldata <- as.data.frame(coldata)
  if (is.null(cells)) {                       # no names on either side: order is all there is
    if (nrow(coldata) != n_cells) {
      abort_latome(paste0("`coldata` has ", count_of(nrow(coldata), "row"), ", the matrix ",
        count_of(n_cells, "cell"), "."), kind = "FieldError", field = "coldata", call = call)
    }
    return(coldata)
  }
  missing <- setdiff(cells, rownames(coldata))
  if (length(missing)) {
    abort_latome(
      paste0("`coldata` has no row for ", count_of(length(missing), "cell"), " of ",
        count_of(length(cells)), ": ", quoted(missing, 3L), "."),
      paste0("Rows are matched by name: rownames(coldata) must hold the cell names; it begins with ",
        quoted(rownames(coldata), 2L), "."),
      kind = "FieldError", field = "coldata", call = call
    )
  }
  coldata[cells, , drop = FALSE]
}

no_coldata <- function(coldata, where, call) {
  if (!is.null(coldata)) {
    abort_latome(paste0("`coldata` is for matrices; ", where, " carries its own cell data."),
      "Put the columns into the object and leave `coldata` out.", field = "coldata", call = call)
  }
}
