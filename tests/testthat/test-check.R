# Every bad argument, with what its message must say. None of these needs Python.
counts <- small_counts()
coldata <- small_coldata()
run <- function(object = counts, ..., coldata = small_coldata()) {
  run_scvi(object, ..., coldata = coldata, verbose = FALSE)
}
bad_arguments <- list(
  "n_latent zero" = list(quote(run(n_latent = 0)), "n_latent.*at least 1.*supplied 0"),
  "n_latent fraction" = list(quote(run(n_latent = 2.5)), "n_latent.*whole number.*2.5"),
  "n_layers text" = list(quote(run(n_layers = "2")), "n_layers.*whole number.*\"2\""),
  "dropout one" = list(quote(run(dropout_rate = 1)), "dropout_rate.*below 1"),
  "flag text" = list(quote(run(use_observed_lib_size = "yes")), "use_observed_lib_size.*TRUE or FALSE"),
  "likelihood typo" = list(quote(run(gene_likelihood = "znib")), "gene_likelihood.*'zinb'.*Did you mean 'zinb'"),
  "argument typo" = list(quote(run(n_latnet = 5)), "Unknown argument 'n_latnet'.*Did you mean 'n_latent'"),
  "peer's argument" = list(quote(run(batch_key = "donor")), "Unknown argument 'batch_key'.*Did you mean 'batch'"),
  "seed text" = list(quote(run(seed = "a")), "seed.*whole number.*\"a\""),
  "seed negative" = list(quote(run(seed = -1)), "seed.*at least 0"),
  "seed NULL" = list(quote(run(seed = NULL)), "seed.*whole number.*NULL"),
  "training by hand" = list(quote(run(training = list(max_epochs = 3))), "training.*training_options"),
  "keep_model" = list(quote(run(keep_model = "disk")), "keep_model.*'object'"),
  "name" = list(quote(run(name = "2nd model")), "name.*starts with a letter"),
  "verbose" = list(quote(run_scvi(counts, verbose = NA)), "verbose.*TRUE or FALSE"),
  "max_epochs" = list(quote(training_options(max_epochs = 0)), "max_epochs.*at least 1"),
  "lr" = list(quote(training_options(lr = 0)), "lr.*above 0"),
  "options typo" = list(quote(training_options(max_epoch = 3, epochs = 4)), "unused argument"),
  "values for a name" = list(quote(run(batch = rep(c("a", "b"), 30))), "batch.*name of one column.*60 values"),
  "two batches" = list(quote(run(batch = c("donor", "lane"))), "batch.*name of one column"),
  "same column twice" = list(quote(run(batch = "donor", categorical_covariates = "donor")),
    "'donor' is given for two purposes"),
  "no object" = list(quote(run(1:3)), "Seurat object.*SingleCellExperiment.*matrix.*not an integer"),
  "a data.frame" = list(quote(run(data.frame(a = 1))), "as.matrix"),
  "assay of a matrix" = list(quote(run(assay = "RNA")), "assay.*no meaning for a plain matrix")
)
for (case in names(bad_arguments)) {
  test_that(paste("bad argument:", case), {
    expect_error(eval(bad_arguments[[case]][[1]]), bad_arguments[[case]][[2]])
  })
}

test_that("arguments are coerced where nothing is lost", {
  expect_identical(check_whole_number(2, ge = 1), 2L)
  expect_identical(check_number(1L), 1)
  expect_null(check_whole_number(NULL, null = TRUE))
  expect_identical(training_options(max_epochs = 10)$max_epochs, 10L)
})

test_that("R's own defaults: early stopping is on, the seed is fixed", {
  expect_true(training_options()$early_stopping)
  expect_identical(training_options()$batch_size, 128L)
  expect_identical(eval(formals(run_scvi)$seed), 42L)
})
