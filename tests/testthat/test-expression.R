ask_expression <- function(...) normalized_expression(small_counts(), trained(), coldata = small_coldata(), ...)

test_that("expression is genes x cells, shares that sum to one, and larger with the library size", {
  skip_without_engine()
  all <- ask_expression()
  expect_equal(dimnames(all), dimnames(small_counts()))
  expect_equal(unname(colSums(all)), rep(1, 60), tolerance = 1e-5)
  some <- ask_expression(features = c("gene9", "gene2"), library_size = 1e4, cells = c("cell5", "cell3"))
  expect_equal(dimnames(some), list(c("gene9", "gene2"), c("cell5", "cell3")))
  expect_true(all(some > 10 & some < 1e4))
  expect_equal(dim(ask_expression(features = "gene1", cells = 7)), c(1, 1))
})

test_that("expression follows what cells express", {
  skip_without_engine()
  counts <- small_counts(n_cells = 200)
  counts["gene1", 1:100] <- counts["gene1", 1:100] + 20
  fit <- run_scvi(counts, training = quick(150, early_stopping = FALSE, lr = 5e-3), verbose = FALSE)
  values <- normalized_expression(counts, fit, features = "gene1", n_samples = 10)[1, ]
  expect_gt(mean(values[1:100]), 2 * mean(values[101:200]))
  expect_gt(stats::cor(values, Matrix::colSums(counts[1, , drop = FALSE]) / Matrix::colSums(counts)), 0.9)
  latent <- normalized_expression(counts, fit, library_size = "latent")
  expect_equal(unname(colSums(latent)), unname(Matrix::colSums(counts)), tolerance = 1e-4)
})

test_that("the seed decides, and R's own random numbers are left alone", {
  skip_without_engine()
  withr::with_seed(1, {
    before <- .Random.seed
    first <- ask_expression(seed = 1)
    expect_identical(.Random.seed, before)
  })
  expect_identical(ask_expression(seed = 1), first)
  expect_false(isTRUE(all.equal(ask_expression(seed = 2), first, tolerance = 1e-6)))
})

test_that("a batch may be exchanged for others, and of several the mean is taken", {
  skip_without_engine()
  under <- function(...) ask_expression(transform_batch = c(...), features = c("gene1", "gene2"))
  expect_equal(under("a")[, 1:30], ask_expression(features = c("gene1", "gene2"))[, 1:30], tolerance = 1e-6)
  expect_false(isTRUE(all.equal(under("a")[, 31:60], ask_expression(features = c("gene1", "gene2"))[, 31:60])))
  expect_equal(under("a", "b"), (under("a") + under("b")) / 2, tolerance = 1e-5)
})

test_that("blocks of cells make one matrix, dense, sparse or on disk", {
  skip_without_engine()
  whole <- ask_expression()
  local_replaced(BLOCK = 1)                                          # 32 cells a block
  expect_equal(dim(ask_expression()), dim(whole))
  expect_equal(colSums(ask_expression()), colSums(whole), tolerance = 1e-5)
  sparse <- ask_expression(smallest = 0.03)
  expect_s4_class(sparse, "dgCMatrix")
  expect_true(methods::validObject(sparse))
  expect_equal(as.matrix(sparse), whole * (whole >= 0.03), tolerance = 1e-5)
  file <- withr::local_tempfile(fileext = ".h5")
  stored <- ask_expression(file = file, features = c("gene4", "gene1"))
  expect_true(file.exists(file))
  if (rlang::is_installed("HDF5Array")) {
    expect_s4_class(stored, "DelayedMatrix")
    expect_equal(as.matrix(stored), whole[c("gene4", "gene1"), ], tolerance = 1e-5)
  } else {
    expect_equal(stored, normalizePath(file))
  }
  expect_error(ask_expression(file = file), "file .* already", class = "latome_SettingError")
})

test_that("samples are kept apart where asked", {
  skip_without_engine()
  apart <- ask_expression(n_samples = 3, return_mean = FALSE, features = c("gene2", "gene1"), cells = 1:5)
  expect_equal(dim(apart), c(2, 5, 3))
  expect_equal(dimnames(apart), list(c("gene2", "gene1"), paste0("cell", 1:5), NULL))
  expect_equal(apply(apart, 1:2, mean), ask_expression(n_samples = 3, features = c("gene2", "gene1"), cells = 1:5),
    tolerance = 1e-5)
  expect_equal(dim(ask_expression(n_samples_overall = 11)), c(30, 11))
  expect_equal(dim(ask_expression(n_samples_overall = 70, weights = "importance",
    importance = list(max_cells = 20, n_mc_samples = 10)) |> suppressWarnings()), c(30, 70))
})

test_that("Seurat, SingleCellExperiment and matrices give the same expression", {
  skip_without_engine()
  fit <- trained()
  expect_equal(normalized_expression(small_sce(), fit), ask_expression())
  expect_equal(normalized_expression(small_seurat(), fit), ask_expression())
})

bad_expression <- list(
  "unknown gene" = list(quote(ask_expression(features = "gene99")), "not trained on 1 of 1 feature: 'gene99'", "QueryError"),
  "unknown batch" = list(quote(ask_expression(transform_batch = "c")), "no batch 'c'.*'a', 'b'", "QueryError"),
  "library size" = list(quote(ask_expression(library_size = "observed")), "library_size.*above 0, or \"latent\"",
    "SettingError"),
  "no library" = list(quote(ask_expression(library_size = 0)), "library_size.*above 0", "SettingError"),
  "two shapes" = list(quote(ask_expression(smallest = 0.1, n_samples_overall = 5)),
    "`smallest` and `n_samples_overall` do not go together", "SettingError"),
  "weights alone" = list(quote(ask_expression(weights = "importance")), "n_samples_overall = 5000", "SettingError"),
  "importance alone" = list(quote(ask_expression(importance = list(max_cells = 3))), "for weights = \"importance\"",
    "SettingError"),
  "importance typo" = list(quote(ask_expression(n_samples_overall = 5, weights = "importance",
    importance = list(max_cell = 3))), "no setting 'max_cell'.*'max_cells'", "SettingError"),
  "folder" = list(quote(ask_expression(file = "/no/such/folder/x.h5")), "no folder '/no/such/folder'", "SettingError"),
  "typo" = list(quote(ask_expression(feature = "gene1", gene_list = "gene1")), "Unknown argument.*'features'", "SettingError")
)
for (case in names(bad_expression)) {
  test_that(paste("bad expression:", case), {
    skip_without_engine()
    expect_error(eval(bad_expression[[case]][[1]]), bad_expression[[case]][[2]],
      class = paste0("latome_", bad_expression[[case]][[3]]))
  })
}

test_that("a large dense result is refused before it is made, with the ways out", {
  skip_without_engine()
  withr::local_options(latome.largest_result = 8 * 1000)
  expect_error(ask_expression(), "30 genes x 60 cells would take.*`features`.*`smallest`.*`file`", class = "latome_QueryError")
  expect_equal(dim(ask_expression(cells = 1:10)), c(30, 10))
  expect_s4_class(ask_expression(smallest = 0.01), "dgCMatrix")
})

test_that("an interrupt between two blocks ends the query, and no file is left", {
  skip_without_engine()
  fit <- trained()
  folder <- withr::local_tempdir()
  calls <- new.env()
  calls$n <- 0
  strike <- function(done) {
    calls$n <- calls$n + 1
    if (calls$n == 1) rlang::interrupt()
  }
  local_replaced(BLOCK = 1, query_bar = function(...) strike)
  ended <- tryCatch(ask_expression(), interrupt = function(condition) "interrupted")
  expect_equal(ended, "interrupted")
  calls$n <- 0
  ended <- tryCatch(ask_expression(file = file.path(folder, "e.h5")), interrupt = function(condition) "interrupted")
  expect_equal(ended, "interrupted")
  expect_equal(list.files(folder, all.files = TRUE, no.. = TRUE), character())
})
