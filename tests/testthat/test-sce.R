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
  expect_equal(lapply(get_models(again), `[[`, "seed"), list(scvi = 7L, scvi.1 = 7L))
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

test_that("size factors of the object are a column like any other", {
  skip_without_engine()
  sce <- small_sce()
  factors <- withr::with_seed(4, exp(rnorm(ncol(sce)) / 3))
  SingleCellExperiment::sizeFactors(sce) <- factors
  fit <- get_model(run_scvi(sce, size_factor = "sizeFactor", training = quick(), verbose = FALSE))
  expect_equal(fit$summary$columns$size_factor, "sizeFactor")
  # the mean of a cell's counts is its size factor times a profile: twice the factors, twice the mean, at one latent
  twice <- sce
  SingleCellExperiment::sizeFactors(twice) <- 2 * factors
  mean_of <- function(x) normalized_expression(x, fit, library_size = "latent")
  expect_equal(mean_of(twice), 2 * mean_of(sce), tolerance = 1e-5)
  SingleCellExperiment::sizeFactors(sce) <- replace(factors, 3, 0)
  expect_error(run_scvi(sce, size_factor = "sizeFactor", verbose = FALSE), "sizeFactor.*not above 0 in 1 cell")
})

test_that("the labels of the object are the groups to compare", {
  fit <- trained()
  sce <- small_sce()
  SingleCellExperiment::colLabels(sce) <- factor(rep(c("u", "v"), 30))
  found <- differential_expression(sce, fit, ident_1 = "u")
  expect_equal(unique(found$group1), "u")
  sce$same <- SingleCellExperiment::colLabels(sce)
  expect_equal(found, differential_expression(sce, fit, group_by = "same", ident_1 = "u"))
})

columns <- list(
  "character" = function(x) x, "factor" = factor, "a factor with levels to spare" = function(x) factor(x, letters),
  "run lengths" = function(x) S4Vectors::Rle(x), "run lengths of a factor" = function(x) S4Vectors::Rle(factor(x)),
  "logical" = function(x) x == "a", "integer" = function(x) as.integer(factor(x)), "AsIs" = I
)
for (kind in if (requireNamespace("SingleCellExperiment", quietly = TRUE)) names(columns)) {
  test_that(paste("a batch may be", kind), {
    sce <- small_sce()
    sce$donor <- columns[[kind]](sce$donor)
    coded <- code_columns(get_cells(sce)$coldata, list(batch = "donor"))
    expect_equal(coded$donor$codes %in% coded$donor$codes[[1]], rep(c(TRUE, FALSE), each = 30))
    expect_length(coded$donor$levels, 2)
  })
}

test_that("an alternative experiment is swapped in, and back", {
  skip_without_engine()
  sce <- small_sce()
  SingleCellExperiment::mainExpName(sce) <- "genes"
  other <- small_counts(12, 60, seed = 9)
  rownames(other) <- paste0("tag", 1:12)
  SingleCellExperiment::altExp(sce, "tags") <- SingleCellExperiment::SingleCellExperiment(list(counts = other))
  expect_error(run_scvi(sce, assay = "tags", verbose = FALSE),
    "swapAltExp\\(object, \"tags\"\\)", class = "latome_FieldError")
  swapped <- SingleCellExperiment::swapAltExp(sce, "tags")
  swapped <- run_scvi(swapped, batch = "donor", name = "tagged", training = quick(1), verbose = FALSE)
  expect_equal(get_model(swapped)$genes, rownames(other))
  back <- SingleCellExperiment::swapAltExp(swapped, "genes")
  expect_equal(SummarizedExperiment::assay(back, "counts"), SummarizedExperiment::assay(sce, "counts"))
  held <- SingleCellExperiment::altExp(back, "tags")
  expect_equal(SingleCellExperiment::reducedDimNames(held), "TAGGED")
})

test_that("what was in the object is there after, untouched", {
  skip_without_engine()
  sce <- small_sce()
  SingleCellExperiment::reducedDim(sce, "PCA") <- matrix(0.5, 60, 2)
  SingleCellExperiment::altExp(sce, "tags") <- SummarizedExperiment::SummarizedExperiment(
    list(counts = matrix(1, 2, 60, dimnames = list(c("t", "u"), colnames(sce))))
  )
  S4Vectors::metadata(sce)$mine <- "kept"
  SingleCellExperiment::colLabels(sce) <- rep(1:2, 30)
  SingleCellExperiment::rowSubset(sce) <- 1:20
  after <- run_scvi(sce, batch = "donor", training = quick(1), verbose = FALSE)
  SingleCellExperiment::reducedDim(after, "SCVI") <- NULL
  S4Vectors::metadata(after)$latome <- NULL
  expect_equal(after, sce)
})

spatial <- function() {
  skip_if_not_installed("SpatialExperiment")
  sce <- small_sce()
  places <- cbind(x = seq_len(60), y = 60:1)
  image <- SpatialExperiment::SpatialImage(grDevices::as.raster(matrix(seq(0, 1, length.out = 12), 3)))
  images <- S4Vectors::DataFrame(sample_id = "sample01", image_id = "low", scaleFactor = 1)
  images$data <- list(image)
  SpatialExperiment::SpatialExperiment(
    assays = SummarizedExperiment::assays(sce), colData = SummarizedExperiment::colData(sce), spatialCoords = places,
    imgData = images[c("sample_id", "image_id", "data", "scaleFactor")]
  )
}

test_that("of a SpatialExperiment the places and images stay", {
  skip_without_engine()
  spe <- spatial()
  after <- run_scvi(spe, batch = "donor", training = quick(1), verbose = FALSE)
  expect_s4_class(after, "SpatialExperiment")
  expect_equal(SpatialExperiment::spatialCoords(after), SpatialExperiment::spatialCoords(spe))
  expect_equal(SpatialExperiment::imgData(after), SpatialExperiment::imgData(spe))
  expect_equal(after$sample_id, spe$sample_id)
  expect_equal(dim(SingleCellExperiment::reducedDim(after, "SCVI")), c(60L, 10L))
  after <- add_normalized_expression(after, features = c("gene1", "gene2"), assay = "scvi_part", verbose = FALSE)
  expect_equal(SingleCellExperiment::altExpNames(after), "scvi_part")
  expect_equal(SpatialExperiment::spatialCoords(after), SpatialExperiment::spatialCoords(spe))
  part <- after[, 11:30]
  expect_equal(SpatialExperiment::spatialCoords(part), SpatialExperiment::spatialCoords(spe)[11:30, ])
  expect_equal(latent_representation(part), SingleCellExperiment::reducedDim(part, "SCVI"), tolerance = 1e-5,
    ignore_attr = TRUE)
})
