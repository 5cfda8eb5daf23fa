decided <- function(object, ..., training = quick()) {
  run_autozi(object, n_hidden = 16L, n_latent = 2L, training = training, verbose = FALSE, ...)
}

# Every other gene loses half of its counts to extra zeros: genes x cells.
inflated_counts <- function(n_genes = 40, n_cells = 600, seed = 2) {
  withr::with_seed(seed, {
    rate <- outer(runif(n_genes, 4, 12), rgamma(n_cells, 8, 8))
    counts <- matrix(as.double(rnbinom(length(rate), mu = rate, size = 5)), n_genes)
    odd <- seq(1, n_genes, by = 2)
    counts[odd, ] <- counts[odd, ] * rbinom(length(odd) * n_cells, 1, 0.5)
  })
  dimnames(counts) <- list(paste0("gene", seq_len(n_genes)), paste0("cell", seq_len(n_cells)))
  counts
}

test_that("genes with extra zeros are told from others", {
  skip_without_engine()
  fit <- decided(inflated_counts(), training = quick(80, batch_size = 64, lr = 1e-2, n_epochs_kl_warmup = 20))
  table <- zero_inflation(fit)
  truth <- rep(c(TRUE, FALSE), 20)
  pairs <- outer(table$prob_zero_inflated[truth], table$prob_zero_inflated[!truth], ">")
  expect_gt(mean(pairs), 0.9)                          # the area under the ROC curve
  expect_equal(table$gene, fit$genes)
  expect_equal(table$prob_zero_inflated, pbeta(0.5, table$alpha, table$beta), tolerance = 1e-6)
  expect_identical(table$is_zero_inflated, table$prob_zero_inflated > 0.5)
  expect_equal(fit$rowdata$autozi.prob_zi, table$prob_zero_inflated)
})

test_that("a Seurat object has the decision in the data of its genes", {
  skip_without_engine()
  object <- decided(small_seurat(), batch = "donor", features = paste0("gene", 30:11))
  table <- zero_inflation(object)
  stored <- object[["RNA"]][[]]
  expect_equal(stored[table$gene, "autozi.prob_zi"], table$prob_zero_inflated)
  expect_equal(as.logical(stored[table$gene, "autozi.zero_inflated"]), table$is_zero_inflated)
  expect_true(all(is.na(stored[paste0("gene", 1:10), "autozi.prob_zi"])))
  expect_equal(dim(SeuratObject::Embeddings(object, "autozi")), c(60L, 2L))
  again <- decided(object, batch = "donor")            # its own columns it may replace
  expect_false(anyNA(again[["RNA"]][[]]$autozi.prob_zi))
})

test_that("a SingleCellExperiment has it in rowData, a pair of columns for each batch", {
  skip_without_engine()
  object <- decided(small_sce(), batch = "donor", zero_inflation = "gene-batch")
  table <- zero_inflation(object)
  expect_equal(names(table), c("gene", "batch", "alpha", "beta", "prob_zero_inflated", "is_zero_inflated"))
  rows <- SummarizedExperiment::rowData(object)
  expect_setequal(names(rows), paste0("autozi.", c("prob_zi", "zero_inflated"), ".", rep(c("a", "b"), each = 2)))
  of_b <- table[table$batch == "b", ]
  expect_equal(rows$autozi.prob_zi.b, of_b$prob_zero_inflated[match(rownames(object), of_b$gene)])
})

test_that("columns of others are not overwritten", {
  skip_without_engine()
  object <- small_sce()
  SummarizedExperiment::rowData(object)$autozi.prob_zi <- 1
  expect_error(decided(object), "autozi.prob_zi", class = "latome_error")
})

test_that("a prior is as given, and learnt where it is NULL", {
  skip_without_engine()
  cells <- transform(small_coldata(), type = ifelse(is.na(type), "z", type))
  fit <- decided(small_counts(), zero_inflation = "gene-label", labels = "type", alpha_prior = NULL, beta_prior = 0.7,
    coldata = cells)
  expect_null(fit$settings$alpha_prior)
  expect_equal(fit$settings$beta_prior, 0.7)
  expect_equal(unique(zero_inflation(fit)$label), c("x", "y", "z"))
  expect_error(decided(small_counts(), zero_inflation = "gene-label", labels = "type", coldata = small_coldata()),
    "needs a label for each cell", class = "latome_FieldError")
  expect_error(decided(small_counts(), beta_prior = 1), "`beta_prior` must be", class = "latome_SettingError")
})

test_that("other models do not decide", {
  expect_error(zero_inflation(trained()), "scVI does not decide.*run_autozi", class = "latome_QueryError")
})
