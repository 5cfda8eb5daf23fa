cells <- list(counts = small_counts(), features = NULL, where = "the matrix")
choose <- function(features = NULL, cells., verbose = FALSE) choose_genes(cells., features, NULL, verbose, NULL)

test_that("genes are given, all, the object's own, or all where they are few", {
  expect_equal(choose(c("gene3", "gene1"), cells), c("gene1", "gene3"))
  expect_equal(choose("all", cells), rownames(cells$counts))
  expect_equal(choose(NULL, cells), rownames(cells$counts))
  own <- c(cells[-2], list(features = c("gene2", "gene9", "gene5")))
  expect_equal(choose(NULL, own), c("gene2", "gene5", "gene9"))
})

test_that("an own selection that leaves cells without a count is not used", {
  thin <- cells
  thin$features <- c("gene2", "gene3")
  thin$counts[c("gene2", "gene3"), 4] <- 0
  expect_message(genes <- choose(NULL, thin, verbose = TRUE), "leaves 1 cell without counts")
  expect_length(genes, 30)
})

test_that("names are matched, and Seurat's dashes understood", {
  dashed <- cells
  rownames(dashed$counts)[1:2] <- c("a-1", "b-1")
  expect_equal(choose(c("a_1", "b-1"), dashed), c("a-1", "b-1"))
  expect_warning(choose(c("gene1", "gene2", "nope"), cells), "1 of 3 features.*'nope'")
  expect_error(choose(c("Nope", "no"), cells), "None of the 2 features.*named like 'gene1'", class = "latome_FieldError")
  expect_error(choose(1:5, cells), "features.*gene names.*5 values")
  expect_error(choose(character(), cells), "features.*gene names")
})

test_that("genes without a count are left out, and that is said", {
  empty <- cells
  empty$counts["gene4", ] <- 0
  expect_message(genes <- choose("all", empty, verbose = TRUE), "Leaves out 1 gene without any count: 'gene4'")
  expect_false("gene4" %in% genes)
  expect_error(choose(c("gene4", "gene5"), empty), "Only 1 gene")
})

test_that("cells without a count are an error that says which kind they are of", {
  empty <- cells
  empty$counts[, 2] <- 0
  expect_error(check_empty_cells(empty, rownames(empty$counts), NULL), "1 cell.*'cell2'.*Leave empty cells out")
  thin <- cells
  thin$counts[1:2, 2] <- 0
  expect_error(check_empty_cells(thin, c("gene1", "gene2"), NULL), "2 genes of the model.*more `features`")
})

test_that("beyond 4,000 genes the engine picks them", {
  skip_without_engine()
  many <- list(counts = small_counts(4100, 40), features = NULL)
  expect_message(genes <- choose(NULL, many, verbose = TRUE), "4,000, those with the largest excess of zeros")
  expect_length(genes, 4000)
  expect_true(all(genes %in% rownames(many$counts)))
  batch <- list(codes = rep(0:1, 20), levels = c("a", "b"))
  by_batch <- choose_genes(many, NULL, batch, FALSE, NULL)
  expect_length(by_batch, 4000)
  expect_false(setequal(by_batch, genes))
})
