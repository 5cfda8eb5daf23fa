# Help pages of the installed package by alias; those without help (a checkout, --no-docs) have none.
help_pages <- function() {
  pages <- tools::Rd_db("latome")
  skip_if(!length(pages), "installed without help")
  pages
}

parts <- function(page) vapply(page, function(part) attr(part, "Rd_tag"), "")
words <- function(page, part) paste(unlist(page[parts(page) == part]), collapse = "")

test_that("every exported function has a help page that says what it returns, with an example that runs", {
  pages <- help_pages()
  aliases <- lapply(pages, function(page) trimws(unlist(page[parts(page) == "\\alias"])))
  exported <- getNamespaceExports("latome")
  page_of <- function(name) names(Filter(function(found) name %in% found, aliases))
  expect_identical(Filter(function(name) !length(page_of(name)), exported), character())
  for (name in exported) {
    page <- pages[[page_of(name)[[1]]]]
    expect_true(nzchar(trimws(words(page, "\\value"))), info = name)
    expect_true(nzchar(trimws(words(page, "\\examples"))), info = name)
    expect_false("\\dontrun" %in% parts(page[parts(page) == "\\examples"][[1]]), info = name)
  }
})

test_that("the page of the columns of differential expression explains every one of them", {
  page <- paste(unlist(help_pages()[["de_columns.Rd"]]), collapse = " ")
  explained <- function(column) grepl(column, page, fixed = TRUE)
  expect_identical(Filter(Negate(explained), DE_COLUMNS), character())
  fit <- trained()
  de <- differential_expression(small_counts(), fit, cells_1 = 1:30, coldata = small_coldata())
  expect_identical(Filter(Negate(explained), names(de)), character())
  vanilla <- differential_expression(small_counts(), fit, cells_1 = 1:30, coldata = small_coldata(), mode = "vanilla")
  expect_identical(Filter(Negate(explained), names(vanilla)), character())
})
