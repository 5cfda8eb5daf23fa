ask <- function(verb, ...) verb(small_counts(), trained(), coldata = small_coldata(), ...)

test_that("the mixture of normal posteriors is that of its definition", {
  fit <- trained()
  found <- ask(aggregated_posterior, dof = NULL)
  expect_named(found, colnames(small_counts()))
  asked <- open_query(small_counts(), fit, NULL, counts_in(NULL, NULL, small_coldata(), FALSE), NULL)
  moments <- ask(function(...) request("latent_moments", fit$document, fit$weights, asked$data))
  at <- moments$mean[7, ]
  each <- vapply(1:60, function(i) sum(dnorm(at, moments$mean[i, ], sqrt(moments$variance[i, ]), log = TRUE)), 0)
  expect_equal(found[[7]], max(each) + log(mean(exp(each - max(each)))), tolerance = 1e-5)
})

test_that("far from the cells the density is low", {
  fit <- trained()
  near <- fit$latent[1:2, ]
  far <- near + 10
  found <- ask(aggregated_posterior, at = rbind(near, far))
  expect_true(all(found[3:4] < found[1:2] - 10))
  expect_error(ask(aggregated_posterior, at = near[, 1:3]), "10 columns.*2 x 3 matrix", class = "latome_SettingError")
  expect_error(ask(aggregated_posterior, at = 1:10), "`at` must be a matrix")
  expect_error(ask(aggregated_posterior, dof = 0), "dof.*above 0")
})

test_that("cells are denser where their own sample lies, and the table is kept", {
  skip_without_engine()
  counts <- small_counts(n_cells = 200)
  counts[1:5, 1:100] <- counts[1:5, 1:100] + 20
  colnames(counts) <- paste0("cell", 1:200)
  sce <- SingleCellExperiment::SingleCellExperiment(list(counts = counts),
    colData = S4Vectors::DataFrame(donor = rep(c("d_1", "d_2"), each = 100), all = "same", gap = rep(c(NA, "x"), 100)))
  sce <- run_scvi(sce, n_latent = 3, training = quick(100, early_stopping = FALSE, lr = 5e-3), verbose = FALSE)
  found <- differential_abundance(sce, samples = "donor", leave_one_out = TRUE)
  expect_equal(dimnames(found), list(colnames(sce), c("d_1", "d_2")))
  expect_gt(mean((found[, 1] > found[, 2]) == (sce$donor == "d_1")), 0.9)
  sce <- add_differential_abundance(sce, "donor", leave_one_out = TRUE, verbose = FALSE)
  expect_equal(SummarizedExperiment::assay(SingleCellExperiment::altExp(sce, "abundance"), "abundance"), t(found))
  expect_error(differential_abundance(sce, samples = "doner"), "no column 'doner' \\(samples\\).*'donor'")
  expect_error(differential_abundance(sce, samples = "gap"), "is NA in 100 cells", class = "latome_FieldError")
  expect_error(differential_abundance(sce, samples = "all"), "same label", class = "latome_QueryError")
  expect_error(differential_abundance(sce), "`samples` must be the name of one column")
})

test_that("abundance is an assay of a Seurat object", {
  skip_without_engine()
  object <- run_scvi(small_seurat(), training = quick(), verbose = FALSE)
  object <- add_differential_abundance(object, "donor", dof = 3, verbose = FALSE)
  expect_equal(rownames(object[["abundance"]]), c("a", "b"))
  expect_equal(as.matrix(SeuratObject::GetAssayData(object, assay = "abundance")),
    t(differential_abundance(object, samples = "donor", dof = 3)))
  expect_equal(object@commands[["add_differential_abundance.abundance"]]@params$samples, "donor")
})
