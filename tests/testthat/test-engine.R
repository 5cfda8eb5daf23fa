# What is found without starting Python; the mocks pretend that none runs yet.

test_that("RETICULATE_PYTHON goes first, then the option, then the installed environment", {
  folder <- withr::local_tempdir()
  dir.create(file.path(folder, "bin"))
  file.create(file.path(folder, "bin", "python"))
  withr::local_options(latome.environment = folder, latome.python = NULL)
  local_replaced(discover_python = function() list(python = "/somewhere/python", forced = NULL),
    python_running = function() FALSE)
  withr::local_envvar(RETICULATE_PYTHON = NA)
  skip_on_os("windows")
  expect_equal(find_python()$how, "install_latome()")
  withr::local_options(latome.python = "/opt/my/python")
  expect_equal(find_python(), list(path = "/opt/my/python", how = "latome.python"))
  withr::local_envvar(RETICULATE_PYTHON = "/other/python")
  expect_equal(find_python(), list(path = "/other/python", how = "RETICULATE_PYTHON"))
})

test_that("what use_python() asked for is honoured", {
  local_replaced(discover_python = function() list(python = "/asked/python", forced = "use_python function"),
    python_running = function() FALSE)
  withr::local_envvar(RETICULATE_PYTHON = NA)
  expect_equal(find_python(), list(path = "/asked/python", how = "use_python function"))
})

test_that("a Python that is missing or unfit is an error with the command that mends it", {
  local_replaced(python_running = function() FALSE)
  missing <- python_problem(list(path = "/no/such/python", how = "RETICULATE_PYTHON"))
  expect_match(missing$problem, "no working Python at '/no/such/python' \\(RETICULATE_PYTHON\\)")
  expect_match(missing$hint, "Sys.unsetenv.*install_latome")
  none <- python_problem(list(path = NULL, how = "found by reticulate"))
  expect_equal(none, list(problem = "No Python was found.", hint = "Run latome::install_latome()."))
  local_replaced(probe_python = function(path) {
    list(python = "3.11.4", prefix = "/opt/own", packages = list(torch = "2.3.1+cpu", anndata = "0.10.8",
      numpy = "1.26.4", pandas = "2.2", scipy = "1.13"))
  })
  lacking <- python_problem(list(path = "/usr/bin/python3", how = "RETICULATE_PYTHON"))
  expect_match(lacking$problem, "lacks the package safetensors")
  expect_match(lacking$hint, "pip install .*safetensors")
})

test_that("versions are compared as versions", {
  versions <- function(python = "3.11.4", numpy = "1.26.4", torch = "2.13.0+cpu") {
    list(python = python, packages = list(torch = torch, anndata = "0.12.1", numpy = numpy, pandas = "2.2.2",
      scipy = "1.13.0", safetensors = "0.5.0rc1"))
  }
  expect_equal(version_faults(versions()), character())
  expect_match(version_faults(versions(python = "3.9.2")), "needs 3.10")
  least <- engine_requirements()[["torch"]]
  expect_match(version_faults(versions(torch = "1.13.1")), paste("has torch 1.13.1, the engine needs", least))
  local_replaced(needs_old_numpy = function() TRUE)
  expect_match(version_faults(versions(numpy = "2.1.0")), "numpy 2.1.0, which reticulate .* cannot exchange")
  expect_true("numpy>=1.26,<2" %in% requirement_strings())
  local_replaced(needs_old_numpy = function() FALSE)
  expect_equal(version_faults(versions(numpy = "2.1.0")), character())
})

test_that("the requirements are those that the engine declares", {
  project <- file.path(engine_folder(), "pyproject.toml")
  lines <- readLines(project)
  named <- "^ +\"(torch|anndata|numpy|pandas|scipy|safetensors)[^\"]*"
  declared <- regmatches(lines, regexpr(named, lines))
  declared <- gsub("[ \"]", "", declared)
  least <- engine_requirements()
  expect_setequal(declared, ifelse(least == "0", names(least), paste0(names(least), ">=", least)))
})

test_that("the compiled kernels are found where R CMD INSTALL or a loaded checkout has them", {
  package <- withr::local_tempdir()
  name <- paste0("latome", .Platform$dynlib.ext)
  expect_null(kernels_library(package))
  dir.create(file.path(package, "src"))
  file.create(file.path(package, "src", name))
  expect_equal(basename(dirname(kernels_library(package))), "src")
  installed <- file.path(package, "libs", .Platform$r_arch)
  dir.create(installed, recursive = TRUE)
  file.create(file.path(installed, name))
  expect_match(kernels_library(package), "libs", fixed = TRUE)
})

test_that("the place of the kernels is told to the engine, and to nobody else", {
  skip_without_engine()
  output <- fresh_r(c(
    "os <- reticulate::import('os', convert = FALSE)$environ",
    "os$`__setitem__`('LATOME_KERNELS_LIBRARY', '/chosen/by/the/user.so')",
    "latome:::engine()",
    "cat('kept:', reticulate::py_to_r(os$`__getitem__`('LATOME_KERNELS_LIBRARY')), '\\n')"
  ))
  expect_match(output, "kept: /chosen/by/the/user.so", all = FALSE)
  output <- fresh_r(c(
    "latome:::engine()",
    "child <- system2(reticulate::py_config()$python, c('-c', shQuote(paste('import os;',",
    "  'print(\"found:\", os.environ.get(\"LATOME_KERNELS_LIBRARY\"))'))), stdout = TRUE)",
    "cat(child, sep = '\\n')"
  ))
  expect_match(output, "found: None", all = FALSE)
})

test_that("loading the package starts no Python, no process, and writes no files", {
  output <- fresh_r(c(
    "cat('started:', reticulate::py_available(initialize = FALSE), '\\n')",
    "cat('kept:', length(ls(latome:::session)), '\\n')",
    "cat('files:', length(list.files(tempdir())), '\\n')"
  ))
  expect_match(output, "started: FALSE", all = FALSE)
  expect_match(output, "kept: 0", all = FALSE)
  expect_match(output, "files: 0", all = FALSE)
})

test_that("no working Python: the first run says what to do", {
  output <- fresh_r(c(
    "Sys.setenv(RETICULATE_PYTHON = '/no/such/python')",
    "print(latome_available())",
    "m <- matrix(rpois(100, 3), 10, 10, dimnames = list(letters[1:10], LETTERS[1:10]))",
    "tryCatch(run_scvi(m), latome_EngineError = function(e) cat(conditionMessage(e)))",
    "print(latome_status())"
  ))
  expect_match(output, "FALSE", all = FALSE)
  expect_match(output, "no working Python at '/no/such/python'", all = FALSE)
  expect_match(output, "install_latome", all = FALSE)
})

test_that("torch multiplies with its own BLAS, not R's", {
  skip_without_engine()
  skip_if_process()
  engine()
  torch <- reticulate::import("torch", convert = FALSE)
  a <- torch$rand(1000L, 1000L)
  torch$mm(a, a)
  seconds <- min(replicate(5, system.time(torch$mm(a, a))[["elapsed"]]))
  expect_lt(seconds, 0.15)                      # 5 ms of its own; the reference BLAS needs over 300
})

test_that("a forked child answers instead of waiting for threads it has not got", {
  skip_without_engine()
  skip_on_os("windows")
  fit <- trained()
  job <- parallel::mcparallel(latent_representation(small_counts(), model = fit, coldata = small_coldata()))
  answer <- parallel::mccollect(job, wait = FALSE, timeout = 60)[[1]]
  if (is.null(answer)) tools::pskill(job$pid)
  expect_equal(answer, fit$latent, tolerance = 1e-5)
})

test_that("a Python that cannot be loaded into R is told apart from one that is merely wrong", {
  python <- list(path = "/usr/bin/python3", how = "RETICULATE_PYTHON")
  expect_match(start_hint("Python shared library not found, Python bindings not loaded.", python), "libpython")
  expect_match(start_hint("No module named 'x'", python), "install_latome()", fixed = TRUE)
  expect_match(start_hint("anything", list(path = NULL, how = "py_require()")), "install_latome()", fixed = TRUE)
})

test_that("files in the folder that R is in do not stand for packages", {
  skip_without_engine()
  folder <- withr::local_tempdir()
  dir.create(file.path(folder, "latome"))
  for (file in c("numpy.py", "torch.py", "anndata.py", "latome/__init__.py")) {
    writeLines("raise ImportError('a file of the folder')", file.path(folder, file))
  }
  output <- fresh_r(c(
    paste0("setwd(", deparse(folder), ")"),
    "m <- matrix(rpois(300, 3), 10, 30, dimnames = list(paste0('g', 1:10), paste0('c', 1:30)))",
    "fit <- run_scvi(m, training = training_options(max_epochs = 1), verbose = FALSE)",
    "cat('latent:', dim(fit$latent), '\\n')"
  ))
  expect_equal(output, "latent: 30 10 ")
})

test_that("a folder that is gone is an error with the cure inside R, and no matter outside", {
  skip_without_engine()
  skip_on_os("windows")
  output <- fresh_r(c(
    "folder <- tempfile(); dir.create(folder); setwd(folder); unlink(folder, recursive = TRUE)",
    "m <- matrix(rpois(300, 3), 10, 30, dimnames = list(paste0('g', 1:10), paste0('c', 1:30)))",
    "fit <- tryCatch(run_scvi(m, training = training_options(max_epochs = 1), verbose = FALSE), error = identity)",
    "cat(if (inherits(fit, 'error')) conditionMessage(fit) else dim(fit$latent), '\\n')"
  ))
  expected <- if (engine() == "process") "^30 10" else "setwd\\(\"~\"\\)"
  expect_match(output, expected, all = FALSE)
})
