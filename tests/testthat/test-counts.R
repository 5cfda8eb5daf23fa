counts <- small_counts()
changed <- function(value) {
  counts@x[[5]] <- value
  counts
}
run <- function(object, ..., coldata = NULL) run_scvi(object, ..., coldata = coldata, verbose = FALSE)

bad_counts <- list(
  "negative" = list(quote(run(changed(-1))), "negative values such as -1.*scaled values or residuals.*raw counts"),
  "NA" = list(quote(run(changed(NA))), "not finite such as NA"),
  "infinite" = list(quote(run(changed(Inf))), "not finite such as Inf"),
  "fraction" = list(quote(run(changed(2.5))), "not whole numbers such as 2.5.*allow_noninteger"),
  "text" = list(quote(run(matrix("a", 3, 3, dimnames = list(letters[1:3], letters[1:3])))), "type character"),
  "no gene names" = list(quote(run(unname(as.matrix(counts)))), "no names.*rownames"),
  "duplicated gene" = list(
    quote(run(rbind(counts, counts[1:2, ]))), "2 gene names.*more than once: 'gene1', 'gene2'.*make.unique"
  ),
  "duplicated cell" = list(quote(run(cbind(counts, counts[, 1, drop = FALSE]))), "1 cell name.*more than once.*'cell1'"),
  "two cells" = list(quote(run(counts[, 1:2])), "2 cells.*at least 3.*transposed"),
  "coldata rows" = list(
    quote(run(counts, coldata = small_coldata()[-(1:2), ])), "no row for 2 cells of 60: 'cell1', 'cell2'"
  ),
  "coldata no frame" = list(quote(run(counts, coldata = "donor")), "coldata.*data.frame")
)
for (case in names(bad_counts)) {
  test_that(paste("bad counts:", case), {
    expect_error(eval(bad_counts[[case]][[1]]), bad_counts[[case]][[2]], class = "latome_FieldError")
  })
}

test_that("each kind of matrix becomes the same dgCMatrix", {
  dense <- as.matrix(counts)
  integers <- dense
  storage.mode(integers) <- "integer"
  kinds <- list(dense, integers, methods::as(counts, "RsparseMatrix"), methods::as(counts, "TsparseMatrix"),
    Matrix::Matrix(dense, sparse = FALSE))
  for (kind in kinds) {
    expect_s4_class(as_counts(kind, "x", NULL), "dgCMatrix")
    expect_equal(as.matrix(as_counts(kind, "x", NULL)), dense)
  }
  square <- Matrix::Matrix(crossprod(matrix(1:4, 2)), sparse = TRUE)   # symmetric storage keeps one half
  expect_equal(as.matrix(as_counts(square, "x", NULL)), as.matrix(square))
})

test_that("a dgCMatrix is handed on without a copy", {
  expect_identical(as_counts(counts, "x", NULL), counts)
  expect_identical(take_genes(counts, rownames(counts)), counts)
})

test_that("a matrix on disk is read, and that is said", {
  skip_if_not_installed("DelayedArray")
  delayed <- DelayedArray::DelayedArray(counts)
  expect_message(read <- as_counts(delayed, "the matrix", NULL), "into memory")
  expect_equal(as.matrix(read), as.matrix(counts))
})

test_that("the first fault is found in any piece, and whole numbers have none", {
  expect_null(find_fault(c(0, 1, 3), FALSE, piece = 2))
  expect_null(find_fault(numeric(), FALSE))
  expect_equal(find_fault(c(1, 1, 1, 1.5), FALSE, piece = 2)$value, 1.5)
  expect_null(find_fault(c(1, 1.5), TRUE))
  expect_equal(find_fault(c(1, -1.5), TRUE)$kind, "negative")
})
