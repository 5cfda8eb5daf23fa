test_that("a preset fills in what was not given", {
  settings <- list(n_layers = 1L, encode_covariates = FALSE, n_latent = 10L)
  preset <- list(n_layers = 2L, encode_covariates = TRUE)
  run <- function(for_mapping = FALSE, n_layers = 1L) {
    use_preset(for_mapping, settings, preset, names(match.call()))
  }
  expect_identical(run(), settings)
  expect_identical(run(TRUE), list(n_layers = 2L, encode_covariates = TRUE, n_latent = 10L))
  expect_identical(run(TRUE, n_layers = 1L)$n_layers, 1L)
  expect_error(run(NA), "for_mapping")
})
