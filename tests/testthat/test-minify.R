test_that("without counts, the model answers as with them", {
  fit <- trained()
  small <- minify_counts(small_counts(), fit, coldata = small_coldata())
  ask <- function(verb, ...) verb(small_counts(), fit, coldata = small_coldata(), ...)
  expect_equal(latent_representation(small), ask(latent_representation), tolerance = 1e-6)
  expect_equal(latent_library_size(small), ask(latent_library_size))
  expect_equal(normalized_expression(small, library_size = 1e4), ask(normalized_expression, library_size = 1e4), tolerance = 1e-5)
  expect_equal(normalized_expression(small, cells = c("cell7", "cell2"), n_samples = 50),
    ask(normalized_expression, cells = c("cell7", "cell2"), n_samples = 50), tolerance = 1e-5)
  expect_equal(posterior_samples(small), ask(posterior_samples))
  expect_equal(differential_abundance(small, samples = "donor"), ask(differential_abundance, samples = "donor"), tolerance = 1e-5)
  with_counts <- ask(differential_expression, group_by = "donor", ident_1 = "a", pseudocounts = 1e-5, n_samples = 100)
  without <- differential_expression(small, group_by = "donor", ident_1 = "a", pseudocounts = 1e-5, n_samples = 100)
  expect_equal(without[1:13], with_counts[1:13], tolerance = 1e-4)
  expect_true(all(is.na(without$mean_1)))
  expect_match(capture.output(print(small)), "Remembers the posterior of 60 cells", all = FALSE)
  expect_identical(unserialize(serialize(small, NULL)), small)
})

test_that("a model of no columns remembers its cells by name", {
  skip_without_engine()
  fit <- run_scvi(small_counts(), training = quick(), verbose = FALSE)
  small <- minify_counts(small_counts(), fit)
  expect_equal(normalized_expression(small, cells = c("cell9", "cell2")),
    normalized_expression(small_counts(), fit, cells = c("cell9", "cell2")), tolerance = 1e-5)
})

test_that("what is about the counts is refused, with the reason", {
  fit <- trained()
  small <- minify_counts(small_counts(), fit, coldata = small_coldata())
  for (ask in list(elbo, reconstruction_error, marginal_likelihood, predictive_check)) {
    expect_error(ask(small), "needs counts.*minify_counts", class = "latome_QueryError")
  }
  expect_error(differential_expression(small, group_by = "donor"), "pseudocounts needs counts.*pseudocounts = 1e-5",
    class = "latome_QueryError")
  expect_error(minify_counts(small), "gone already", class = "latome_QueryError")
  expect_error(latent_representation(small, cells = "cell99"), "not in the data: 'cell99'", class = "latome_QueryError")
})

test_that("a Seurat object is smaller, still plots, and may be subset", {
  skip_without_engine()
  skip_if_not_installed("SeuratObject")
  object <- run_scvi(SeuratObject::pbmc_small, batch = "groups", features = "all", training = quick(), verbose = FALSE)
  expect_message(slim <- minify_counts(object), "Drops layer 'counts' of assay 'RNA'.*posterior of 80 cells")
  expect_lt(utils::object.size(slim@assays), utils::object.size(object@assays))
  expect_false("counts" %in% seurat_layers(slim[["RNA"]]))
  expect_equal(SeuratObject::GetAssayData(slim), SeuratObject::GetAssayData(object))
  part <- slim[, c(9, 4)]
  expect_equal(normalized_expression(part, features = "CD3E"), normalized_expression(object, features = "CD3E", cells = colnames(part)),
    tolerance = 1e-5)
  slim <- add_normalized_expression(slim, "CD3E", verbose = FALSE)
  expect_equal(dim(slim[["scvi_expression"]]), c(1, 80))
  expect_error(minify_counts(run_scvi(small_seurat(), training = quick(), verbose = FALSE)), "nothing but the counts.*NormalizeData",
    class = "latome_FieldError")
})

test_that("a SingleCellExperiment keeps its other assays; cells are found by name", {
  skip_without_engine()
  sce <- small_sce()
  SummarizedExperiment::assay(sce, "logcounts") <- log1p(SummarizedExperiment::assay(sce, "counts"))
  sce <- run_scvi(sce, batch = "donor", training = quick(), verbose = FALSE)
  slim <- minify_counts(sce, verbose = FALSE)
  expect_equal(SummarizedExperiment::assayNames(slim), "logcounts")
  some <- c("cell50", "cell3")
  expect_equal(normalized_expression(slim[, some]), normalized_expression(sce[, some]), tolerance = 1e-5)
  renamed <- slim
  colnames(renamed)[1] <- "other"
  expect_error(normalized_expression(renamed), "remembers no posterior of 1 cell: 'other'", class = "latome_QueryError")
  colnames(sce) <- NULL
  expect_error(minify_counts(sce), "cells have no names", class = "latome_FieldError")
  inferring <- run_scvi(small_sce(), use_observed_lib_size = FALSE, training = quick(), verbose = FALSE)
  expect_error(minify_counts(inferring), "infers the library size", class = "latome_QueryError")
})
