# What run_scvi() signals to a listener of progressr, and says to everybody else.
train_aloud <- function(...) {
  run_scvi(small_counts(), training = quick(4), ...)
}

signals_of <- function(expr) {
  seen <- list()
  withCallingHandlers(expr, progression = function(condition) seen[[length(seen) + 1L]] <<- condition)
  seen
}

test_that("progressr's listeners see where training starts, stands and ends", {
  skip_without_engine()
  skip_if_not_installed("progressr")
  loadNamespace("progressr")
  withr::local_options(progressr.enable = TRUE)
  seen <- suppressMessages(signals_of(train_aloud()))
  types <- vapply(seen, `[[`, "", "type")
  expect_equal(types[[1]], "initiate")
  expect_equal(types[[length(types)]], "finish")
  updates <- seen[types == "update"]
  expect_gt(length(updates), 0)
  amounts <- vapply(updates, `[[`, 0, "amount")
  expect_true(all(amounts >= 0))
  expect_equal(sum(amounts), seen[[1]]$steps)          # all steps are told, each once
  expect_match(updates[[length(updates)]]$message, "epoch 4/4  elbo")
  expect_length(suppressMessages(signals_of(train_aloud(verbose = FALSE))), 0)
})

test_that("inside with_progress() there are no lines of our own", {
  skip_without_engine()
  skip_if_not_installed("progressr")
  lines_of <- function(expr) {
    said <- character()
    withCallingHandlers(expr, latome_message = function(m) {
      said <<- c(said, conditionMessage(m))
      invokeRestart("muffleMessage")
    })
    grep("^epoch", said, value = TRUE)
  }
  expect_gt(length(lines_of(train_aloud())), 0)
  shown <- character()
  listener <- function() {
    progressr::make_progression_handler("test", reporter = list(
      update = function(config, state, progression, ...) shown <<- c(shown, state$message)
    ), intrusiveness = 0, target = "void", interval = 0, enable = TRUE)
  }
  said <- lines_of(progressr::with_progress(train_aloud(), handlers = listener(), enable = TRUE,
    delay_conditions = NULL))
  expect_length(said, 0)
  expect_true(any(grepl("^epoch [1-4]/4", shown)))
  said <- lines_of(progressr::with_progress(train_aloud(), handlers = listener(), enable = FALSE))
  expect_gt(length(said), 0)                           # progressr is switched off: we speak
})

test_that("a document that is knitted gets plain lines, whatever the terminal", {
  local_replaced(progress_bar = function(started) "bar", progress_lines = function(started) "lines")
  withr::local_options(cli.dynamic = TRUE, knitr.in.progress = TRUE)
  expect_false(can_redraw())
  withr::local_options(knitr.in.progress = NULL)
  expect_true(can_redraw())
})

test_that("nothing is said with verbose = FALSE", {
  skip_without_engine()
  expect_silent(train_aloud(verbose = FALSE))
})

test_that("lines come every tenth of the epochs and at the end", {
  show <- progress_lines(list(n_epochs = 100, loss = "elbo"))
  say <- function(epoch, state = "running") {
    capture_messages(show(list(epoch = epoch, n_epochs = 100, elbo = 5, seconds = 1, state = state)))
  }
  said <- c(unlist(lapply(c(0, 9, 10, 11, 34), say)), say(35, "early"))
  expect_match(said, "^epoch (10|34|35)/100  elbo 5.000  1.0s$")
  expect_length(said, 3)
})
