names <- paste0("cell", 1:60)

test_that("cells are found by name, position or TRUE and FALSE", {
  find <- function(cells) match_cells(cells, names, "cells", NULL)
  expect_identical(find(c("cell7", "cell2")), c(7L, 2L))
  expect_identical(find(factor(c("cell7", "cell2"))), c(7L, 2L))
  expect_identical(find(c(7, 2)), c(7L, 2L))
  expect_identical(find(seq_len(60) %% 30 == 0), c(30L, 60L))
})

bad_cells <- list(
  "unknown" = list(c("cell1", "cel2"), "1 of 2 cells in `cells` are not in the data: 'cel2'.*Did you mean 'cell2'"),
  "too short" = list(c(TRUE, FALSE), "2 entries for 60 cells"),
  "none" = list(rep(FALSE, 60), "selects no cell"),
  "no names" = list(character(), "selects no cell"),
  "beyond" = list(c(1, 61), "no whole number from 1 to 60"),
  "zero" = list(0, "no whole number from 1 to 60"),
  "half" = list(1.5, "no whole number from 1 to 60"),
  "twice" = list(c(3, 3), "names 'cell3' more than once"),
  "NA" = list(c("cell1", NA), "must be names of cells.*positions"),
  "a list" = list(list("cell1"), "must be names of cells")
)
for (case in base::names(bad_cells)) {
  test_that(paste("bad cells:", case), {
    expect_error(match_cells(bad_cells[[case]][[1]], names, "cells", NULL), bad_cells[[case]][[2]])
  })
}

test_that("genes and batches of a model are found by name, or what is close is named", {
  fit <- list(genes = c("CD3E", "HLA-A", "MS4A1"), levels = list(batch = c("d1", "d2")))
  expect_equal(model_genes(fit, NULL, NULL), fit$genes)
  expect_equal(model_genes(fit, c("MS4A1", "HLA_A", "MS4A1"), NULL), c("MS4A1", "HLA-A"))
  expect_error(model_genes(fit, c("CD3E", "MS4A2"), NULL), "not trained on 1 of 2 features: 'MS4A2'.*'MS4A1'",
    class = "latome_QueryError")
  expect_error(model_genes(fit, 1:2, NULL), "features.*gene names")
  expect_equal(model_batches(fit, "d2", "transform_batch", NULL), list("d2"))
  expect_equal(model_batches(fit, factor(c("d2", "d1")), "transform_batch", NULL), c("d2", "d1"))
  expect_error(model_batches(fit, "d3", "transform_batch", NULL), "no batch 'd3'.*Did you mean", class = "latome_QueryError")
  expect_error(model_batches(fit, NA, "transform_batch", NULL), "names of batches")
})

test_that("a result beyond the stated size is refused, with the way out and the limit", {
  withr::local_options(latome.largest_result = 1e6)
  expect_silent(check_size(1e5, "It", "Ask for less.", NULL))
  expect_error(check_size(2e5, "It", "Ask for less.", NULL), "It would take 1.5 MB.*beyond 1.0 MB.*Ask for less.*latome.largest_result",
    class = "latome_QueryError")
})

test_that("subsets, single cells and other orders give what all cells give", {
  fit <- trained()
  ask_latent <- function(...) latent_representation(small_counts(), fit, coldata = small_coldata(), ...)
  expect_equal(ask_latent(cells = c("cell9", "cell4")), fit$latent[c("cell9", "cell4"), ], tolerance = 1e-5)
  expect_equal(ask_latent(cells = 5), fit$latent[5, , drop = FALSE], tolerance = 1e-5)
  expect_equal(ask_latent(cells = small_coldata()$donor == "b"), fit$latent[31:60, ], tolerance = 1e-5)
  unnamed <- small_counts()
  colnames(unnamed) <- NULL
  other <- small_coldata()
  rownames(other) <- paste0("row", 1:60)
  expect_equal(unname(latent_representation(unnamed, fit, coldata = other, cells = 7)), unname(fit$latent[7, , drop = FALSE]),
    tolerance = 1e-5)
})

test_that("a model of corrected counts is asked about corrected counts", {
  skip_without_engine()
  counts <- matrix(rpois(2000, 3) + 0.5, 40, 50, dimnames = list(paste0("g", 1:40), paste0("c", 1:50)))
  short <- training_options(max_epochs = 2, threads = 1)
  fit <- run_scvi(counts, allow_noninteger = TRUE, training = short, verbose = FALSE)
  expect_equal(dim(normalized_expression(counts, fit)), c(40, 50))
  whole <- run_scvi(floor(counts), training = short, verbose = FALSE)
  expect_error(normalized_expression(counts, whole), "whole numbers")
  expect_equal(dim(normalized_expression(counts, whole, allow_noninteger = TRUE)), c(40, 50))
})
