test_that("the report says what was found, and prints", {
  skip_without_engine()
  status <- latome_status()
  expect_true(status$ok)
  expect_true(all(c("python", "torch", "numpy", "anndata") %in% names(status$versions)))
  expect_type(status$versions, "character")
  printed <- capture.output(print(status))
  expect_match(printed, "torch [0-9]", all = FALSE)
  expect_match(printed, "cpu", all = FALSE)
})

test_that("a report does not make reticulate prepare a Python", {
  local_replaced(session = new.env(), find_python = function(call) list(path = NULL, how = "py_require()"),
    require_python = function() stop("it would download"))
  status <- latome_status()
  expect_false(status$ok)
  expect_match(status$problem, "No Python with the engine's packages was found")
  expect_match(capture.output(print(status)), "install_latome", all = FALSE)
  expect_false(latome_available())
})
