#' The data as a Python AnnData
#'
#' For those who want to go on in Python (see [latome_python()]). The counts
#' are handed over as they are, without transposing or making them dense.
#'
#' @param x a Seurat object, a SingleCellExperiment or a matrix of counts.
#' @param assay,layer where the counts are.
#' @param coldata for a matrix: a data.frame, rows named by cell.
#' @return A Python object of class `anndata.AnnData`: counts in `X` (cells x
#'   genes), columns of the cell data in `obs`. Columns that are neither groups
#'   nor numbers are left out. It lives as long as the session, and needs the engine inside R
#'   (see [latome_status()]).
#' @export
#' @examplesIf latome_available() && latome_status()$transport == "in-process"
#' counts <- matrix(rpois(2000, 2), 40, 50, dimnames = list(paste0("g", 1:40), paste0("c", 1:50)))
#' as_anndata(counts)
as_anndata <- function(x, assay = NULL, layer = NULL, coldata = NULL) {
  call <- rlang::current_env()
  check_inside("as_anndata()", call)
  cells <- fetch_cells(x, assay, layer, coldata, call)
  columns <- Filter(Negate(is.null), lapply(cells$coldata, code_any))
  to_anndata(cells$counts, columns, call)
}

#' Any column as groups or numbers; NULL where it is neither.
#' @noRd
code_any <- function(values) {
  if (!is.atomic(values) || !is.null(dim(values))) {
    return(NULL)
  }
  if (is.numeric(values) && !is.factor(values)) {
    return(list(values = as.double(values)))
  }
  as_codes(droplevels(as.factor(values)))
}
