# Counts whose log shares are linear in two factors: genes x cells, and the loadings in an attribute.
factor_counts <- function(n_genes = 40, n_cells = 800, seed = 1) {
  withr::with_seed(seed, {
    weights <- matrix(rnorm(n_genes * 2, sd = 0.8), n_genes)
    shares <- exp(rnorm(n_genes) + weights %*% matrix(rnorm(2 * n_cells), 2))
    mean <- t(t(shares) / colSums(shares)) * 1000
    counts <- matrix(as.double(rpois(length(mean), mean)), n_genes)
  })
  dimnames(counts) <- list(paste0("gene", seq_len(n_genes)), paste0("cell", seq_len(n_cells)))
  structure(counts, weights = weights)
}

linear <- function(object, ..., training = quick()) {
  run_ldvae(object, n_hidden = 16L, n_latent = 2L, training = training, verbose = FALSE, ...)
}

test_that("the factors of a known model are found again", {
  skip_without_engine()
  counts <- factor_counts()
  fit <- linear(counts, use_observed_lib_size = TRUE,
    training = quick(60, batch_size = 64, lr = 5e-3, n_epochs_kl_warmup = 20))
  expect_gt(min(cancor(feature_loadings(fit), attr(counts, "weights"))$cor), 0.95)
  expect_identical(fit$loadings, feature_loadings(fit))
})

test_that("a Seurat object has them as the loadings of the reduction", {
  skip_without_engine()
  object <- linear(small_seurat(), batch = "donor")
  loadings <- feature_loadings(object)
  expect_equal(dim(loadings), c(30L, 2L))
  expect_equal(dimnames(loadings), list(rownames(object), c("factor_1", "factor_2")))
  stored <- SeuratObject::Loadings(object, "ldvae")
  expect_equal(unname(stored[rownames(loadings), ]), unname(loadings))
  expect_equal(colnames(stored), colnames(SeuratObject::Embeddings(object, "ldvae")))
  expect_identical(feature_loadings(small_counts(), get_model(object)), loadings)
})

test_that("a SingleCellExperiment has them as the rotation of the reduced dimension", {
  skip_without_engine()
  object <- linear(small_sce(), batch = "donor")
  reduced <- SingleCellExperiment::reducedDim(object, "LDVAE")
  expect_equal(unname(attr(reduced, "rotation")), unname(feature_loadings(object)))
  expect_equal(rownames(attr(reduced, "rotation")), rownames(object))
})

test_that("the top genes are those with the largest loadings, whatever their sign", {
  loadings <- matrix(c(0.1, -3, 2, 0, 1, 0.2, -0.3, 0.4), 4, dimnames = list(letters[1:4], c("factor_1", "factor_2")))
  top <- top_loadings(loadings, 1:2, 2L)
  expect_equal(top$gene, c("b", "c", "a", "d"))
  expect_equal(top$loading, c(-3, 2, 1, 0.4))
  expect_equal(as.character(top$factor), rep(c("factor_1", "factor_2"), each = 2))
  expect_equal(levels(top$place), c("4", "3", "2", "1"))
  expect_equal(nrow(top_loadings(loadings, 2L, 10L)), 4L)
})

test_that("the plot has a panel a factor and a bar a gene", {
  skip_without_engine()
  skip_if_not_installed("ggplot2")
  fit <- linear(small_counts())
  drawn <- ggplot2::ggplot_build(plot_loadings(fit, n = 4))
  expect_equal(nrow(drawn$data[[1]]), 8L)
  expect_equal(length(unique(drawn$data[[1]]$PANEL)), 2L)
  expect_equal(nrow(ggplot2::ggplot_build(plot_loadings(fit, factors = 2, n = 4))$data[[1]]), 4L)
  for (wrong in list(0, 3, 1.5, "factor_1", c(1, 1), integer())) {
    expect_error(plot_loadings(fit, factors = wrong), "positions of factors", class = "latome_SettingError")
  }
  expect_error(plot_loadings(fit, n = 0), "`n` must be", class = "latome_SettingError")
})

test_that("other models have no loadings", {
  expect_error(feature_loadings(trained()), "scVI has no linear decoder.*run_ldvae", class = "latome_QueryError")
})
