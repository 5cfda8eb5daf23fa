test_that("PyTorch comes from the index that was asked for", {
  expect_equal(torch_index_arguments(NULL), character())
  expect_equal(torch_index_arguments("cuda"), character())
  expect_equal(torch_index_arguments("https://example.org/whl")[[1]], "--extra-index-url")
  skip_on_os("mac")
  expect_match(torch_index_arguments("cpu")[[2]], "download.pytorch.org/whl/cpu")
})

test_that("the processor or a GPU is chosen by what is found, and said", {
  skip_on_os(c("windows", "mac"))
  folder <- withr::local_tempdir()
  withr::local_envvar(PATH = folder)
  expect_null(found_gpu())
  expect_match(torch_source("auto")$said, "for the processor: no NVIDIA GPU was found")
  driver <- file.path(folder, "nvidia-smi")
  writeLines(c("#!/bin/sh", "echo 'GPU 0: NVIDIA H200 (UUID: GPU-1234)'"), driver)
  Sys.chmod(driver, "755")
  expect_equal(found_gpu(), "NVIDIA H200")
  expect_equal(torch_source("auto")[c("index", "said")], list(index = character(),
    said = "PyTorch's builds for NVIDIA GPUs (CUDA): NVIDIA H200 was found"))
  writeLines(c("#!/bin/sh", "echo 'NVIDIA-SMI has failed because it could not communicate'; exit 9"), driver)
  expect_null(found_gpu())
  expect_equal(torch_source(NULL)$index, character())
})

test_that("an index that does not answer is told before anything is downloaded", {
  skip_on_os("mac")
  expect_match(silent_index("http://127.0.0.1:9", 2), "does not answer: pip then takes the builds of PyPI")
  expect_null(silent_index(NULL))
  expect_equal(torch_source("cpu")$address, "https://download.pytorch.org/whl/cpu")
  expect_null(torch_source("cuda")$address)
})

test_that("uv is used where it is there, and asked for in words where it is not", {
  skip_on_os(c("windows", "mac"))
  folder <- withr::local_tempdir()
  withr::local_envvar(PATH = folder)
  expect_null(find_uv("auto", NULL))
  expect_error(find_uv("uv", NULL), "no program uv", class = "latome_EngineError")
  uv <- file.path(folder, "uv")
  file.create(uv)
  Sys.chmod(uv, "755")
  expect_equal(find_uv("auto", NULL), uv)
  expect_null(find_uv("virtualenv", NULL))
  local_replaced(discover_python = function() NULL)
  expect_equal(base_python(NULL, NULL, or_else = "3.12"), "3.12")
  expect_equal(pip_command("/e/bin/python", uv)$program, uv)
})

test_that("a folder of wheels is all that is used, and is looked at first", {
  wheels <- withr::local_tempdir()
  file.create(file.path(wheels, c("numpy-1.26.4-cp311.whl", "anndata-0.12.1-py3-none-any.whl", "notes.txt")))
  error <- expect_error(install_latome(withr::local_tempfile(), wheels = wheels, ask = FALSE),
    "holds no wheels of torch, pandas, scipy, safetensors", class = "latome_EngineError")
  expect_match(error$hint, "pip download -d wheels 'torch'")
  file.create(file.path(wheels, paste0(c("torch", "pandas", "scipy", "safetensors"), "-2.0.whl")))
  expect_equal(check_wheels(wheels, "torch", NULL)$arguments[1:2], c("--no-index", "--find-links"))
})

test_that("a place that cannot be written is an error that names the option", {
  skip_without_engine()
  file <- withr::local_tempfile()
  file.create(file)
  expect_error(suppressMessages(install_latome(file.path(file, "python"), python = find_python()$path, ask = FALSE)),
    "cannot be written.*options\\(latome.environment", class = "latome_EngineError")
  expect_false(dir.exists(file))
})

test_that("programs are not led astray by files in the folder that R is in", {
  skip_without_engine()
  withr::local_dir(withr::local_tempdir())
  writeLines("raise SystemExit('wrong folder')", "json.py")
  expect_silent(suppressMessages(run_step(find_python()$path, c("-m", "json.tool", "--help"), "look", NULL)))
  expect_true(file.exists("json.py"))
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
    dir.create(file.path(folder, "bin"), showWarnings = FALSE)
    stop("no pip")
  })
  expect_error(fill_environment(python, folder, NULL, "torch", character(), NULL), "no pip")
  expect_false(dir.exists(folder))
  dir.create(file.path(folder, "bin"), recursive = TRUE)
  file.create(environment_python(folder))       # a Python that does not run, hence without pip
  expect_error(suppressWarnings(fill_environment(python, folder, NULL, "torch", character(), NULL)), "no pip")
  expect_true(dir.exists(folder))               # it was there before
  expect_equal(steps, rep("make the environment", 2))
})

# Wheels with nothing in them but their names.
hollow_wheels <- function(python, folder, versions) {
  script <- withr::local_tempfile(fileext = ".py", lines = c(
    "import sys, zipfile",
    "for named in sys.argv[2:]:",
    "    name, version = named.split('=')",
    "    info = f'{name}-{version}.dist-info'",
    "    with zipfile.ZipFile(f'{sys.argv[1]}/{name}-{version}-py3-none-any.whl', 'w') as wheel:",
    "        wheel.writestr(f'{info}/METADATA', f'Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n')",
    "        wheel.writestr(f'{info}/WHEEL', 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')",
    "        wheel.writestr(f'{info}/RECORD', '')"
  ))
  run_python(python, c(shQuote(script), shQuote(folder), paste0(names(versions), "=", versions)))
}

test_that("an environment is made of wheels alone, found later, and not left behind when they do not do", {
  skip_without_engine()
  skip_on_os("windows")
  python <- find_python()$path
  wheels <- withr::local_tempdir()
  least <- engine_requirements()
  hollow_wheels(python, wheels, replace(least, least == "0", "1.0"))
  for (method in c("virtualenv", if (nzchar(Sys.which("uv"))) "uv")) {
    folder <- file.path(withr::local_tempdir(), "environment")
    made <- function(torch) {
      install_latome(folder, python = python, torch = torch, wheels = wheels, method = method, ask = FALSE)
    }
    expect_error(suppressMessages(made("torch>=99")), "Could not install PyTorch", class = "latome_EngineError")
    expect_false(dir.exists(folder))
    expect_message(inside <- made("torch"), "without the network")
    expect_null(python_problem(list(path = inside, how = "install_latome()")))
    withr::local_options(latome.environment = folder)
    expect_equal(normalizePath(dirname(installed_python()$path)), normalizePath(dirname(inside)))
  }
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
