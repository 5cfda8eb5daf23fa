ask_check <- function(...) predictive_check(small_counts(), trained(), coldata = small_coldata(), ...)

test_that("the observed statistics are those of the counts", {
  skip_without_engine()
  dense <- as.matrix(small_counts())
  population_sd <- function(x) sqrt(mean((x - mean(x))^2))
  found <- ask_check(n_samples = 3)
  expect_equal(found$gene, rownames(dense))
  expect_equal(found$observed, unname(apply(dense, 1, function(x) population_sd(x) / mean(x))), tolerance = 1e-5)
  expect_true(all(found$predicted > 0 & found$sd >= 0))
  found <- ask_check(metric = "zero_fraction", by = "cell", n_samples = 3, cells = 5:9)
  expect_equal(found$cell, colnames(dense)[5:9])
  expect_equal(found$observed, unname(colMeans(dense[, 5:9] == 0)))
})

test_that("calibration has a row a gene and level", {
  skip_without_engine()
  found <- ask_check(metric = "calibration", n_samples = 20, levels = c(0.5, 0.9))
  expect_equal(nrow(found), 60)
  expect_equal(found$error, found$coverage - found$level)
  expect_true(all(tapply(found$coverage, found$level, mean) |> diff() > 0))
  expect_error(ask_check(metric = "calibration", levels = 90), "levels.*between 0 and 1")
  expect_error(ask_check(metric = "cvs"), "metric.*'cv'")
})

test_that("a well trained model replicates the data better than one hardly trained", {
  skip_without_engine()
  counts <- small_counts(n_cells = 200)
  off <- function(epochs) {
    fit <- run_scvi(counts, gene_likelihood = "nb", training = quick(epochs, early_stopping = FALSE, lr = 5e-3), verbose = FALSE)
    found <- predictive_check(counts, fit)
    mean(abs(found$predicted - found$observed))
  }
  expect_lt(off(150), off(2))
})

test_that("checks are drawn", {
  skip_without_engine()
  skip_if_not_installed("ggplot2")
  drawn <- plot_predictive(ask_check(n_samples = 3))
  expect_s3_class(drawn, "ggplot")
  expect_match(drawn$labels$x, "coefficient of variation")
  expect_s3_class(ggplot2::ggplot_build(drawn), "ggplot_built")
  expect_s3_class(ggplot2::ggplot_build(plot_predictive(ask_check(metric = "calibration", n_samples = 5))), "ggplot_built")
  expect_error(plot_predictive(data.frame(a = 1)), "no table of predictive_check", class = "latome_QueryError")
})
