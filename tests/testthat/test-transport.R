test_that("errors of the engine come back as values and are raised in the caller's frame", {
  skip_without_engine()
  asker <- function() request("read_model", file.path(tempdir(), "nowhere"))
  error <- expect_error(asker(), class = "latome_ArchiveError")
  expect_s3_class(error, "latome_error")
  expect_equal(as.character(error$call)[[1]], "asker")
})

test_that("what is kept stays an object of the engine", {
  skip_without_engine()
  reply <- request("anndata", as_numpy(c(1, 2)), as_numpy(0:1), as_numpy(0:2), list(2L, 2L),
    c("a", "b"), c("x", "y"), as_python_dict(list()), keep = "data")
  expect_s3_class(reply$data, if (engine() == "process") "latome_handle" else "python.builtin.object")
  expect_true(reply$ok)
})

test_that("a Ctrl-C that reticulate reports as an error is an interrupt; other errors stay what they are", {
  for (said in c("KeyboardInterrupt", "Exception raised by 'inspect.getmro(<pyobj>)'; unable to build R 'class' attribute",
    "RuntimeError: (Unknown exception occurred)")) {
    expect_equal(tryCatch(or_interrupt(stop(said)), interrupt = function(condition) "interrupted"), "interrupted")
  }
  expect_error(or_interrupt(stop("something else")), "something else")
  expect_error(or_interrupt(rlang::abort("ours", class = "latome_QueryError")), class = "latome_QueryError")
  expect_equal(or_interrupt(3), 3)
})
