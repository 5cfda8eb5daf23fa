test_that("Seurat, SingleCellExperiment and matrices give the same latent", {
  skip_without_engine()
  run <- function(object, ...) run_scvi(object, batch = "donor", training = quick(), verbose = FALSE, ...)
  sparse <- run(small_counts(), coldata = small_coldata())$latent
  dense <- run(as.matrix(small_counts()), coldata = small_coldata())$latent
  sce <- SingleCellExperiment::reducedDim(run(small_sce()), "SCVI")
  seurat <- SeuratObject::Embeddings(run(small_seurat()), "scvi")
  expect_identical(dense, sparse)
  expect_identical(unname(sce), unname(sparse))
  expect_identical(unname(seurat), unname(sparse))
  expect_identical(rownames(seurat), rownames(sparse))
  expect_true(all(is.finite(sparse)))
})

test_that("size factors and presets reach the model", {
  skip_without_engine()
  sized <- transform(small_coldata(), size = seq(0.5, 2, length.out = 60))
  fit <- run_scvi(small_counts(), size_factor = "size", for_mapping = TRUE, n_layers = 1, coldata = sized, training = quick(),
    verbose = FALSE)
  expect_equal(fit$summary$columns$size_factor, "size")
  expect_equal(fit$settings[c("n_layers", "use_layer_norm", "use_batch_norm")],
    list(n_layers = 1L, use_layer_norm = "both", use_batch_norm = "none"))
  expect_true(fit$settings$encode_covariates)
  expect_match(capture.output(print(fit)), "size_factor = size", all = FALSE)
  shares <- normalized_expression(small_counts(), fit, coldata = sized)
  expect_false(isTRUE(all.equal(unname(colSums(shares)), rep(1, 60))))     # with size factors, no shares of a total
  expect_error(latent_representation(small_counts(), fit, coldata = small_coldata()), "no column 'size' \\(size_factor\\)")
})

test_that("Python's own SCVI gives the same latent, value for value", {
  skip_without_engine()
  skip_if_process()
  from_r <- run_scvi(small_counts(), batch = "donor", categorical_covariates = "lane",
    continuous_covariates = "percent", n_latent = 4, coldata = small_coldata(), training = quick(12), seed = 7,
    verbose = FALSE)$latent

  python <- latome_python(convert = FALSE)
  before <- reticulate::py_to_r(python$settings$num_threads)
  withr::defer({
    python$settings$seed <- 0L
    python$settings$num_threads <- before
    python$settings$progress_bar <- TRUE
  })
  python$settings$seed <- 7L
  python$settings$num_threads <- 1L
  python$settings$progress_bar <- FALSE
  adata <- as_anndata(small_counts(), coldata = small_coldata())
  python$model$SCVI$setup_anndata(adata, batch_key = "donor", categorical_covariate_keys = list("lane"),
    continuous_covariate_keys = list("percent"))
  model <- python$model$SCVI(adata, n_latent = 4L, continuous_in = "every")   # R's default; the face's is "first"
  model$train(max_epochs = 12L, early_stopping = TRUE)
  expect_identical(unname(from_r), reticulate::py_to_r(model$get_latent_representation()))
})

test_that("the seed decides, and R's own random numbers are left alone", {
  skip_without_engine()
  run <- function(seed) run_scvi(small_counts(), training = quick(), seed = seed, verbose = FALSE)$latent
  withr::with_seed(1, {
    before <- .Random.seed
    first <- run(1)
    expect_identical(.Random.seed, before)
  })
  expect_identical(run(1), first)
  expect_false(isTRUE(all.equal(run(2), first)))
})

test_that("batches and covariates reach the model", {
  skip_without_engine()
  fit <- run_scvi(small_counts(), batch = "donor", labels = "type", categorical_covariates = "lane",
    continuous_covariates = "percent", gene_likelihood = "nb", n_layers = 2, coldata = small_coldata(),
    training = quick(), verbose = FALSE)
  expect_equal(fit$levels, list(batch = c("a", "b"), labels = c("x", "y")))
  expect_equal(fit$settings$gene_likelihood, "nb")
  expect_equal(fit$settings$n_layers, 2)
  expect_equal(unlist(fit$summary$columns[c("categorical", "continuous")], use.names = FALSE), c("lane", "percent"))
})

test_that("the engine's own errors and warnings are R conditions", {
  skip_without_engine()
  error <- expect_error(
    run_scvi(small_counts(), training = quick(device = "cuda:99"), verbose = FALSE), class = "latome_SettingError"
  )
  expect_equal(error$field, "device")
  expect_equal(as.character(error$call)[[1]], "run_scvi")
  large <- small_coldata()
  large$percent <- large$percent * 1e4
  expect_warning(
    run_scvi(small_counts(), continuous_covariates = "percent", coldata = large, training = quick(), verbose = FALSE),
    "percent", class = "latome_warning"
  )
})

test_that("R says what is done, and nothing with verbose = FALSE", {
  skip_without_engine()
  said <- testthat::capture_messages(run_scvi(small_counts(), training = quick(2)))
  expect_match(said, "60 cells x 30 genes", all = FALSE)
  expect_match(said, "epoch 2/2  elbo [0-9.]+", all = FALSE)
  expect_silent(run_scvi(small_counts(), training = quick(2), verbose = FALSE))
})

test_that("options print as a table", {
  expect_match(capture.output(print(quick(7))), "max_epochs +7", all = FALSE)
})

test_that("durations read well", {
  expect_equal(duration(3.21), "3.2s")
  expect_equal(duration(72), "1m 12s")
  expect_equal(duration(7325), "2h 2m")
  expect_null(duration(NULL))
})

test_that("an interrupt between two calls ends training and keeps the model", {
  skip_without_engine()
  calls <- new.env()
  calls$n <- 0
  strike <- function(state) {
    calls$n <- calls$n + 1
    if (calls$n == 2) rlang::interrupt()
  }
  local_replaced(progress = function(...) strike)
  expect_warning(
    fit <- run_scvi(small_counts(), training = quick(1e5, early_stopping = FALSE), verbose = FALSE),
    "interrupted after [0-9,]+ epochs? of 100,000", class = "latome_interrupted"
  )
  expect_equal(fit$summary$stopped, "interrupted")
  expect_match(fit$document, "\"interrupted\"")
  expect_true(all(is.finite(fit$latent)))
})

test_that("Ctrl-C in another process returns the model trained so far", {
  skip_without_engine()
  skip_on_os("windows")
  skip_if_not_installed("processx")
  saved <- tempfile(fileext = ".rds")
  ready <- tempfile()
  output <- tempfile()
  script <- fresh_script(c(
    "counts <- matrix(rpois(6000, 2), 100, 60, dimnames = list(paste0('g', 1:100), paste0('c', 1:60)))",
    "invisible(latome_status())",
    paste0("invisible(file.create(", deparse(ready), "))"),
    "fit <- run_scvi(counts, training = training_options(max_epochs = 1e6, threads = 1, early_stopping = FALSE))",
    paste0("saveRDS(fit, ", deparse(saved), ")")
  ))
  child <- processx::process$new(file.path(R.home("bin"), "Rscript"), script, stdout = output, stderr = "2>&1")
  on.exit(child$kill())
  wait_for(function() file.exists(ready) || !child$is_alive())
  Sys.sleep(4)
  child$interrupt()
  wait_for(function() !child$is_alive())
  said <- paste(readLines(output), collapse = "\n")
  expect_true(file.exists(saved), info = said)
  fit <- readRDS(saved)
  expect_equal(fit$summary$stopped, "interrupted")
  expect_gt(nrow(fit$history), 0)
  expect_true(all(is.finite(fit$latent)))
  expect_match(gsub("\n", " ", said), "interrupted after .*trained so far is kept")
})

test_that("settings of the whole model: a size factor, values that are no counts, a preset", {
  skip_without_engine()
  counts <- matrix(rpois(3000, 3) + 0, 50, 60, dimnames = list(paste0("g", 1:50), paste0("c", 1:60)))
  cells <- data.frame(size = colSums(counts) / 100, row.names = colnames(counts))
  short <- training_options(max_epochs = 2, threads = 1)
  sized <- run_scvi(counts, size_factor = "size", coldata = cells, training = short, verbose = FALSE)
  expect_equal(sized$summary$columns$size_factor, "size")
  shown <- normalized_expression(counts, sized, coldata = cells)
  expect_false(isTRUE(all.equal(unname(colSums(shown)), rep(1, 60), tolerance = 1e-3)))
  cells$size[3] <- 0
  expect_error(run_scvi(counts, size_factor = "size", coldata = cells, training = short, verbose = FALSE), "size")

  logged <- log1p(counts)
  expect_error(run_scvi(logged, training = short, verbose = FALSE), "whole numbers")
  normal <- run_scvi(logged, gene_likelihood = "normal", latent_distribution = "ln", training = short, verbose = FALSE)
  expect_equal(unname(rowSums(normal$latent)), rep(1, 60), tolerance = 1e-4)
  expect_true(all(is.finite(normalized_expression(logged, normal))))

  mapped <- run_scvi(counts, for_mapping = TRUE, n_layers = 1, training = short, verbose = FALSE)
  expect_true(mapped$settings$encode_covariates)
  expect_equal(mapped$settings$use_layer_norm, "both")
  expect_equal(mapped$settings$n_layers, 1)
})
