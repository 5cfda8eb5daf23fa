test_that("the bound is one number, the same for the same seed, and higher after training", {
  skip_without_engine()
  counts <- small_counts(n_cells = 200)
  run <- function(epochs) run_scvi(counts, training = quick(epochs, early_stopping = FALSE), verbose = FALSE)
  brief <- run(1)
  long <- run(60)
  expect_identical(elbo(counts, model = long), elbo(counts, model = long))
  expect_false(elbo(counts, model = long, seed = 1) == elbo(counts, model = long, seed = 2))
  expect_gt(elbo(counts, model = long), elbo(counts, model = brief))
  expect_error(elbo(counts, model = long, sed = 1), "Unknown argument 'sed'.*'seed'")
  expect_lt(reconstruction_error(counts, long), reconstruction_error(counts, brief))
})

test_that("one number is the mean of those of the cells, which have their names", {
  fit <- trained()
  for (verb in list(elbo, reconstruction_error, function(...) marginal_likelihood(..., n_samples = 20))) {
    cells <- verb(small_counts(), fit, coldata = small_coldata(), return_mean = FALSE)
    expect_named(cells, colnames(small_counts()))
    expect_equal(mean(cells), verb(small_counts(), fit, coldata = small_coldata()), tolerance = 1e-6)
  }
})

test_that("the marginal likelihood lies above the bound, which is minus the error and the divergence", {
  fit <- trained()
  ask <- function(verb, ...) verb(small_counts(), fit, coldata = small_coldata(), ...)
  expect_gt(ask(marginal_likelihood, n_samples = 200), ask(elbo))
  expect_lt(ask(elbo), -ask(reconstruction_error))
})

test_that("unused dimensions are those without a divergence from the prior", {
  fit <- trained()
  used <- latent_dimensions(small_counts(), fit, coldata = small_coldata())
  expect_equal(sort(used$dimension), 1:10)
  expect_false(is.unsorted(-used$kl))
  expect_true(all(used$kl >= 0))
  terms <- elbo(small_counts(), fit, coldata = small_coldata()) +
    reconstruction_error(small_counts(), fit, coldata = small_coldata())
  expect_equal(sum(used$kl), -terms, tolerance = 1e-4)                 # the same draws: what remains is the divergence
  skip_if_not_installed("ggplot2")
  expect_s3_class(plot_latent_dimensions(small_counts(), fit, coldata = small_coldata()), "ggplot")
})
