# The seed decides: the same one gives the same numbers on one thread, whatever R's own random numbers are, and leaves
# those alone.

cells <- typed()

# --- training ---------------------------------------------------------------------------------------

short <- function(...) list(coldata = cells$coldata, training = quick(2), verbose = FALSE, ...)

# A run of each verb that trains: a function of the seed; what it gives is compared as it is, but for the time it took.
TRAINS <- list(
  run_scvi = function(seed) do.call(run_scvi, c(list(cells$counts, batch = "donor", seed = seed), short())),
  run_ldvae = function(seed) do.call(run_ldvae, c(list(cells$counts, seed = seed), short())),
  run_scanvi = function(seed) do.call(run_scanvi, c(list(cells$counts, "some", seed = seed), short())),
  run_autozi = function(seed) do.call(run_autozi, c(list(cells$counts, seed = seed), short())),
  run_solo = function(seed) {
    # two epochs tell no doublets, and that is said
    suppressWarnings(do.call(run_solo, c(list(cells$counts, seed = seed, model_training = quick(2)), short())),
      classes = "latome_warning")
  },
  run_cellassign = function(seed) do.call(run_cellassign, c(list(cells$counts, cells$markers, seed = seed), short())),
  map_query = function(seed) {
    do.call(map_query, c(list(cells$counts[, 1:60], mapped_onto(), batch = "lane", seed = seed), short()))
  }
)
cells$coldata$lane <- rep(c("n1", "n2"), 45)

mapped_onto <- function() {
  if (is.null(made$mapped_onto)) {
    made$mapped_onto <- do.call(run_scvi, c(list(cells$counts[, 61:90], batch = "donor", for_mapping = TRUE),
      utils::modifyList(short(), list(coldata = transform(cells$coldata, donor = rep(c("a", "b"), 45))))))
  }
  made$mapped_onto
}

timeless <- function(x) {
  if (inherits(x, "latome_doublets")) x$models <- lapply(x$models, timeless)
  x$summary$seconds <- x$history$seconds <- x$document <- NULL          # the document tells the time too
  x
}

# Runs under other states of R's generator: none, and two.
with_states <- function(run) {
  saved <- get0(".Random.seed", globalenv(), inherits = FALSE)
  withr::defer(if (is.null(saved)) suppressWarnings(rm(".Random.seed", envir = globalenv())) else
    assign(".Random.seed", saved, globalenv()))
  if (!is.null(saved)) rm(".Random.seed", envir = globalenv())
  found <- list(run())                       # reticulate makes a state where there is none; nothing is drawn from it
  for (state in 1:2) {
    set.seed(state, kind = c("Mersenne-Twister", "Wichmann-Hill")[[state]])
    before <- .Random.seed
    found <- c(found, list(run()))
    testthat::expect_identical(.Random.seed, before)
  }
  RNGkind("default")
  found
}

for (verb in names(TRAINS)) {
  local({
    verb <- verb
    test_that(paste0(verb, "() gives a model by its seed alone, and leaves R's random numbers alone"), {
      skip_without_engine()
      run <- TRAINS[[verb]]
      if (verb == "map_query") mapped_onto()
      found <- lapply(with_states(function() run(5)), timeless)
      expect_identical(found[[2]], found[[1]])
      expect_identical(found[[3]], found[[1]])
      other <- timeless(run(6))
      numbers <- function(x) if (inherits(x, "latome_doublets")) x$scores$score else x$weights
      expect_false(identical(numbers(other), numbers(found[[1]])))
      expect_equal(other$seed, 6)
      models <- if (inherits(other, "latome_doublets")) other$models else list(other)
      for (model in models) expect_match(capture.output(print(model)), "; seed 6;", fixed = TRUE, all = FALSE)
    })
  })
}

test_that("the seed of a model is kept with it, on disk too", {
  skip_without_engine()
  fit <- TRAINS$run_scvi(7)
  folder <- save_model(fit, withr::local_tempfile())
  expect_equal(load_model(folder)$seed, 7)
  expect_equal(map_query(cells$counts, fit, coldata = cells$coldata, training = quick(1), verbose = FALSE)$seed, 7)
})

# --- questions --------------------------------------------------------------------------------------

asks <- function(verb, ...) {
  arguments <- list(...)
  function(seed) {
    do.call(verb, c(list(cells$counts, answering()), arguments, list(coldata = cells$coldata, seed = seed)))
  }
}

answering <- function() {
  if (is.null(made$answering)) made$answering <- TRAINS$run_scvi(1)
  made$answering
}

QUESTIONS <- list(
  normalized_expression = asks("normalized_expression", n_samples = 2),
  normalized_expression = asks("normalized_expression", n_samples_overall = 5),
  posterior_samples = asks("posterior_samples"), likelihood_parameters = asks("likelihood_parameters"),
  latent_representation = asks("latent_representation", give_mean = FALSE), elbo = asks("elbo"),
  reconstruction_error = asks("reconstruction_error"), marginal_likelihood = asks("marginal_likelihood", n_samples = 5),
  feature_correlation = asks("feature_correlation", features = paste0("gene", 1:5), n_samples = 2),
  differential_expression = asks("differential_expression", group_by = "truth", ident_1 = "B", n_samples = 50),
  differential_abundance = asks("differential_abundance", samples = "donor", n_cells = 10),
  predictive_check = asks("predictive_check", n_samples = 2)
)
# Verbs that hand their seed to one of these, and two that draw nothing from this model: it does not infer the library
# size, and its latent is normal.
OTHERS <- c("scvi_integration", "model_report", "latent_library_size", "aggregated_posterior")

test_that("every verb that takes a seed is in the tables here", {
  verbs <- getNamespaceExports("latome")
  seeded <- Filter(function(verb) {
    f <- getExportedValue("latome", verb)
    is.function(f) && "seed" %in% names(formals(f))
  }, verbs)
  expect_setequal(intersect(seeded, c(names(TRAINS), names(QUESTIONS), OTHERS)), seeded)
})

for (i in seq_along(QUESTIONS)) {
  local({
    ask <- QUESTIONS[[i]]
    test_that(paste0(names(QUESTIONS)[[i]], "() answers by its seed alone"), {
      skip_without_engine()
      answering()
      found <- with_states(function() ask(3))
      expect_identical(found[[2]], found[[1]])
      expect_identical(found[[3]], found[[1]])
      expect_false(identical(ask(4), found[[1]]))
    })
  })
}

# --- R and Python -----------------------------------------------------------------------------------

test_that("R and Python train the same model from the same counts and seed, bit for bit", {
  skip_without_engine()
  skip_if_process()
  counts <- small_counts(n_cells = 150)
  coldata <- small_coldata(150)
  fit <- run_scvi(counts, batch = "donor", n_latent = 4, n_hidden = 16, coldata = coldata, features = "all", seed = 11,
    training = quick(4), verbose = FALSE)
  python <- latome_python()
  before <- list(seed = python$settings$seed, num_threads = python$settings$num_threads)
  withr::defer({
    python$settings$seed <- before$seed
    python$settings$num_threads <- before$num_threads
  })
  python$settings$num_threads <- 1L
  adata <- as_anndata(counts, coldata = coldata["donor"])
  python$model$SCVI$setup_anndata(adata, batch_key = "donor")
  latent_of <- function(seed) {
    python$settings$seed <- seed
    model <- python$model$SCVI(adata, n_latent = 4L, n_hidden = 16L)
    model$train(max_epochs = 4L, batch_size = 128L, early_stopping = TRUE)
    latent <- model$get_latent_representation()
    if (inherits(latent, "python.builtin.object")) reticulate::py_to_r(latent) else latent
  }
  expect_identical(unname(fit$latent), latent_of(11L))
  expect_false(identical(unname(fit$latent), latent_of(12L)))
})
