test_that("scANVI labels the cells that had none", {
  fit <- labelled()
  cells <- typed()
  expect_s3_class(fit, "latome_model", exact = TRUE)
  expect_equal(names(fit$coldata), c("predicted.scanvi", "predicted.scanvi.score"))
  expect_equal(levels(fit$coldata$predicted.scanvi), c("B", "Mono", "T"))      # those that occur, in sorted order
  expect_gt(mean(as.character(fit$coldata$predicted.scanvi) == cells$type), 0.95)
  expect_equal(dim(fit$latent), c(90, 10))
  expect_equal(dimnames(fit$probabilities), list(c("B", "Mono", "T"), colnames(cells$counts)))
  expect_equal(unname(colSums(fit$probabilities)), rep(1, 90), tolerance = 1e-5)
  expect_equal(unname(apply(fit$probabilities, 2, max)), fit$coldata$predicted.scanvi.score)
})

test_that("Seurat, SingleCellExperiment and matrices get the same predictions, in their places", {
  cells <- typed()
  fit <- labelled()
  run <- function(object) run_scanvi(object, "some", batch = "donor", training = quick(40, lr = 0.01), verbose = FALSE)
  seurat <- run(typed_seurat())
  expect_equal(unname(seurat$predicted.scanvi), fit$coldata$predicted.scanvi)
  expect_equal(unname(seurat$predicted.scanvi.score), fit$coldata$predicted.scanvi.score)
  scores <- SeuratObject::GetAssayData(seurat[["prediction.score.scanvi"]], "data")
  expect_equal(unname(as.matrix(scores)), unname(fit$probabilities))
  expect_equal(unname(SeuratObject::Embeddings(seurat, "scanvi")), unname(fit$latent))
  expect_equal(SeuratObject::DefaultAssay(seurat), "RNA")
  sce <- run(typed_sce())
  expect_equal(sce$predicted.scanvi, fit$coldata$predicted.scanvi)
  scores <- SingleCellExperiment::altExp(sce, "prediction.score.scanvi")
  expect_equal(SummarizedExperiment::assay(scores), fit$probabilities)
  expect_equal(unname(SingleCellExperiment::reducedDim(sce, "SCANVI")), unname(fit$latent))
  expect_silent(run(sce))                                                        # what is ours may be replaced
  expect_silent(run(seurat))
})

test_that("a named category and NA are the same lack of a label", {
  cells <- typed()
  named <- run_scanvi(cells$counts, "named", "Unknown", batch = "donor", coldata = cells$coldata,
    training = quick(40, lr = 0.01), verbose = FALSE)
  expect_equal(named$latent, labelled()$latent)
  expect_equal(named$levels$labels, c("B", "Mono", "T"))
  expect_match(capture.output(print(named)), "unlabeled = Unknown", all = FALSE)
})

test_that("an empty string can be the lack of a label, or a label", {
  skip_without_engine()
  object <- typed_seurat()
  object$blank <- ifelse(object$named == "Unknown", "", object$named)
  run <- function(...) run_scanvi(object, "blank", ..., training = quick(2), verbose = FALSE)
  expect_equal(levels(run(unlabeled = "")$predicted.scanvi), c("B", "Mono", "T"))
  expect_equal(levels(run()$predicted.scanvi), c("(empty)", "B", "Mono", "T"))
})

test_that("labels that cannot be learnt from are refused in words", {
  cells <- typed()
  run <- function(...) run_scanvi(cells$counts, ..., coldata = cells$coldata, training = quick(1), verbose = FALSE)
  skip_without_engine()
  expect_error(run(), "`labels` is absent")
  expect_error(run("named", "Unknwon"), "No cell has the label 'Unknwon'.*Did you mean 'Unknown'", class = "latome_FieldError")
  expect_error(run("cell_type"), "no column 'cell_type'", class = "latome_FieldError")
  cells$coldata$none <- NA_character_
  expect_error(run("none"), "NA in every cell")
  cells$coldata$none <- "Unknown"
  expect_error(run("none", "Unknown"), "Every cell is 'Unknown'")
  cells$coldata$one <- ifelse(cells$type == "B", "B", NA)
  expect_error(run("one"), "at least two kinds", class = "latome_FieldError")
  expect_error(run("some", unlabeled = 3), "`unlabeled` must be one string")
})

test_that("probabilities can be asked again, of some cells or of others", {
  fit <- labelled()
  cells <- typed()
  expect_equal(label_probabilities(fit), t(fit$probabilities))
  again <- label_probabilities(cells$counts[, 5:1], fit, coldata = cells$coldata)
  expect_equal(again, t(fit$probabilities)[5:1, ], tolerance = 1e-5)
  expect_equal(label_probabilities(cells$counts, fit, cells = 3:4, batch_size = 1, coldata = cells$coldata),
    t(fit$probabilities)[3:4, ], tolerance = 1e-5)
  unlabelled <- cells$coldata["donor"]
  called <- predict(fit, cells$counts, coldata = unlabelled)
  expect_equal(called$label, fit$coldata$predicted.scanvi)
  expect_equal(rownames(called), colnames(cells$counts))
  expect_equal(predict(fit), called, tolerance = 1e-5)
  expect_error(label_probabilities(small_counts(), trained()), "scVI gives no labels", class = "latome_QueryError")
})

test_that("confusion is a share of each given label", {
  found <- confusion(factor(c("a", "a", "b", "(none)"), c("a", "b", "(none)")), factor(c("a", "b", "b", "b"), c("a", "b")))
  share <- function(given, predicted) found$share[found$given == given & found$predicted == predicted]
  expect_equal(share("a", "a"), 0.5)
  expect_equal(share("b", "b"), 1)
  expect_equal(share("(none)", "a"), 0)
  expect_equal(sum(found$n), 4)
})

test_that("predictions are drawn against the labels given, whatever holds them", {
  skip_if_not_installed("ggplot2")
  fit <- labelled()
  cells <- typed()
  drawn <- plot_predictions(cells$counts, fit, coldata = cells$coldata)
  expect_s3_class(drawn, "ggplot")
  expect_equal(levels(drawn$data$given), c("B", "Mono", "T", "(none)"))
  expect_equal(sum(drawn$data$n), 90)
  object <- put_model(typed_seurat(), fit, "scanvi")
  truth <- plot_predictions(object, labels = "truth")
  expect_equal(levels(truth$data$given), c("B", "Mono", "T"))
  expect_error(plot_predictions(cells$counts, fit), "column|coldata")
  expect_s3_class(plot_training(fit, metric = "accuracy"), "ggplot")
})

test_that("a model of labels says what it knows", {
  printed <- capture.output(print(labelled()))
  expect_match(printed, "scANVI | 90 cells x 40 genes | 2 batches | 3 labels | 10 latent", fixed = TRUE, all = FALSE)
  expect_match(printed, "Labels: accuracy train [01].[0-9]+, validation .*; calibration error", all = FALSE)
  expect_match(printed, "Ask it: label_probabilities()", fixed = TRUE, all = FALSE)
})

test_that("Python's own SCANVI predicts the same", {
  skip_if_process()
  fit <- labelled()
  cells <- typed()
  python <- latome_python(convert = FALSE)
  settings <- python$settings
  before <- reticulate::py_to_r(settings$num_threads)
  withr::defer({
    settings$seed <- 0L
    settings$num_threads <- before
    settings$progress_bar <- TRUE
  })
  settings$seed <- 42L
  settings$num_threads <- 1L
  settings$progress_bar <- FALSE
  coldata <- transform(cells$coldata, some = ifelse(is.na(some), "Unknown", as.character(some)))
  adata <- as_anndata(cells$counts, coldata = coldata)
  python$model$SCANVI$setup_anndata(adata, labels_key = "some", unlabeled_category = "Unknown", batch_key = "donor")
  model <- python$model$SCANVI(adata)
  model$train(max_epochs = 40L, early_stopping = TRUE, plan_kwargs = list(lr = 0.01))
  frame <- model$predict(soft = TRUE)                    # of pandas 3, which reticulate does not convert
  predicted <- reticulate::py_to_r(frame$to_numpy())
  colnames(predicted) <- reticulate::py_to_r(frame$columns$tolist())
  expect_equal(predicted[, rownames(fit$probabilities)], t(fit$probabilities), ignore_attr = TRUE, tolerance = 1e-5)
})

test_that("labels are told from what a model remembers, without counts", {
  skip_without_engine()
  sce <- run_scanvi(typed_sce(), "some", batch = "donor", training = quick(5), verbose = FALSE)
  slim <- minify_counts(sce, verbose = FALSE)
  expect_false("counts" %in% SummarizedExperiment::assayNames(slim))
  expect_equal(label_probabilities(slim), label_probabilities(sce), tolerance = 1e-4)
})

test_that("a store trains and tells labels as well", {
  skip_without_engine()
  cells <- typed()
  store <- prepare_store(cells$counts, withr::local_tempfile(), coldata = cells$coldata)
  fit <- run_scanvi(store, "named", "Unknown", batch = "donor", training = quick(5), verbose = FALSE)
  expect_equal(dim(fit$probabilities), c(3, 90))
  expect_equal(label_probabilities(store, fit), t(fit$probabilities), tolerance = 1e-5)
  expect_error(run_scanvi(store, "named", "nobody", training = quick(1)), "No cell has the label 'nobody'")
})

test_that("a scANVI answers what any model with a latent answers", {
  fit <- labelled()
  cells <- typed()
  expect_equal(latent_representation(cells$counts, fit, coldata = cells$coldata), fit$latent, tolerance = 1e-4)
  shares <- normalized_expression(cells$counts, fit, coldata = cells$coldata, cells = 1:6)
  expect_equal(unname(colSums(shares)), rep(1, 6), tolerance = 1e-4)
  table <- differential_expression(cells$counts, fit, group_by = "truth", ident_1 = "B", coldata = cells$coldata)
  expect_gt(mean(table$prob_de[table$gene %in% cells$markers$B]), mean(table$prob_de))
  expect_true(is.finite(elbo(cells$counts, fit, coldata = cells$coldata)))
  expect_equal(nrow(latent_dimensions(cells$counts, fit, coldata = cells$coldata)), 10)
  expect_equal(dim(posterior_samples(cells$counts, fit, features = "gene1", cells = 1:4, coldata = cells$coldata))[1:2], c(1, 4))
  folder <- save_model(fit, withr::local_tempfile())
  expect_equal(label_probabilities(cells$counts, load_model(folder), coldata = cells$coldata), t(fit$probabilities),
    tolerance = 1e-5)
})
