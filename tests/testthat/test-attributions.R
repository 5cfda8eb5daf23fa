test_that("attributions add up to the probability of the label, and point at the markers", {
  cells <- typed()
  fit <- labelled()
  each <- label_attributions(cells$counts, fit, coldata = cells$coldata, each_cell = TRUE, n_steps = 500)
  expect_s4_class(each, "dgCMatrix")
  expect_equal(dimnames(each), dimnames(cells$counts))
  expect_true(all(each[cells$counts == 0] == 0))
  # what all cells without counts have in common is p(0), of which there is one for each batch and label
  probability <- apply(label_probabilities(cells$counts, fit, coldata = cells$coldata), 1, max)
  called <- predict(fit, cells$counts, coldata = cells$coldata)$label
  rest <- probability - Matrix::colSums(each)
  spread <- tapply(rest, called, function(values) diff(range(values)))
  expect_true(all(spread < 0.03))

  table <- label_attributions(cells$counts, fit, coldata = cells$coldata)
  expect_named(table, c("label", "gene", "attribution_mean", "attribution_sd", "cells"))
  top <- split(table$gene, factor(table$label, names(cells$markers)))
  for (type in names(cells$markers)) expect_gte(length(intersect(top[[type]][1:4], cells$markers[[type]])), 3)
  expect_equal(as.vector(table(table$label)), rep(nrow(cells$counts), 3))
})

test_that("one label can be explained in chosen cells", {
  cells <- typed()
  fit <- labelled()
  ask <- function(...) label_attributions(cells$counts, fit, coldata = cells$coldata, label = "B", n_steps = 5, ...)
  some <- ask(cells = c("cell7", "cell1"), each_cell = TRUE)
  expect_equal(colnames(some), c("cell7", "cell1"))
  expect_equal(unique(ask(cells = 1:4)$label), "B")
})

test_that("what cannot be explained is said", {
  cells <- typed()
  fit <- labelled()
  ask <- function(...) label_attributions(cells$counts, fit, coldata = cells$coldata, ...)
  expect_error(ask(label = "NK"), "knows no label 'NK'.*Known: B, Mono, T")
  expect_error(label_attributions(small_counts(), trained()), "scVI gives no labels")
  expect_error(ask(lable = "B"), "lable")
  expect_error(ask(n_steps = 0), "n_steps")
})
