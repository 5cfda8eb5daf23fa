ask <- function(verb, ...) verb(small_counts(), trained(), coldata = small_coldata(), ...)

test_that("drawn counts are whole, sparse, and as many as the data's", {
  skip_without_engine()
  drawn <- ask(posterior_samples)
  expect_s4_class(drawn, "dgCMatrix")
  expect_true(methods::validObject(drawn))
  expect_equal(dimnames(drawn), dimnames(small_counts()))
  expect_true(all(drawn@x == round(drawn@x) & drawn@x > 0))
  expect_identical(drawn, ask(posterior_samples))
  several <- ask(posterior_samples, n_samples = 3, features = c("gene2", "gene1"), cells = 1:10, transform_batch = "a")
  expect_length(several, 3)
  expect_equal(dim(several[[2]]), c(2, 10))
  expect_false(identical(several[[1]], several[[2]]))
  expect_error(ask(posterior_samples, transform_batch = c("a", "b")), "one batch at a time", class = "latome_QueryError")
})

test_that("counts drawn from a trained model have the means of the data", {
  skip_without_engine()
  counts <- small_counts(n_cells = 200)
  fit <- run_scvi(counts, gene_likelihood = "nb", training = quick(150, early_stopping = FALSE, lr = 5e-3), verbose = FALSE)
  drawn <- Reduce(`+`, posterior_samples(counts, fit, n_samples = 20)) / 20
  expect_equal(unname(Matrix::rowMeans(drawn)), unname(Matrix::rowMeans(counts)), tolerance = 0.1)
})

test_that("the parameters are those that the likelihood has", {
  skip_without_engine()
  found <- ask(likelihood_parameters, features = c("gene2", "gene1"))
  expect_named(found, c("mean", "dispersions", "dropout"), ignore.order = TRUE)
  expect_equal(dimnames(found$mean), list(c("gene2", "gene1"), colnames(small_counts())))
  expect_true(all(found$dropout > 0 & found$dropout < 1))
  expect_equal(apply(found$dispersions, 1, stats::sd), c(gene2 = 0, gene1 = 0))
  expect_equal(dim(ask(likelihood_parameters, n_samples = 4, cells = 1:6)$mean), c(30, 6, 4))
  expect_equal(dim(ask(likelihood_parameters, n_samples = 4, give_mean = TRUE)$mean), c(30, 60))
  poisson <- run_scvi(small_counts(), gene_likelihood = "poisson", training = quick(), verbose = FALSE)
  expect_named(likelihood_parameters(small_counts(), poisson), "mean")
})

test_that("library sizes are the totals, or what the model infers", {
  skip_without_engine()
  expect_equal(ask(latent_library_size), Matrix::colSums(small_counts()))
  fit <- run_scvi(small_counts(), use_observed_lib_size = FALSE, training = quick(20), verbose = FALSE)
  inferred <- latent_library_size(small_counts(), fit)
  expect_named(inferred, colnames(small_counts()))
  expect_true(all(inferred > 0 & is.finite(inferred)))
  expect_false(isTRUE(all.equal(inferred, Matrix::colSums(small_counts()))))
  sized <- transform(small_coldata(), size = seq(0.5, 2, length.out = 60))
  fit <- run_scvi(small_counts(), size_factor = "size", coldata = sized, training = quick(), verbose = FALSE)
  expect_equal(unname(latent_library_size(small_counts(), fit, coldata = sized)), sized$size, tolerance = 1e-6)
})

test_that("genes that vary together are correlated", {
  skip_without_engine()
  counts <- small_counts(n_cells = 200)
  counts[c("gene1", "gene2"), 1:100] <- counts[c("gene1", "gene2"), 1:100] + 20
  fit <- run_scvi(counts, training = quick(150, early_stopping = FALSE, lr = 5e-3), verbose = FALSE)
  for (method in c("spearman", "pearson")) {
    found <- feature_correlation(counts, fit, features = c("gene3", "gene2", "gene1"), method = method)
    expect_equal(dimnames(found), rep(list(c("gene3", "gene2", "gene1")), 2))
    expect_equal(unname(diag(found)), rep(1, 3))
    expect_equal(found, t(found))
    expect_gt(found["gene1", "gene2"], abs(found["gene1", "gene3"]))
  }
})

test_that("batches have vectors where the model learnt them", {
  skip_without_engine()
  fit <- run_scvi(small_counts(), batch = "donor", batch_representation = "embedding", embedding_dim = 4,
    coldata = small_coldata(), training = quick(), verbose = FALSE)
  expect_equal(dimnames(batch_representation(fit)), list(c("a", "b"), paste0("batch_", 1:4)))
  expect_error(batch_representation(trained()), "no learnt vectors.*embedding", class = "latome_QueryError")
})
