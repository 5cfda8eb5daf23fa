# The objects of the demonstration: simulated, from SeuratObject, or from a file.

stop_demo <- function(problem, remedy) {
  stop(structure(
    class = c("demo_error", "error", "condition"),
    list(message = paste0(problem, "\n  Do this: ", remedy), call = NULL)
  ))
}

# Known truth: six types with few markers, in three batches that shift every gene, at 400 counts a cell.
simulated_object <- function() {
  simulate <- reticulate::import("latome.data.simulate", convert = FALSE)$simulate
  path <- tempfile(fileext = ".h5ad")
  on.exit(unlink(path))
  adata <- simulate(
    n_cells = 3000L, n_genes = 1000L, n_types = 6L, n_batches = 3L,
    marker_effect = 0.8, batch_effect = 0.4, depth = 400, seed = 1L
  )
  adata$write_h5ad(path)
  read_h5ad(path)
}

read_object <- function(path) {
  if (!file.exists(path) || dir.exists(path)) {
    stop_demo(paste0("there is no file '", path, "'."), "give DATA the path of an .h5ad or .rds file.")
  }
  kind <- tolower(tools::file_ext(path))
  if (!kind %in% c("h5ad", "rds")) {
    stop_demo(paste0("'", path, "' is neither .h5ad nor .rds."), "save a Seurat or SingleCellExperiment object with saveRDS().")
  }
  object <- tryCatch(
    if (kind == "h5ad") read_h5ad(path) else readRDS(path),
    error = function(e) stop_demo(paste0("'", path, "' cannot be read: ", trimws(conditionMessage(e))), "check the file.")
  )
  if (!inherits(object, c("Seurat", "SingleCellExperiment"))) {
    stop_demo(
      paste0("'", path, "' holds a ", class(object)[1], "."), "give DATA a Seurat or a SingleCellExperiment object."
    )
  }
  if (inherits(object, "Seurat") && inherits(object@assays[[1]], "Assay5") && packageVersion("SeuratObject") < "5") {
    stop_demo(
      paste0("'", path, "' is of Seurat 5, and this SeuratObject (", packageVersion("SeuratObject"), ") cannot open it."),
      "install SeuratObject 5, or give an object of Seurat 4."
    )
  }
  object
}

# An .h5ad file as a SingleCellExperiment. The CSR arrays of cells x genes are those of genes x cells in CSC.
read_h5ad <- function(path) {
  reader <- reticulate::import_from_path("read_h5ad", "tools/demo", convert = FALSE)
  parts <- reader$parts(path.expand(path))
  get <- function(name) reticulate::py_to_r(parts[[name]])
  cells <- as.character(get("cells"))
  genes <- as.character(get("genes"))
  counts <- methods::new("dgCMatrix",
    x = as.vector(get("x")), i = as.vector(get("i")), p = as.vector(get("p")),
    Dim = c(length(genes), length(cells)), Dimnames = list(genes, cells)
  )
  columns <- lapply(get("columns"), function(column) {
    if (is.list(column)) column <- vapply(column, function(v) if (is.null(v)) NA_character_ else v, "")
    as.vector(column)
  })
  SingleCellExperiment::SingleCellExperiment(
    assays = list(counts = counts),
    colData = S4Vectors::DataFrame(columns, row.names = cells, check.names = FALSE)
  )
}

columns_of <- function(object) {
  if (inherits(object, "Seurat")) object@meta.data else as.data.frame(SummarizedExperiment::colData(object), optional = TRUE)
}

counts_of <- function(object) {
  if (inherits(object, "Seurat")) {
    SeuratObject::GetAssayData(object, slot = "counts")
  } else {
    SummarizedExperiment::assay(object, "counts")
  }
}

# One column as a factor, or NULL where none is asked for; a name that does not exist is an error that lists what does.
column_of <- function(object, name, variable) {
  if (!nzchar(name)) {
    return(NULL)
  }
  columns <- columns_of(object)
  if (!name %in% names(columns)) {
    stop_demo(
      paste0("the cells have no column '", name, "' (", variable, ")."),
      paste0("give ", variable, " one of: ", paste(names(columns), collapse = ", "), ".")
    )
  }
  values <- columns[[name]]
  if (is.numeric(values) && length(unique(values)) > 100) {
    stop_demo(
      paste0("column '", name, "' (", variable, ") is a number with ", length(unique(values)), " different values."),
      paste0("give ", variable, " a column of categories.")
    )
  }
  droplevels(as.factor(values))
}
