test_that("suggestions name what is close, else what there is", {
  expect_equal(suggest("donr", c("donor", "lane")), "Did you mean 'donor'?")
  expect_equal(suggest("batch_key", c("batch", "labels")), "Did you mean 'batch'?")
  expect_equal(suggest("zzz", c("donor", "lane"), "Columns"), "Columns: 'donor', 'lane'.")
  expect_equal(suggest("zzz", character(), "Columns"), "Columns: none.")
})

test_that("errors carry class, field and the caller's frame", {
  caller <- function() abort_latome("Bad {braces}.", "Do this.", kind = "FieldError", field = "batch")
  error <- expect_error(caller(), class = "latome_FieldError")
  expect_s3_class(error, "latome_error")
  expect_equal(error$field, "batch")
  expect_match(conditionMessage(error), "Bad {braces}.", fixed = TRUE)
  expect_match(conditionMessage(error), "Do this.", fixed = TRUE)
  expect_equal(as.character(error$call)[[1]], "caller")
})

test_that("numbers of things read well", {
  expect_equal(count_of(1, "cell"), "1 cell")
  expect_equal(count_of(24673, "cell"), "24,673 cells")
  expect_equal(count_of(2, "batch", "batches"), "2 batches")
  expect_equal(quoted(letters[1:8], 3), "'a', 'b', 'c' and 5 more")
})
