test_that("the report says what was found, and prints", {
  skip_without_engine()
  status <- latome_status()
  expect_true(status$ok)
  expect_true(all(c("python", "torch", "numpy", "anndata") %in% names(status$versions)))
  expect_type(status$versions, "character")
  printed <- capture.output(print(status))
  expect_match(printed, "torch [0-9]", all = FALSE)
  expect_match(printed, "cpu", all = FALSE)
  expect_equal(status$transport, engine())
  expect_match(printed, if (engine() == "process") "in a process of its own" else "inside R", all = FALSE)
  expect_match(printed, "^Kernels: (compiled \\(\\w+\\)$|torch operations \\()", all = FALSE)
})

test_that("the kernels in use are those of this package, and are told", {
  skip_without_engine()
  skip_if_process()
  skip_if(is.null(kernels_library()), "the kernels did not compile")
  output <- fresh_r(c(
    "status <- latome_status()$kernels",
    "native <- reticulate::import_from_path('latome.kernels.native', latome:::engine_folder())$status()",
    "cat('library:', native$path, '\\n')",
    "cat('kernels:', status, '\\n')"
  ))
  expect_match(output, paste("library:", kernels_library()), fixed = TRUE, all = FALSE)
  expect_match(output, "^kernels: compiled \\((portable|avx2|avx512)\\)", all = FALSE)
})

test_that("without the compiled kernels everything works, and the report says why", {
  skip_without_engine()
  withr::local_envvar(LATOME_KERNELS = "off")
  output <- fresh_r(c(
    "m <- matrix(rpois(300, 3), 10, 30, dimnames = list(paste0('g', 1:10), paste0('c', 1:30)))",
    "fit <- run_scvi(m, training = training_options(max_epochs = 1), verbose = FALSE)",
    "cat('latent:', dim(fit$latent), '\\n')",
    "print(latome_status())"
  ))
  expect_match(output, "latent: 30 10", all = FALSE)
  expect_match(output, "Kernels: torch operations (switched off by LATOME_KERNELS=off: unset it)", fixed = TRUE,
    all = FALSE)
})

test_that("a report does not make reticulate prepare a Python", {
  withr::local_options(latome.transport = "auto")
  local_replaced(session = new.env(), find_python = function(call) list(path = NULL, how = "py_require()"),
    require_python = function() stop("it would download"))
  status <- latome_status()
  expect_false(status$ok)
  expect_match(status$problem, "No Python with the engine's packages was found")
  expect_match(capture.output(print(status)), "install_latome", all = FALSE)
  expect_false(latome_available())
})
