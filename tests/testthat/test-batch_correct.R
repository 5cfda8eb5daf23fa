# batchelor is not where these tests run: its class and generic, as its vignette on extending them describes them.
stand_in <- function() {
  skip_if_not_installed("SingleCellExperiment")
  if (rlang::is_installed("batchelor")) {
    return(batchelor::batchCorrect)
  }
  if (!methods::isClass("BatchelorParam")) {
    methods::setClass("BatchelorParam", contains = c("VIRTUAL", methods::className("SimpleList", "S4Vectors")),
      where = globalenv())
    methods::setGeneric("batchCorrect", signature = "PARAM", where = globalenv(), def = function(
        ..., batch = NULL, restrict = NULL, subset.row = NULL, correct.all = FALSE, assay.type = NULL, PARAM) {
      standardGeneric("batchCorrect")
    })
    withr::defer(methods::removeGeneric("batchCorrect", globalenv()), testthat::teardown_env())
  }
  generic <- get("batchCorrect", globalenv())
  hook_into(generic, methods::className("BatchelorParam", ".GlobalEnv"))
  generic
}

param <- function(...) {
  if (rlang::is_installed("batchelor")) ScviParam(...) else methods::new("ScviParam", listData = list(...))
}

test_that("batchCorrect() trains on one object, or on several", {
  skip_without_engine()
  correct <- stand_in()
  how <- param(n_latent = 4, training = quick(2), verbose = FALSE)
  sce <- small_sce()
  one <- correct(sce, batch = sce$donor, PARAM = how)
  expect_s4_class(one, "SingleCellExperiment")
  expect_equal(SingleCellExperiment::reducedDimNames(one), "corrected")
  expect_equal(dim(SingleCellExperiment::reducedDim(one, "corrected")), c(60L, 4L))
  expect_equal(as.character(one$batch), sce$donor)
  expect_equal(latent_representation(one), SingleCellExperiment::reducedDim(one, "corrected"), tolerance = 1e-5,
    ignore_attr = TRUE)
  plain <- run_scvi(sce, batch = "donor", features = "all", n_latent = 4, training = quick(2), verbose = FALSE)
  expect_equal(SingleCellExperiment::reducedDim(one, "corrected"), SingleCellExperiment::reducedDim(plain, "SCVI"),
    tolerance = 1e-5, ignore_attr = TRUE)
  counts <- small_counts()
  several <- correct(a = counts[, 1:30], b = sce[, 31:60], PARAM = how)
  expect_equal(SingleCellExperiment::reducedDim(several, "corrected"),
    SingleCellExperiment::reducedDim(one, "corrected"), tolerance = 1e-5)
  expect_equal(as.character(several$batch), sce$donor)
})

test_that("genes may be chosen, and cells have the same names in several batches", {
  skip_without_engine()
  correct <- stand_in()
  how <- param(training = quick(1), verbose = FALSE)
  counts <- small_counts()
  second <- counts[, 31:60]
  colnames(second) <- colnames(counts)[1:30]
  part <- correct(counts[, 1:30], second, subset.row = 1:12, PARAM = how)
  expect_equal(rownames(part), rownames(counts)[1:12])
  expect_null(colnames(part))
  expect_equal(levels(part$batch), c("1", "2"))
  all <- correct(counts[, 1:30], second, subset.row = 1:12, correct.all = TRUE, PARAM = how)
  expect_equal(rownames(all), rownames(counts))
  expect_equal(get_model(all)$genes, rownames(counts)[1:12])
})

test_that("what cannot be corrected is told", {
  correct <- stand_in()
  counts <- small_counts()
  expect_error(correct(counts, PARAM = param()), "`batch` must be the batch of each of the 60 cells",
    class = "latome_error")
  expect_error(correct(counts, batch = 1:2, PARAM = param()), "batch of each", class = "latome_error")
  expect_error(correct(counts, counts[30:1, ], PARAM = param()), "not the same genes", class = "latome_FieldError")
  expect_error(correct(counts, counts, restrict = list(1, 2), PARAM = param()), "all cells", class = "latome_error")
  expect_error(correct(small_sce(), batch = small_sce()$donor, assay.type = "logcounts", PARAM = param()),
    "no assay 'logcounts'", class = "latome_FieldError")
})

test_that("settings are those of run_scvi()", {
  expect_error(ScviParam(n_latents = 3), "Unknown argument 'n_latents'.*n_latent", class = "latome_error")
  expect_error(ScviParam(batch = "donor"), "Unknown argument 'batch'", class = "latome_error")
  expect_error(ScviParam(3), "without a name", class = "latome_error")
})
