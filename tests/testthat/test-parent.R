with_parent <- function(...) {
  cells <- typed()
  made$parent <- made$parent %||% run_scvi(cells$counts, batch = "donor", n_latent = 5, coldata = cells$coldata,
    training = quick(10), verbose = FALSE)
  run_scanvi(cells$counts, "some", model = made$parent, coldata = cells$coldata, training = quick(10, lr = 0.01),
    verbose = FALSE, ...)
}

test_that("a scANVI starts from a trained scVI: its weights, settings, genes and columns", {
  skip_without_engine()
  fit <- with_parent()
  expect_equal(fit$settings$n_latent, 5)
  expect_equal(fit$genes, made$parent$genes)
  expect_equal(fit$summary$columns$batch, "donor")
  expect_equal(fit$summary$parent, "scvi")
  expect_match(capture.output(print(fit)), "from a trained scVI", all = FALSE)
  cells <- typed()
  untouched <- run_scanvi(cells$counts, "some", model = made$parent, coldata = cells$coldata,
    training = quick(1, lr = 1e-12), verbose = FALSE)
  expect_equal(untouched$latent, made$parent$latent, tolerance = 0.05)          # but for batch normalisation's averages
})

test_that("what would not agree with the parent is refused", {
  skip_without_engine()
  with_parent()
  expect_error(with_parent(batch = "named"), "`batch` is 'named', but the model was trained with 'donor'")
  expect_silent(with_parent(batch = "donor"))
  expect_error(with_parent(features = "all"), "has the genes of that one", class = "latome_SettingError")
  expect_error(with_parent(for_mapping = TRUE), "has the networks of that one")
  expect_error(with_parent(n_latent = 6), "n_latent", class = "latome_SettingError")
  expect_error(with_parent(linear_classifier = NA), "linear_classifier")
  expect_true(with_parent(linear_classifier = TRUE)$settings$linear_classifier)
  cells <- typed()
  run <- function(model, counts = cells$counts) {
    run_scanvi(counts, "some", model = model, coldata = cells$coldata, training = quick(1), verbose = FALSE)
  }
  expect_error(run(1), "`model` must be a trained model")
  expect_error(run(labelled()), "must be a trained scVI; this is a scANVI")
  expect_error(run(made$parent, cells$counts[-3, ]), "1 of the 40 genes of the model are not in the data")
})

test_that("the parent is found by name in the object that carries it", {
  skip_without_engine()
  with_parent()
  object <- put_model(typed_seurat(), made$parent, "first")
  said <- capture_messages(object <- run_scanvi(object, "some", model = "first", training = quick(2)))
  expect_match(said, "Starts from a trained scVI of 40 genes", all = FALSE)
  expect_setequal(names(get_models(object)), c("first", "scanvi"))
  expect_error(run_scanvi(object, "some", model = "frist", training = quick(2)), "Did you mean 'first'")
})

test_that("without max_epochs, a model that starts from another trains for few epochs", {
  skip_without_engine()
  with_parent()
  cells <- typed()
  fit <- run_scanvi(cells$counts, "some", model = made$parent, coldata = cells$coldata,
    training = training_options(threads = 1), verbose = FALSE)
  expect_equal(nrow(fit$history), 10)
})
