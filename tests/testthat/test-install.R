test_that("PyTorch comes from the index that was asked for", {
  expect_equal(torch_index_arguments(NULL), character())
  expect_equal(torch_index_arguments("cuda"), character())
  expect_equal(torch_index_arguments("https://example.org/whl")[[1]], "--extra-index-url")
  skip_on_os("mac")
  expect_match(torch_index_arguments("cpu")[[2]], "download.pytorch.org/whl/cpu")
})

test_that("a Python that is none, and a step that fails, are errors in words", {
  expect_error(install_latome(python = "/no/such/python", ask = FALSE), "no Python 3.10 or later",
    class = "latome_EngineError")
  skip_without_engine()
  python <- find_python()$path
  failing <- c("-c", shQuote("raise SystemExit('no disk')"))
  expect_error(suppressMessages(run_step(python, failing, "make the environment", NULL)),
    "Could not make the environment.*no disk", class = "latome_EngineError")
  expect_equal(base_python(python, NULL), python)
})

test_that("an environment that was half made is completed, or not left behind", {
  skip_without_engine()
  skip_on_os("windows")
  python <- find_python()$path
  folder <- file.path(withr::local_tempdir(), "environment")
  steps <- character()
  local_replaced(run_step = function(python, arguments, what, call) {
    steps <<- c(steps, what)
    dir.create(file.path(folder, "bin"), recursive = TRUE)
    stop("no pip")
  })
  expect_error(make_environment(python, folder, NULL), "no pip")
  expect_false(dir.exists(folder))
  dir.create(file.path(folder, "bin"), recursive = TRUE)
  file.create(environment_python(folder))       # a Python that does not run, hence without pip
  expect_error(suppressWarnings(make_environment(python, folder, NULL)), "no pip")
  expect_true(dir.exists(folder))               # it was there before
  expect_equal(steps, rep("make the environment", 2))
})

test_that("the environment is made and used by a later session", {
  skip_without_engine()
  torch <- Sys.getenv("LATOME_TEST_INSTALL")     # such as "torch==2.5.1": it downloads
  skip_if(!nzchar(torch), "LATOME_TEST_INSTALL is not set")
  folder <- withr::local_tempdir()
  suppressMessages(install_latome(folder, torch = torch, torch_index = NULL, ask = FALSE))
  output <- fresh_r(c(
    "Sys.unsetenv('RETICULATE_PYTHON')", paste0("options(latome.environment = ", deparse(folder), ")"),
    "print(latome_status())"
  ))
  expect_match(output, "All is well", all = FALSE)
  expect_match(output, "install_latome\\(\\)", all = FALSE)
})
