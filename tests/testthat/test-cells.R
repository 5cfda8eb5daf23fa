test_that("cell data are matched by name, in any order", {
  counts <- small_counts()
  shuffled <- small_coldata()[60:1, ]
  cells <- get_cells(counts, coldata = shuffled)
  expect_equal(rownames(cells$coldata), colnames(counts))
  expect_equal(cells$coldata$percent, small_coldata()$percent)
})

test_that("without cell names, rows are taken in their order", {
  counts <- small_counts()
  colnames(counts) <- NULL
  cells <- read_cells(counts, list(coldata = data.frame(batch = 1:60)), NULL)
  expect_equal(colnames(cells$counts), as.character(1:60))
  expect_equal(cells$coldata$batch, 1:60)
  expect_error(get_cells(counts, coldata = data.frame(a = 1:3)), "3 rows.*60 cells")
})

test_that("containers carry their own cell data", {
  expect_error(get_cells(small_sce(), coldata = small_coldata()), "coldata.*for matrices")
  expect_error(get_cells(small_seurat(), coldata = small_coldata()), "coldata.*for matrices")
})
