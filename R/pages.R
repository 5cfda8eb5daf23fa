# Help pages that belong to no single function.

#' What goes where
#'
#' Every result has one place in an object, under the name that you give (`name`, by default that of the model's kind).
#' Nothing else in the object is changed, and a name that is taken by something that latome did not write is an error.
#' The message at the end of a call ("Sets: ...") says the same for that call.
#'
#' @section By function:
#' Here `n` stands for the name: `scvi` of [run_scvi()], `scanvi` of [run_scanvi()] and so on; `N` is the same in upper
#' case. "Metadata" is `x[[]]` of a Seurat object.
#'
#' | **Result** | **Seurat** (4 and 5) | **SingleCellExperiment** and SpatialExperiment |
#' |---|---|---|
#' | Latent space of [run_scvi()] and all but CellAssign and Solo | reduction `n` | `reducedDim(x, "N")` |
#' | Loadings of [run_ldvae()] | `Loadings(x, "n")` | `attr(reducedDim(x, "N"), "rotation")` |
#' | Labels of [run_scanvi()] | metadata `predicted.n`, `predicted.n.score` | `colData`, same names |
#' | Labels of [run_cellassign()] | metadata `n.label`, `n.score` | `colData`, same names |
#' | Probabilities of the labels of both | assay `prediction.score.n` | `altExp(x, "prediction.score.n")` |
#' | Doublets of [run_solo()] | metadata `n.class`, `n.score` | `colData`, same names |
#' | Genes of [run_autozi()] | feature metadata `n.prob_zi`, `n.zero_inflated` | `rowData`, same names |
#' | [add_normalized_expression()] | assay `n_expression` | assay; for some genes only, altExp |
#' | [add_differential_abundance()] | assay `abundance` | `altExp(x, "abundance")` |
#' | [add_differential_expression()] | `Misc(x, "latome")$de` | `metadata(x)$latome$de` |
#' | The trained model | `Misc(x, "latome")$models` | `metadata(x)$latome$models` |
#' | What [run_solo()] learnt | `Misc(x, "latome")$doublets` | `metadata(x)$latome$doublets` |
#' | The call | `Command(x)` | not kept |
#'
#' * [map_query()] puts into the query what the function that trained the reference puts into its object, under the name
#'   of the reference's model.
#' * [scvi_integration()], called by Seurat 5's `IntegrateLayers()`, gives the reduction that you name there. Its model
#'   comes with the reduction, under the name of that, and [get_model()] finds it.
#' * [minify_counts()] takes the counts out and puts the posterior of the cells into the model.
#' * All other functions (`differential_expression()`, `normalized_expression()`, ...) return what they find and write
#'   nothing.
#'
#' What lies in `Misc()` or `metadata()` is read by [get_model()], [get_de()] and [get_doublets()], the same for all
#' objects.
#'
#' @section Details by object:
#' * **Seurat**: the key of a reduction is its name without punctuation, and `_` (`scvi_`), with a number where that is
#'   taken; `assay` and `stdev` are filled in. Features are named as Seurat wants them, with `-` for `_`. In Seurat 5
#'   the counts may be in split layers, which stay split; a new assay has one layer, `data`.
#' * **SingleCellExperiment**: counts are read from the assay `"counts"`, groups from `colLabels(x)`, genes from
#'   `rowSubset(x)`. Results are matched to cells by name; cells without names stay without.
#' * **SpatialExperiment** is a SingleCellExperiment: its coordinates and images are left as they are.
#' * **A matrix or a store** (see [prepare_store()]) cannot hold results. `run_*()` and [map_query()] then return the
#'   model, with the latent space in `$latent`; [run_solo()] returns the doublets.
#'
#' @section What becomes of it later:
#' A subset of the object keeps everything, and functions that ask a model match its cells and genes by name.
#' [saveRDS()] keeps everything, but of a model with `keep_model = "file"` only where its weights are. `cbind()` of
#' SingleCellExperiments keeps the models of all parts; `merge()` of Seurat objects drops `Misc()`, and [carry_models()]
#' puts the models back.
#' @name latome_slots
#' @aliases what_goes_where
#' @seealso [run_scvi()], [get_model()]
#' @return This page documents no function.
#' @examplesIf latome_available() && requireNamespace("SeuratObject", quietly = TRUE)
#' seu <- run_scvi(SeuratObject::pbmc_small, training = training_options(max_epochs = 2, threads = 2), verbose = FALSE)
#' names(seu@reductions)
#' names(SeuratObject::Misc(seu, "latome")$models)
NULL

#' The columns of differential expression, and why they are not p-values
#'
#' [differential_expression()] asks a trained model what cells express, and how sure it is. What it returns are
#' probabilities of statements about cells. This page says of each column what it is, and what it is not.
#'
#' @section How the numbers come about:
#' Take a random cell of the first set and a random cell of the second, draw each one's latent state from
#' its posterior \eqn{q(z|x)}, and decode both: that gives expression fractions \eqn{\rho_1}{rho1} and
#' \eqn{\rho_2}{rho2} of each gene \eqn{g}. Their log2 fold change, with a small pseudocount \eqn{\epsilon} so that
#' two fractions near nothing are no change, is
#' \deqn{\beta_g = \log_2(\rho_{1g} + \epsilon) - \log_2(\rho_{2g} + \epsilon).}{
#' beta = log2(rho1 + epsilon) - log2(rho2 + epsilon).}
#' Some thousand such pairs (`n_samples`) give the distribution of \eqn{\beta_g}. It is wide for two reasons: the
#' model does not know each cell's expression exactly, and the cells of a set differ among themselves. Every column with
#' a name in `prob` or `lfc` is a summary of it:
#' \deqn{\mathrm{prob\_de}_g = \max\{P(\beta_g \ge \delta),\; P(\beta_g < -\delta)\}.}{
#' prob_de = max(P(beta >= delta), P(beta < -delta)).}
#' The larger of the two directions is taken, since a gene that varies within both sets has as many pairs up as down
#' and has not changed (`test_mode = "two"` adds them instead). With `batch_correction = TRUE` both cells are decoded
#' under the same batches of the model, so that what merely shifts with the batch is no change.
#'
#' @section Columns in mode "change":
#' \describe{
#'   \item{`gene`, `group1`, `group2`}{What is compared. Positive changes are higher in `group1`.}
#'   \item{`prob_de`}{The probability above: 1 - `prob_not_de`. The table is sorted by it, the surest first.}
#'   \item{`prob_not_de`}{Its complement, never below \eqn{1/(n + 1)} for n pairs: what was seen in all of 5,000 pairs
#'     has at least that chance of being otherwise.}
#'   \item{`bayes_factor`}{The log odds log(`prob_de` / `prob_not_de`), natural logarithm. 0 is even odds, 3 is 20 to 1.
#'     (The name is the customary one.)}
#'   \item{`lfc_mean`, `lfc_median`, `lfc_sd`}{Mean, median and standard deviation of \eqn{\beta_g}, with a
#'     thousandth of the pseudocount, so that the size of a change is not shrunk. Report the median: the mean
#'     follows a few extreme pairs.}
#'   \item{`lfc_low`, `lfc_high`}{The shortest interval that holds 90% of the pairs (`credible`). It spans how cells
#'     differ, not how well the mean is known, and does not become narrow with many cells.}
#'   \item{`lfc_min`, `lfc_max`}{The extreme pairs.}
#'   \item{`scale1`, `scale2`}{Mean decoded expression fraction of each set.}
#'   \item{`pct_1`, `pct_2`}{Share of the cells with at least one count, 0 to 1: of the data, not of the model.}
#'   \item{`mean_1`, `mean_2`, `norm_mean_1`, `norm_mean_2`}{Mean count, and mean of counts per 10,000, likewise of the
#'     data. Look at them: a change that the model claims and the counts do not show deserves doubt.}
#'   \item{`fdr`}{With the genes sorted by `prob_not_de`, the mean of it over this gene and all above: for
#'     the k-th gene, the sum of the k smallest `prob_not_de`, divided by k. If the list ended here, this share of it
#'     would be expected to be wrong, by the model's own account.}
#'   \item{`is_de`}{Is `fdr` at most the number asked for (`fdr = 0.05`)? The longest such list.}
#'   \item{`pseudocounts`, `delta`}{What was used. By default \eqn{\epsilon} is estimated from genes that hardly any
#'     cell shows; \eqn{\delta} is 0.25, or estimated with `delta = NULL`.}
#' }
#'
#' @section Columns in mode "vanilla":
#' `prob_m1` is the share of pairs in which the first is larger, by however little, `prob_m2` its complement, and
#' `bayes_factor` the log odds of the first. There is no threshold and so no `fdr`; the table orders genes, it
#' does not select them.
#'
#' @section Why they are not p-values:
#' A p-value says how often data as extreme as these would be seen *if nothing differed*, over repetitions of the
#' experiment. `prob_de` says, *given these cells and this model*, how likely a random pair of cells differs. So:
#'
#' * Under no difference p-values are uniform. `prob_de` is not: it lies where the spread of the cells puts it, often
#'   near 0, where the two tails beyond delta are thin, or anywhere up to 0.5.
#' * Do not correct them for multiple testing: `fdr` already answers for the whole list. `p.adjust()` makes no
#'   sense of them.
#' * More cells do not push them to 0 and 1. They describe pairs of cells, of which there is one distribution, better or
#'   worse known. A gene that is higher on average, with large overlap, keeps a middling `prob_de` in a million cells.
#' * They speak of these cells. Ten thousand cells of three donors are three donors: for a statement about people
#'   sum the counts by donor and use a method for bulk data.
#' * They are as good as the model. One that has not been trained to its end, or has not seen the batch, is surely
#'   wrong. [predictive_check()] and the vignette on differential expression show how to look.
#'
#' @section The other formats:
#' `format = "seurat"` has the columns and order of `FindMarkers()`, so that code written for it runs: `p_val` is
#' `prob_not_de`, `p_val_adj` is `fdr`, `avg_log2FC` is `lfc_mean`, `pct.1` and `pct.2` are `pct_1` and `pct_2`. The
#' names are Seurat's; the numbers are the ones above and **not p-values**. `format = "bioc"` has `logFC` (`lfc_mean`),
#' `PostProb` (`prob_de`) and `FDR` (`fdr`).
#' @name de_columns
#' @return This page documents no function.
#' @references Lopez et al., Nature Methods 15 (2018), doi:10.1038/s41592-018-0229-2. Boyeau et al., PNAS 120 (2023),
#'   doi:10.1073/pnas.2209124120.
#' @seealso [differential_expression()], [get_de()], [plot_volcano()]
#' @examplesIf latome_available()
#' counts <- matrix(rpois(2000, 2), 40, 50, dimnames = list(paste0("g", 1:40), paste0("c", 1:50)))
#' counts[1:5, 1:25] <- counts[1:5, 1:25] + 6
#' fit <- run_scvi(counts, training = training_options(max_epochs = 20, threads = 2), verbose = FALSE)
#' de <- differential_expression(counts, fit, cells_1 = 1:25)
#' de[1:7, c("gene", "prob_de", "lfc_median", "fdr", "is_de")]
#' # fdr is the running mean of the probability of being wrong
#' all.equal(de$fdr, cumsum(de$prob_not_de) / seq_len(nrow(de)))
NULL
