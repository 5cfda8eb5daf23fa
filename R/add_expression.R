#' Put normalized expression into an object
#'
#' Writes the [normalized_expression()] of a model as an assay, for plots and
#' everything else that reads one.
#'
#' @param x a Seurat object or a SingleCellExperiment.
#' @param features names of genes that the model was trained on; `NULL` for all
#'   of them.
#' @param assay name of the new assay; by default that of the model followed by
#'   `"_expression"`, such as `"scvi_expression"`. (In a Seurat object `"scvi"` is
#'   the reduction, and an assay cannot have its name.)
#' @param model a model, or the name of one that `x` carries; `NULL` where it
#'   carries only one.
#' @param ... further arguments of [normalized_expression()], such as
#'   `library_size`, `transform_batch`, `smallest` or `seed`.
#' @param verbose say where the values went?
#' @return The object with the assay. The counts are read from where they were
#'   in training.
#'
#' * Seurat: an assay with the values as its `data`. No second copy of them is made.
#' * SingleCellExperiment: an assay, if the features are all genes of the object;
#'   else an `altExp` with one assay of the same name. With `file` it stays on disk.
#'
#' An assay of that name which this package wrote is replaced; any other is left
#' alone, with an error.
#' @seealso [normalized_expression()]
#' @export
#' @examplesIf latome_available() && requireNamespace("SeuratObject", quietly = TRUE)
#' seu <- run_scvi(SeuratObject::pbmc_small, features = "all",
#'   training = training_options(max_epochs = 3, threads = 2), verbose = FALSE)
#' seu <- add_normalized_expression(seu, c("CD3E", "MS4A1"), library_size = 1e4)
#' SeuratObject::FetchData(seu, c("scviexpression_CD3E", "ident"))[1:3, ]
add_normalized_expression <- function(x, features = NULL, assay = NULL, model = NULL, ..., verbose = TRUE) {
  call <- rlang::current_env()
  check_flag(verbose)
  single <- c("library_size", "transform_batch", "n_samples", "smallest", "file", "seed", "allow_noninteger")
  arguments <- check_passed_on(list(...), single, call)
  if (!inherits(x, c("Seurat", "SingleCellExperiment"))) no_place(x, call)
  name <- model_name(x, model, call)
  assay <- check_result_name(assay %||% paste0(name, "_expression"), "assay", call)
  assay_place(x, assay, call)
  check_on_disk(x, arguments$file, call)
  values <- call_on(x, "normalized_expression", c(list(model = model, features = features), arguments))
  store_assay(x, values, assay, "add_normalized_expression", c(list(features = features, model = name), arguments),
    verbose, call)
}

#' Write values as an assay, remember that it is ours, log the call and say so.
#' @noRd
store_assay <- function(x, values, assay, verb, arguments, verbose, call) {
  x <- put_assay(x, values, assay, call)
  kept <- get_kept(x, call)
  kept$written <- union(kept$written, assay)
  x <- put_command(put_kept(x, kept), verb, c(arguments, list(assay = assay)), assay)
  inform_latome(paste0("Sets: ", assay_place(x, assay), "."), verbose)
  x
}

#' An assay on disk needs an object that can hold one.
#' @noRd
check_on_disk <- function(x, file, call) {
  if (is.null(file)) {
    return(invisible())
  }
  if (!inherits(x, "SingleCellExperiment")) {
    abort_latome("A Seurat object holds its assays in memory, so `file` has no place in it.",
      "Write the file with normalized_expression(), or use `smallest` for a sparse assay.", field = "file", call = call)
  }
  if (!rlang::is_installed("HDF5Array")) {
    abort_latome("An assay on disk needs the package HDF5Array.", "Run BiocManager::install(\"HDF5Array\").",
      field = "file", call = call)
  }
}
