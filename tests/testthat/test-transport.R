test_that("errors of the engine come back as values and are raised in the caller's frame", {
  skip_without_engine()
  asker <- function() request("read_model", file.path(tempdir(), "nowhere"))
  error <- expect_error(asker(), class = "latome_ArchiveError")
  expect_s3_class(error, "latome_error")
  expect_equal(as.character(error$call)[[1]], "asker")
})

test_that("what is kept stays a Python object", {
  skip_without_engine()
  reply <- request("anndata", as_numpy(c(1, 2)), as_numpy(0:1), as_numpy(0:2), list(2L, 2L),
    c("a", "b"), c("x", "y"), reticulate::dict(), keep = "data")
  expect_s3_class(reply$data, "python.builtin.object")
  expect_true(reply$ok)
})
