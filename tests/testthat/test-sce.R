test_that("assays that are missing or hold no counts are named", {
  sce <- small_sce()
  SummarizedExperiment::assay(sce, "logcounts") <- log1p(SummarizedExperiment::assay(sce, "counts"))
  expect_error(get_cells(sce, assay = "count"), "no assay 'count'.*Did you mean 'counts'", class = "latome_FieldError")
  expect_error(run_scvi(sce, assay = "logcounts", verbose = FALSE),
    "Assay 'logcounts'.*look like normalised values.*assay = \"counts\"")
  expect_error(run_scvi(methods::as(sce, "SummarizedExperiment")), "as\\(object, \"SingleCellExperiment\"\\)")
})

test_that("rowSubset is the object's own selection", {
  sce <- small_sce()
  SingleCellExperiment::rowSubset(sce) <- c(3, 7, 9)
  expect_equal(get_cells(sce)$features, c("gene3", "gene7", "gene9"))
})

test_that("run-length columns are read, matrices in colData left alone", {
  sce <- small_sce()
  sce$rle <- S4Vectors::Rle(factor(rep(c("a", "b"), each = 30)))
  sce$matrix <- matrix(0, 60, 2)
  coldata <- get_cells(sce)$coldata
  expect_equal(as.character(coldata$rle), rep(c("a", "b"), each = 30))
  expect_null(coldata$matrix)
})

test_that("results are where Bioconductor looks for them", {
  skip_without_engine()
  sce <- run_scvi(small_sce(), batch = "donor", n_latent = 4, training = quick(), verbose = FALSE)
  latent <- SingleCellExperiment::reducedDim(sce, "SCVI")
  expect_equal(dimnames(latent), list(colnames(sce), paste0("SCVI_", 1:4)))
  expect_s3_class(S4Vectors::metadata(sce)$latome$models$scvi, "latome_model")
})

test_that("cbind() keeps the models of all parts, each once", {
  fit <- trained()
  other <- fit
  other$seed <- 7L
  first <- put_model(small_sce(), fit, "scvi")
  halves <- SummarizedExperiment::cbind(first[, 1:30], first[, 31:60])
  expect_equal(names(get_models(halves)), "scvi")
  second <- put_model(small_sce(), other, "scvi")
  both <- SummarizedExperiment::cbind(first[, 1:30], second[, 31:60])
  expect_equal(lapply(get_models(both), `[[`, "seed"), list(scvi = fit$seed, scvi.1 = 7L))
  again <- put_model(both, other, "scvi")
  expect_equal(lapply(get_models(again), `[[`, "seed"), list(scvi = 7L))
})

test_that("cells without names stay without", {
  skip_without_engine()
  sce <- small_sce()
  colnames(sce) <- NULL
  sce <- run_scvi(sce, batch = "donor", training = quick(), verbose = FALSE)
  expect_null(colnames(sce))
  stored <- SingleCellExperiment::reducedDim(sce, "SCVI")
  expect_equal(unname(latent_representation(sce)), unname(stored), tolerance = 1e-5)
})
