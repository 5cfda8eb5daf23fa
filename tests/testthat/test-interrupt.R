test_that("Ctrl-C ends a long query as an R interrupt, and the engine answers afterwards", {
  skip_without_engine()
  skip_on_os("windows")
  skip_if_not_installed("processx")
  saved <- tempfile(fileext = ".rds")
  ready <- tempfile()
  output <- tempfile()
  script <- fresh_script(c(
    "counts <- matrix(rpois(60000, 2), 100, 600, dimnames = list(paste0('g', 1:100), paste0('c', 1:600)))",
    "fit <- run_scvi(counts, training = training_options(max_epochs = 2, threads = 1), verbose = FALSE)",
    "set.seed(1)",
    "first <- normalized_expression(counts, fit)",
    paste0("invisible(file.create(", deparse(ready), "))"),
    "queries <- list(",
    "  function() marginal_likelihood(counts, fit, n_samples = 1e6),",
    "  function() repeat normalized_expression(counts, fit, n_samples = 200),",
    "  function() repeat differential_expression(counts, fit, cells_1 = 1:300, n_samples = 50000))",
    "ended <- vapply(queries, function(query) tryCatch({ query(); 'done' }, interrupt = function(e) 'interrupted',",
    "  error = conditionMessage), '')",
    "set.seed(1)",
    paste0("saveRDS(list(ended = ended, same = identical(normalized_expression(counts, fit), first)), ", deparse(saved), ")")
  ))
  child <- processx::process$new(file.path(R.home("bin"), "Rscript"), script, stdout = output, stderr = "2>&1")
  on.exit(child$kill())
  wait_for(function() file.exists(ready) || !child$is_alive())
  for (k in 1:3) {
    Sys.sleep(3)
    child$interrupt()
  }
  wait_for(function() !child$is_alive())
  said <- paste(readLines(output), collapse = "\n")
  expect_true(file.exists(saved), info = said)
  found <- readRDS(saved)
  expect_equal(found$ended, rep("interrupted", 3), info = said)
  expect_true(found$same)
})
