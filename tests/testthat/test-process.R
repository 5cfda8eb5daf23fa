# The engine in a process of its own, whichever transport the other tests use.

local_process <- function(.env = parent.frame()) {
  skip_without_engine()
  skip_if_not_installed("processx")
  withr::local_options(latome.transport = "process", .local_envir = .env)
}

test_that("values mean the same to both transports, there and back", {
  skip_without_engine()
  skip_if_not_installed("processx")
  skip_if(Sys.getenv("LATOME_TRANSPORT") == "process", "compares with the engine inside R")
  answers <- function(transport) {
    withr::local_options(latome.transport = transport)
    fit <- run_scvi(small_counts(), batch = "donor", categorical_covariates = "lane", continuous_covariates = "percent",
      coldata = small_coldata(), training = quick(), verbose = FALSE)
    list(fit = fit, expression = normalized_expression(small_counts(), fit, coldata = small_coldata(), n_samples = 2),
      table = differential_expression(small_counts(), fit, group_by = "donor", coldata = small_coldata()),
      moments = elbo(small_counts(), fit, coldata = small_coldata()))
  }
  inside <- answers("in-process")
  outside <- answers("process")
  inside$fit$history <- outside$fit$history <- NULL       # seconds differ
  same <- c("settings", "genes", "levels", "weights", "latent", "seed")
  expect_equal(outside$fit[same], inside$fit[same])
  expect_identical(lapply(outside$fit[same], class), lapply(inside$fit[same], class))
  expect_equal(outside[-1], inside[-1])
})

test_that("what cannot be told from R alone crosses: no values, missing ones, long ones, other alphabets", {
  child <- list2env(list(folder = withr::local_tempdir()))
  bytes <- open_bytes(file.path(child$folder, "bytes"))
  value <- list(
    none = NULL, no_list = list(), no_dict = as_python_dict(list()), number = 2, whole = 2L, tiny = 1e-300,
    infinite = -Inf, missing = NA_real_, text = "\u03b1 \"quoted\"", long = strrep("x\u00e9", 5000), flag = FALSE,
    names = as_python_strings(c("a", "\u03b2")), one = as_python_strings("one"), `$float` = "a column",
    raw = as.raw(c(0, 1, 255)), array = as_numpy(c(1.5, NaN)), matrix = matrix(1:6, 2), flags = as_numpy(c(TRUE, FALSE))
  )
  sent <- as.character(jsonlite::toJSON(encode(value, bytes, child), auto_unbox = TRUE, null = "null", na = "null",
    digits = NA))
  close_bytes(bytes)
  connection <- file(file.path(child$folder, "bytes"), "rb")
  withr::defer(close(connection))
  found <- decode(jsonlite::parse_json(sent), connection, child)
  expect_identical(names(found), names(value))
  expect_identical(found$one, list("one"))
  expect_identical(found$missing, NaN)
  expect_match(sent, "\"no_list\":[],\"no_dict\":{}", fixed = TRUE)
  rest <- setdiff(names(value), c("no_dict", "missing", "flags", "none"))
  expect_identical(found[rest], value[rest])
  expect_identical(as.vector(found$flags), c(TRUE, FALSE))
})

test_that("objects of the engine are handles, which are let go with what held them", {
  local_process()
  data <- to_anndata(small_counts())
  expect_s3_class(data, "latome_handle")
  expect_length(request("select_genes", data, 5L)$genes, 5)
  rm(data)
  gc()
  expect_gt(length(session$child$released), 0)
  request("status")
  expect_length(session$child$released, 0)
  expect_error(as_anndata(small_counts()), "needs the engine inside R", class = "latome_EngineError")
  expect_error(latome_python(), "needs the engine inside R", class = "latome_EngineError")
})

test_that("a child that is killed in mid-training is an error; R, its objects and the next call are whole", {
  local_process()
  skip_on_os("windows")
  sce <- small_sce()
  before <- sce
  data <- to_anndata(small_counts())
  victim <- session$child$process
  killer <- processx::process$new("sh", c("-c", paste("sleep 3; kill -9", victim$get_pid())))
  error <- expect_error(run_scvi(sce, training = quick(1e6), verbose = FALSE), class = "latome_EngineError")
  expect_match(conditionMessage(error), "was killed by signal 9 (the machine may have run out of memory)", fixed = TRUE)
  expect_match(conditionMessage(error), "Use fewer genes or cells.*next call starts the engine anew")
  expect_identical(sce, before)
  expect_false(victim$is_alive())
  expect_error(request("select_genes", data, 5L), "held these data has ended", class = "latome_EngineError")
  fit <- run_scvi(small_counts(), training = quick(), verbose = FALSE)
  expect_equal(dim(fit$latent), c(60, 10))
})

test_that("Ctrl-C in training keeps the model trained so far, also in a process of its own", {
  skip_without_engine()
  skip_on_os("windows")
  skip_if_not_installed("processx")
  saved <- tempfile(fileext = ".rds")
  ready <- tempfile()
  script <- fresh_script(c(
    "options(latome.transport = 'process')",
    "counts <- matrix(rpois(60000, 2), 100, 600, dimnames = list(paste0('g', 1:100), paste0('c', 1:600)))",
    "first <- run_scvi(counts, training = training_options(max_epochs = 1, threads = 1), verbose = FALSE)",
    "child <- latome:::session$child$process$get_pid()",
    paste0("invisible(file.create(", deparse(ready), "))"),
    "warned <- NULL",
    "long <- training_options(max_epochs = 1e6, threads = 1)",
    "fit <- withCallingHandlers(run_scvi(counts, training = long, verbose = FALSE),",
    "  latome_interrupted = function(w) { warned <<- conditionMessage(w); invokeRestart('muffleWarning') })",
    "query <- tryCatch(marginal_likelihood(counts, fit, n_samples = 1e6), interrupt = function(e) 'interrupted')",
    "again <- latent_representation(counts, fit)",
    "same <- child == latome:::session$child$process$get_pid()",
    paste0("saveRDS(list(warned = warned, latent = dim(again), same = same, query = query), ", deparse(saved), ")")
  ))
  output <- tempfile()
  child <- processx::process$new(file.path(R.home("bin"), "Rscript"), script, stdout = output, stderr = "2>&1")
  on.exit(child$kill())
  wait_for(function() file.exists(ready) || !child$is_alive())
  for (k in 1:2) {
    Sys.sleep(4)
    child$interrupt()
  }
  wait_for(function() !child$is_alive())
  said <- paste(readLines(output), collapse = "\n")
  expect_true(file.exists(saved), info = said)
  found <- readRDS(saved)
  expect_match(found$warned, "interrupted after [0-9,]+ epochs? of .*trained so far is kept", info = said)
  expect_equal(found$latent, c(600, 10))
  expect_equal(found$query, "interrupted")
  expect_true(found$same)
})

test_that("a forked R starts a process of its own", {
  local_process()
  skip_on_os("windows")
  fit <- trained()
  direct <- latent_representation(small_counts(), fit, coldata = small_coldata())
  parent <- session$child$process$get_pid()
  job <- parallel::mcparallel(list(
    latent = latent_representation(small_counts(), fit, coldata = small_coldata()),
    pid = session$child$process$get_pid()
  ))
  answer <- parallel::mccollect(job, wait = FALSE, timeout = 90)[[1]]
  if (is.null(answer)) tools::pskill(job$pid)
  expect_equal(answer$latent, direct)
  expect_false(identical(answer$pid, parent))
  expect_true(session$child$process$is_alive())
  expect_equal(latent_representation(small_counts(), fit, coldata = small_coldata()), direct)
})

test_that("a process that does not start says what it said", {
  skip_on_os("windows")
  skip_if_not_installed("processx")
  fake <- file.path(withr::local_tempdir(), "python")
  writeLines(c("#!/bin/sh", "echo 'ImportError: no such thing' >&2", "exit 3"), fake)
  Sys.chmod(fake, "755")
  error <- expect_error(start_child(list(path = fake, how = "latome.python"), NULL), class = "latome_EngineError")
  expect_match(conditionMessage(error), "ended with status 3 as it started.*no such thing")
})

test_that("what Python prints does not disturb the answers, and relative paths are R's", {
  local_process()
  fit <- trained()
  withr::local_dir(withr::local_tempdir())
  save_model(fit, "model")
  expect_true(dir.exists("model"))
  expect_equal(load_model("model")$latent, NULL)
})
