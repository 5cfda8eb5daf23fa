#' latome: deep probabilistic models of single-cell omics
#'
#' One verb a model, on a Seurat object, a SingleCellExperiment or a matrix of
#' counts: [run_scvi()] trains and writes the latent space and the model back
#' into the object. [install_latome()] sets up Python once, [latome_status()]
#' says whether all is well.
#'
#' @section Options:
#' \describe{
#'   \item{`latome.python`}{Path of the Python to use.}
#'   \item{`latome.environment`}{Folder of the environment that
#'     [install_latome()] makes and later sessions find again.}
#'   \item{`latome.models`}{Folder for models kept in files
#'     (`keep_model = "file"`).}
#' }
#'
#' @keywords internal
#' @importFrom Matrix colSums rowSums
#' @importFrom methods as
#' @importFrom rlang %||% .data
"_PACKAGE"
