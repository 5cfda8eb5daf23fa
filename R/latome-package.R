#' latome: deep probabilistic models of single-cell omics
#'
#' One verb a model, on a Seurat object, a SingleCellExperiment or a matrix of
#' counts: [run_scvi()] trains and writes the latent space and the model back
#' into the object. [install_latome()] sets up Python once, [latome_status()]
#' says whether all is well.
#'
#' @section Models:
#' * [run_scvi()]: a latent space, in which batches and covariates are accounted for.
#' * [run_ldvae()]: the same with a linear decoder, so that genes have loadings.
#' * [run_scanvi()]: labels for all cells from those of some.
#' * [run_cellassign()]: cell types from their marker genes.
#' * [run_autozi()]: which genes have more zeros than counting explains.
#' * [run_solo()]: doublets.
#' * [map_query()]: new cells on a trained model.
#'
#' @section Asking a model:
#' All of these take the object that carries a model, or cells and a model, and
#' return plain R values; the `add_*()` forms write into the object.
#'
#' * Where cells lie: [latent_representation()], [latent_dimensions()],
#'   [aggregated_posterior()], [differential_abundance()].
#' * What they express: [normalized_expression()], [add_normalized_expression()],
#'   [differential_expression()], [add_differential_expression()], [get_de()],
#'   [plot_volcano()], [feature_correlation()].
#' * What it says of the genes: [feature_loadings()], [plot_loadings()],
#'   [zero_inflation()].
#' * Which cells they are: [label_probabilities()], [label_attributions()], [plot_predictions()], [get_doublets()], [plot_doublets()].
#' * What the model predicts: [posterior_samples()], [likelihood_parameters()],
#'   [latent_library_size()], [batch_representation()].
#' * Whether to believe it: [model_report()], [plot_training()], [plot_latent_dimensions()], [predictive_check()],
#'   [plot_predictive()], [elbo()], [reconstruction_error()],
#'   [marginal_likelihood()].
#' * Its life: [get_model()], [save_model()], [load_model()],
#'   [read_scvi_tools()], [minify_counts()], [carry_models()].
#'
#' @section Pages:
#' [latome_slots] says what goes where in an object, [de_columns] what the columns of differential expression mean, and
#' [latome_data()] which data the vignettes use.
#'
#' @section Options:
#' \describe{
#'   \item{`latome.python`}{Path of the Python to use.}
#'   \item{`latome.environment`}{Folder of the environment that
#'     [install_latome()] makes and later sessions find again.}
#'   \item{`latome.transport`}{`"auto"`, `"in-process"` or `"process"`: where the
#'     engine works (see [latome_status()]); also by the environment variable
#'     `LATOME_TRANSPORT`.}
#'   \item{`latome.models`}{Folder for models kept in files
#'     (`keep_model = "file"`).}
#'   \item{`latome.largest_result`}{Bytes that a dense result may take; 8 GB.}
#' }
#'
#' @keywords internal
#' @importFrom Matrix colSums rowSums
#' @importFrom methods as
#' @importFrom rlang %||% .data
"_PACKAGE"
