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

test_that("a preset of training holds where an option is not given", {
  fast <- training_options(preset = "fast")
  plain <- training_options()
  expect_s3_class(fast, "latome_training")
  expect_named(fast, names(plain))
  expect_identical(fast$lr_schedule, "cycle")
  expect_false(fast$early_stopping)
  expect_gt(fast$lr, plain$lr)
  expect_null(fast$n_epochs_kl_warmup)                                           # which goes before steps
  expect_identical(training_options(preset = "fast", lr = 0.001)$lr, 0.001)      # the default, but given
  expect_identical(training_options(preset = NULL), plain)
  expect_error(training_options(preset = "quick"), "preset")
})

test_that("options that are not given are those of the model", {
  recipe <- list(lr = 0.003, batch_size = 1024L)
  expect_equal(use_recipe(training_options(), recipe)[c("lr", "batch_size")], recipe, ignore_attr = TRUE)
  expect_equal(use_recipe(training_options(lr = 0.1), recipe)$lr, 0.1)
  expect_equal(use_recipe(training_options(10, lr = 0.001), recipe)$lr, 0.001)      # the general default, asked for
  expect_equal(use_recipe(training_options(10, lr = 0.1), recipe)$batch_size, 1024L)
  expect_equal(use_recipe(training_options(preset = "fast"), recipe)$lr, 0.015)
  expect_equal(use_recipe(training_options(lr = 0.1), NULL)$lr, 0.1)
  expect_s3_class(use_recipe(training_options(), recipe), "latome_training")
})
