coldata <- small_coldata()
coldata$gap <- replace(coldata$donor, 3, NA)
coldata$id <- rownames(coldata)
coldata$constant <- 1
coldata$hole <- replace(coldata$percent, 2, NA)
coldata$unknown <- NA_character_
coldata$list <- as.list(seq_len(nrow(coldata)))
coldata$size <- coldata$percent + 0.1

bad_columns <- list(
  "missing" = list(list(batch = "doner"), "no column 'doner' \\(batch\\).*Did you mean 'donor'"),
  "NA in batch" = list(list(batch = "gap"), "Column 'gap' \\(batch\\) is NA in 1 cell\\."),
  "NA in a covariate" = list(list(categorical = "gap"), "'gap' \\(categorical_covariates\\) is NA"),
  "no groups" = list(list(batch = "id"), "different value in every cell"),
  "fractions as batch" = list(list(batch = "percent"), "not whole.*continuous_covariates"),
  "a list" = list(list(batch = "list"), "is a list"),
  "no label at all" = list(list(labels = "unknown"), "NA in every cell"),
  "text as number" = list(list(continuous = "donor"), "a character, not numbers.*categorical_covariates"),
  "NA in a number" = list(list(continuous = "hole"), "NA or infinite in 1 cell"),
  "constant number" = list(list(continuous = "constant"), "is 1 in every cell"),
  "size of zero" = list(list(size_factor = "percent"), "'percent' \\(size_factor\\) is not above 0 in 1 cell"),
  "size as text" = list(list(size_factor = "donor"), "a character, not numbers.*positive numbers"),
  "size twice" = list(list(continuous = "size", size_factor = "size"), "'size' is given for two purposes"),
  "two purposes" = list(list(categorical = "percent", continuous = "percent"), "'percent' is given for two purposes")
)
for (case in names(bad_columns)) {
  test_that(paste("bad column:", case), {
    expect_error(code_columns(coldata, bad_columns[[case]][[1]]), bad_columns[[case]][[2]], class = "latome_FieldError")
  })
}

test_that("factors travel as codes and levels in use, NA labels as -1", {
  coded <- code_columns(coldata, list(batch = "lane", labels = "type", continuous = "percent"))
  expect_equal(coded$lane$levels, c("1", "2", "3"))
  expect_equal(coded$lane$codes[1:4], c(0L, 1L, 2L, 0L))
  expect_equal(coded$type$codes[1:3], c(0L, -1L, 1L))
  expect_identical(coded$percent$values, as.double(coldata$percent))
  expect_identical(code_columns(coldata, list(size_factor = "size"))$size$values, coldata$size)
})

test_that("strings, logical values and whole numbers name groups; one batch is fine", {
  frame <- data.frame(text = c("b", "a", "b"), flag = c(TRUE, FALSE, TRUE), number = c(10, 9, 10), one = "x")
  coded <- code_columns(frame, list(batch = "text", categorical = c("flag", "number", "one")))
  expect_equal(coded$text, list(codes = c(1L, 0L, 1L), levels = c("a", "b")))
  expect_equal(coded$flag$levels, c("FALSE", "TRUE"))
  expect_equal(coded$number$levels, c("9", "10"))
  expect_equal(coded$one$codes, c(0L, 0L, 0L))
})

test_that("a model may be asked about cells of one kind", {
  frame <- data.frame(donor = c("a", "a"), percent = c(1, 1))
  expect_silent(code_columns(frame, list(batch = "donor", continuous = "percent"), training = FALSE))
})
