test_that("a model is a plain R value", {
  fit <- trained()
  expect_s3_class(fit, "latome_model", exact = TRUE)
  expect_equal(fit$kind, "scvi")
  expect_type(fit$weights, "raw")
  expect_type(fit$document, "character")
  expect_s3_class(fit$history, "data.frame")
  expect_equal(fit$seed, 42)
  expect_length(fit$genes, 30)
  pointers <- rapply(unclass(fit), function(x) typeof(x) %in% c("externalptr", "environment"), how = "unlist")
  expect_false(any(pointers))
})

test_that("print and summary say what it is and how it was trained", {
  fit <- trained()
  printed <- capture.output(print(fit))
  expect_match(printed, "scVI \\| 60 cells x 30 genes \\| 2 batches \\| 10 latent", all = FALSE)
  expect_match(printed, "3 epochs .*seed 42", all = FALSE)
  expect_match(printed, "batch = donor", all = FALSE)
  summarised <- capture.output(print(summary(fit)))
  expect_match(summarised, "gene_likelihood +zinb", all = FALSE)
  expect_match(summarised, "Batches: 'a', 'b'", all = FALSE)
  expect_length(summary(fit)$z_sd, 10)
})

test_that("the history counts epochs from one and has a validation loss", {
  history <- training_history(trained())
  expect_identical(history$epoch, 1:3)
  expect_true(all(c("elbo_train", "elbo_validation") %in% names(history)))
  expect_type(history$elbo_train, "double")
})

test_that("get_model finds models by name", {
  fit <- trained()
  expect_identical(get_model(fit), fit)
  object <- put_model(put_model(small_seurat(), fit, "first"), fit, "second")
  expect_identical(get_model(object, "first"), fit)
  expect_error(get_model(object), "2 models.*'first', 'second'", class = "latome_QueryError")
  expect_error(get_model(object, "frist"), "no model 'frist'.*Did you mean 'first'", class = "latome_QueryError")
  expect_error(get_model(small_sce()), "no model of latome.*run_scvi", class = "latome_QueryError")
})

test_that("the model stays where it is told to", {
  skip_without_engine()
  withr::local_options(latome.models = withr::local_tempdir())
  run <- function(keep_model) run_scvi(small_sce(), training = quick(), keep_model = keep_model, verbose = FALSE)
  expect_null(get_models(run("none")))
  filed <- run("file")
  fit <- get_model(filed)
  expect_null(fit$weights)
  expect_true(startsWith(fit$file, normalizePath(getOption("latome.models"))))
  expect_equal(latent_representation(filed), latent_representation(run("object")))
  unlink(fit$file, recursive = TRUE)
  expect_error(latent_representation(filed), "which is gone", class = "latome_ArchiveError")
})

test_that("large weights go to a file, with a message", {
  fit <- trained()
  withr::local_options(latome.models = withr::local_tempdir())
  local_replaced(LARGEST_IN_OBJECT = 1000)
  expect_message(kept <- keep_weights(fit, "scvi", "auto", TRUE, NULL), "Keeps the weights .* MB\\) in")
  expect_null(kept$weights)
  expect_type(model_weights(kept, NULL), "raw")
  expect_identical(keep_weights(fit, "scvi", "object", TRUE, NULL), fit)
})

test_that("saveRDS and a fresh R process keep the model", {
  fit <- trained()
  path <- withr::local_tempfile(fileext = ".rds")
  answer <- withr::local_tempfile(fileext = ".rds")
  saveRDS(list(fit = fit, counts = small_counts(), coldata = small_coldata()), path)
  output <- fresh_r(c(
    paste0("kept <- readRDS(", deparse(path), ")"),
    "latent <- latent_representation(kept$counts, model = kept$fit, coldata = kept$coldata)",
    paste0("saveRDS(latent, ", deparse(answer), ")")
  ))
  expect_true(file.exists(answer), info = paste(output, collapse = "\n"))
  expect_equal(readRDS(answer), fit$latent, tolerance = 1e-5)
})
